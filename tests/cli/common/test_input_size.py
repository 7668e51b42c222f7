"""``--size``: an error names sizes that the net works on, in every verb that takes the flag."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from caffecompat.net import Net
from caffecompat.schema import pb

MODEL = Path(__file__).parents[3] / "models/espnet/deploy_encoder.prototxt"

VERBS = {
    "summary": ("summary", "net.prototxt"),
    "check": ("check", "net.prototxt", "--target", "dpu"),
    "dump-blobs": ("dump-blobs", "net.prototxt", "net.caffemodel", "out", "--random"),
    "export deploy": ("export", "deploy", "--model", "net.prototxt", "out"),
    "export onnx": ("export", "onnx", "--model", "net.prototxt", "out.onnx"),
    "export torch": ("export", "torch", "--model", "net.prototxt", "out.py"),
    "segment": ("segment", "--model", "net.prototxt", "--weights", "net.caffemodel", "--out", "out", "picture.png"),
    "eval": ("eval", "segmentation", "--model", "net.prototxt", "--weights", "net.caffemodel", "--list", "list.txt"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_error_names_a_size_that_fits(verb: str, tmp_path: Path, monkeypatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODEL, "net.prototxt")
    Net("net.prototxt", pb.TEST, log=False).save("net.caffemodel")
    Path("picture.png").write_bytes(b"")
    result = command(*VERBS[verb], "--size", "100x50")
    assert result.status == 2
    assert "--size 100x50: heights and widths that are multiples of 4 fit, as in 100x48" in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt", "picture.png"]
