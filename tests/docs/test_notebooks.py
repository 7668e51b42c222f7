"""The notebooks run from their first cell to the last, and are stored without what they printed."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from tests.docs.pages import DOCS

ROOT = DOCS.parent
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
_SHORT = {"old-model"}  # the others train for a minute


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["detector-to-onnx", "fine-tune-segmentation", "old-model"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_clean_and_small(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < 20_000
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            compile(cell.source, f"{path.name}, cell {number}", "exec")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in _SHORT else pytest.mark.nightly, id=path.stem) for path in NOTEBOOKS],
)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("MPLBACKEND", "agg")
    book = nbformat.read(path, as_version=4)
    client.NotebookClient(book, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
