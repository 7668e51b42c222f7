"""Exports of nets written with forks' names of BVLC's fields: the same files as with BVLC's."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.deploy.torch_source.source import make_source
from caffecompat.schema import NetDocument, open_net, write_text
from tests.deploy.exporting import export, input_of
from tests.net.nets import layer, make_net, message

PAIRS = {
    "max": (
        "Pooling",
        "pooling_param {{ kernel_size: 3 stride: 2 pad: 1 {} }}",
        "ceil_mode: false",
        "round_mode: FLOOR",
    ),
    "average": (
        "Pooling",
        "pooling_param {{ pool: AVE kernel_size: 3 stride: 2 {} }}",
        "ceil_mode: 0",
        "round_mode: 1",
    ),
    "up": ("Pooling", "pooling_param {{ kernel_size: 3 stride: 2 pad: 1 {} }}", "ceil_mode: true", "round_mode: CEIL"),
    "convolution": ("Convolution", "convolution_param {{ num_output: 2 kernel_size: 3 {} }}", "hole: 2", "dilation: 2"),
    "deconvolution": (
        "Deconvolution",
        "convolution_param {{ num_output: 2 kernel_size: 3 {} }}",
        "hole_h: 2 hole_w: 3",
        "dilation: [2, 3]",
    ),
}


def texts(pair: str) -> tuple[str, str]:
    kind, settings, fork, bvlc = PAIRS[pair]
    return tuple(input_of(1, 2, 8, 8) + layer(kind, "data", "top", settings.format(said)) for said in (fork, bvlc))


@pytest.mark.parametrize("pair", PAIRS)
def test_onnx_and_torch_source(pair: str, tmp_path: Path) -> None:
    theirs, ours = (export(text, tmp_path / f"{index}.onnx") for index, text in enumerate(texts(pair)))
    assert theirs.export.model.SerializeToString() == ours.export.model.SerializeToString()
    theirs, ours = (make_source(make_net(text)).text for text in texts(pair))
    assert theirs == ours


@pytest.mark.parametrize("pair", PAIRS)
def test_export_deploy(pair: str, tmp_path: Path, command) -> None:
    written = []
    for index, text in enumerate(texts(pair)):
        path = tmp_path / f"{index}.prototxt"
        path.write_text(text)
        result = command("export", "deploy", "--model", path, tmp_path / f"{index}.out")
        assert result.status == 0, result.err
        written.append(write_text(open_net(tmp_path / f"{index}.out.prototxt").message))
    assert written[0] == written[1] == write_text(NetDocument.from_message(message(texts(pair)[1])).message)


def test_vitis_knows_no_round_mode(tmp_path: Path, command) -> None:
    """Where rounding matters it is told; where it does not, the field that the tool cannot read goes away."""
    path = tmp_path / "net.prototxt"
    settings = "pooling_param {{ kernel_size: {} stride: 2 ceil_mode: false }}"
    path.write_text(
        input_of(1, 3, 8, 8)
        + layer("Pooling", "data", "same", settings.format(2))
        + layer("Pooling", "data", "less", settings.format(3))
    )
    result = command("export", "deploy", "--model", path, f"{tmp_path}/", "--for", "vitis", "--calibration", "l.txt")
    assert result.status == 0, result.err
    lines = [line for line in result.out.splitlines() if line.startswith("warning")]
    assert len(lines) == 1 and "less rounds its size down to 3x3" in lines[0] and "up, to 4x4" in lines[0]
    modes = {
        one.name: one.pooling_param.HasField("round_mode")
        for one in open_net(tmp_path / "float.prototxt").message.layer
    }
    assert modes["less"] and not modes["same"]
