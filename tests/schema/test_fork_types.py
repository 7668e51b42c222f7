"""Layer types of forks that are BVLC's with other settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.net import Net
from caffecompat.schema import NetDocument, PrototxtError, open_net, parse_text, pb

pytestmark = pytest.mark.usefixtures("log")

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 4, %s] } } }\n'
PLANE, VOLUME = INPUT % "9, 9", INPUT % "5, 9, 9"


def layer(kind: str, fields: str) -> str:
    return f'layer {{ name: "c" type: "{kind}" bottom: "data" top: "c" convolution_param {{ {fields} }} }}\n'


def read(text: str) -> pb.NetParameter:
    return NetDocument.from_message(parse_text(text, pb.NetParameter())).message


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ("num_output: 4 kernel_size: 3", "num_output: 4 kernel_size: 3 group: 4"),
        ("num_output: 4 kernel_size: 3 group: 2", "num_output: 4 kernel_size: 3 group: 2"),
        (
            "num_output: 4 kernel_h: 3 kernel_w: 1 dilation: 2",
            "num_output: 4 kernel_h: 3 kernel_w: 1 dilation: 2 group: 4",
        ),
    ],
)
def test_depthwise_convolution_is_a_grouped_one(kind: str, fields: str, same: str) -> None:
    message = read(PLANE + layer(kind, fields))
    assert message == read(PLANE + layer("Convolution", same))
    assert Net(message, pb.TEST, log=False).blob_shapes["c"][1] == 4


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ("kernel_size: 3 kernel_depth: 3", "kernel_size: [3, 3, 3]"),
        ("kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 0", "kernel_size: [2, 3, 3] pad: [0, 1, 1]"),
        ("kernel_size: 1 kernel_depth: 3 temporal_pad: 1", "kernel_size: [3, 1, 1] pad: [1, 0, 0]"),
        ("kernel_size: 3 kernel_depth: 1 stride: 2", "kernel_size: [1, 3, 3] stride: [1, 2, 2]"),
        ("kernel_size: 3 kernel_depth: 3 temporal_stride: 2", "kernel_size: [3, 3, 3] stride: [2, 1, 1]"),
        ("kernel_size: 3 kernel_depth: 3 filter_group: 2 group: 2", "kernel_size: [3, 3, 3] group: 2"),
    ],
)
def test_convolution_over_volumes(kind: str, fields: str, same: str) -> None:
    message = read(VOLUME + layer(f"{kind}3D", f"num_output: 2 {fields}"))
    assert message == read(VOLUME + layer(kind, f"num_output: 2 {same}"))
    assert len(Net(message, pb.TEST, log=False).blob_shapes["c"]) == 5


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [("kernel_size: 3", "needs kernel_depth"), ("kernel_depth: 3", "one kernel_size"),
     ("kernel_size: [3, 3, 3] kernel_depth: 3", "one kernel_size"),
     ("kernel_size: 3 kernel_depth: 3 pad: [1, 1]", "one pad")],
)  # fmt: skip
def test_volumes_without_sizes(fields: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(VOLUME + layer("Convolution3D", f"num_output: 2 {fields}"))
    with pytest.raises(PrototxtError, match=rf"net.prototxt:2:\d+: layer 'c' \(Convolution3D\): .*{complaint}"):
        open_net(path)


def test_the_old_form_is_read_too() -> None:
    old = 'input: "data" input_dim: 1 input_dim: 4 input_dim: 5 input_dim: 9 input_dim: 9 '
    old += 'layers { name: "c" type: CONVOLUTION3D '
    old += (
        'bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 3 kernel_depth: 2 temporal_pad: 1 } }'
    )
    (_, made) = read(old).layer
    assert (made.type, list(made.convolution_param.kernel_size)) == ("Convolution", [2, 3, 3])
