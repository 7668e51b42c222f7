"""Forks' names of what BVLC has under another name: ``hole`` of dilation, ``ceil_mode`` of round_mode."""

from __future__ import annotations

import pytest

from caffecompat.schema import NetDocument, PrototxtError, open_net, parse_text, pb
from caffecompat.schema.diff import diff_documents

pytestmark = pytest.mark.usefixtures("log")

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 1, 9, 9] } } }\n'


def pooling(fields: str) -> str:
    return f'{INPUT}layer {{ name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param {{ {fields} }} }}\n'


def convolution(fields: str, kind: str = "Convolution") -> str:
    settings = f"convolution_param {{ num_output: 1 kernel_size: 3 {fields} }}"
    return f'{INPUT}layer {{ name: "c" type: "{kind}" bottom: "data" top: "c" {settings} }}\n'


def read(text: str):
    return NetDocument.from_message(parse_text(text, pb.NetParameter())).message


@pytest.mark.parametrize("method", ["MAX", "AVE", "STOCHASTIC"])
@pytest.mark.parametrize(("flag", "mode"), [("false", "FLOOR"), ("true", "CEIL"), ("0", "FLOOR")])
def test_ceil_mode_is_round_mode(method: str, flag: str, mode: str) -> None:
    shared = f"pool: {method} kernel_size: 3 stride: 2"
    assert read(pooling(f"{shared} ceil_mode: {flag}")) == read(pooling(f"{shared} round_mode: {mode}"))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "Im2col", "ConvolutionFixed"])
@pytest.mark.parametrize(
    ("hole", "dilation"),
    [
        ("hole: 2", "dilation: 2"),
        ("hole_h: 3 hole_w: 2", "dilation: 3 dilation: 2"),
        ("hole_h: 2 hole_w: 2", "dilation: 2"),
        ("hole_w: 4", "dilation: [1, 4]"),
        ("hole: 2 dilation: 2", "dilation: 2"),
        ("hole: 2 dilation: 2 dilation: 2", "dilation: 2"),
        ("hole: 1", "dilation: 1"),
    ],
)
def test_hole_is_dilation(kind: str, hole: str, dilation: str) -> None:
    assert read(convolution(hole, kind)) == read(convolution(dilation, kind))


def test_both_saying_the_same_is_fine() -> None:
    assert read(pooling("kernel_size: 2 ceil_mode: false round_mode: FLOOR")).layer[1].pooling_param.round_mode == 1


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        (pooling("kernel_size: 2 round_mode: CEIL ceil_mode: false"), "ceil_mode", "round_mode: CEIL is given"),
        (
            pooling("kernel_size: 2 ceil_mode: true round_mode: FLOOR"),
            "ceil_mode",
            "ceil_mode: true is round_mode: CEIL",
        ),
        (convolution("hole: 2 dilation: 4"), "hole", "dilation is given as [4]"),
        (convolution("hole_h: 2 hole_w: 3 dilation: 2"), "hole_h", "is dilation [2, 3]"),
        (convolution("hole: 2 hole_h: 3"), "hole", "not both"),
    ],
)
def test_disagreement_is_an_error_where_it_stands(tmp_path, text: str, column: str, said: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("# hole ceil_mode\n" + text)
    with pytest.raises(PrototxtError) as caught:
        open_net(path)
    at = text.splitlines()[1].index(f" {column}:") + 2
    assert str(caught.value).startswith(f"{path}:3:{at}: layer ") and said in str(caught.value)


def test_every_disagreement_is_told_at_once() -> None:
    text = convolution("hole: 2 dilation: 4") + pooling("kernel_size: 2 round_mode: CEIL ceil_mode: false")
    with pytest.raises(PrototxtError) as caught:
        read(text)
    assert len(caught.value.problems) == 2


def test_diff_sees_no_difference(tmp_path) -> None:
    ours, theirs = tmp_path / "a.prototxt", tmp_path / "b.prototxt"
    ours.write_text(convolution("dilation: 2") + pooling("kernel_size: 2 round_mode: FLOOR").removeprefix(INPUT))
    theirs.write_text(convolution("hole: 2") + pooling("kernel_size: 2 ceil_mode: false").removeprefix(INPUT))
    assert diff_documents(open_net(ours), open_net(theirs)).empty


def test_today_is_written_and_said(tmp_path, log) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(pooling("kernel_size: 2 ceil_mode: false"))
    document = open_net(path)
    assert document.upgraded and not document.message.layer[1].pooling_param.HasField("ceil_mode")
    assert any("deprecated ceil_mode" in line for line in log)
