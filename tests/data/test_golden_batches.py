"""Batches recorded from the original Caffes, drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.schema import parse_text, pb

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FOLDERS = {
    "data": Fork.BVLC,
    "segmentation": Fork.XILINX,
    "data_pspnet": Fork.PSPNET,
    "data_enet": Fork.ENET,
    "data_jacinto": Fork.JACINTO,
    "annotated": Fork.SSD,
}
CASES = [
    pytest.param(path, fork, id=f"{folder}-{path.stem}")
    for folder, fork in FOLDERS.items()
    for path in sorted((GOLDEN / folder / "cases").glob("*.npz"))
]


def test_all_cases_are_here() -> None:
    assert len(CASES) == 20 + 5 + 29 + 18 + 16 + 4


@pytest.mark.parametrize(("path", "fork"), CASES)
def test_recorded_batches(path: Path, fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent.parent)
    recorded = np.load(path)
    net = pb.NetParameter()
    parse_text(str(recorded["prototxt"]), net)
    (layer,) = net.layer
    scale = layer.transform_param.scale
    batches = sum(name.endswith("/data") for name in recorded.files)
    with make_source(layer, int(recorded["phase"]), fork) as source:
        tops = layer.top[:1] if layer.type == "AnnotatedData" else layer.top  # boxes of the first picture, not batch
        assert source.top_shapes[: len(tops)] == [recorded[f"batch0/{top}"].shape for top in tops]
        for k in range(batches):
            for top, got in zip(layer.top, source.next(), strict=True):
                want = recorded[f"batch{k}/{top}"]
                assert got.shape == want.shape and got.dtype == np.float32
                if top == "data":  # a decoded or resized byte may differ by one between OpenCV versions
                    difference = np.abs(got - want)
                    assert difference.max() <= 1.01 * scale + 1e-4
                    assert (difference > 0.1 * scale + 1e-5).mean() <= 0.02
                else:
                    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 if layer.type == "AnnotatedData" else 0)
