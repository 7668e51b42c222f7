"""The layout of the package holds: a room imports only rooms it may, and what needs no torch imports none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "caffecompat"

# From left to right, the way data moves.
MAY_IMPORT = {
    "schema": set(),
    "formats": {"schema"},
    "layers": {"schema"},
    "net": {"schema", "formats", "layers"},
    "compare": {"schema", "formats", "layers", "net"},
    "data": {"schema", "formats"},
    "solver": {"schema", "formats", "layers", "net", "data"},
    "deploy": {"schema", "formats", "layers", "net", "compare", "data"},
    "quantize": {"schema", "formats", "layers", "net", "compare", "data", "deploy"},
    "evaluate": {"schema", "formats", "layers", "net", "data", "deploy"},
    "report": {"schema", "formats", "layers", "net", "compare", "data", "solver", "evaluate", "deploy", "quantize"},
    "pycaffe": {"schema", "formats", "layers", "net", "data", "solver", "evaluate", "deploy", "report"},
    "zoo": {"schema", "formats", "data", "deploy", "pycaffe"},
}
WITHOUT_TORCH = ("schema", "formats", "zoo")

# Module and room, and why.
EXCEPTIONS = {
    ("data/dummy.py", "layers"): "DummyData fills its tops by the fillers that layers fill their blobs with",
    ("layers/detection.py", "formats"): "DetectionOutput writes its detections to files (save_output_param)",
    ("layers/hdf5_output.py", "formats"): "HDF5Output's whole purpose is a file",
    ("layers/mat_write.py", "formats"): "so is MatWrite's",
}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"


def _modules(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def _room(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "caffecompat" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else None


def test_every_folder_is_a_room_of_the_table() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == {*MAY_IMPORT, "cli"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_it_may(room: str) -> None:
    wrong = []
    for path in _modules(room):
        for line, name in _imports(path):
            other = _room(name)
            inside = path.relative_to(PACKAGE).as_posix()
            if other and other != room and other not in MAY_IMPORT[room] and (inside, other) not in EXCEPTIONS:
                wrong.append(f"{inside}:{line}: {name}")
    assert not wrong


def test_exceptions_are_needed() -> None:
    for inside, room in EXCEPTIONS:
        assert room in {_room(name) for _, name in _imports(PACKAGE / inside)}, f"{inside} no longer imports {room}"


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_files_are_read_without_torch(room: str) -> None:
    wrong = [path.name for path in _modules(room) if any(n.split(".")[0] == "torch" for _, n in _imports(path))]
    assert not wrong


def test_what_exported_files_take_needs_torch_alone() -> None:
    """Each other aside, and Python's own modules that such files import."""
    allowed = {"__future__", "collections", "dataclasses", "math", "torch"}
    own = "caffecompat.layers.functional."
    wrong = [
        f"{path.name}:{line}: {name}"
        for path in sorted((PACKAGE / "layers/functional").glob("*.py"))
        for line, name in _imports(path)
        if name.split(".")[0] not in allowed and not name.startswith(own)
    ]
    assert not wrong


def test_nobody_but_the_start_imports_the_command_line() -> None:
    wrong = [
        path.name
        for path in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in path.relative_to(PACKAGE).parts
        and path.name != "__main__.py"
        and any(_room(n) == "cli" for _, n in _imports(path))
    ]
    assert not wrong
