"""C3D, written as its authors' prototxt is, on random weights against the same network in plain torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat.deploy.onnx.verify import run_model
from caffecompat.deploy.torch_source.source import load_source, make_source, write_source
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from caffecompat.wire import bytes_header, varint_field
from tests.deploy.exporting import export

# Convolutions of each group, and the depth of the pooling after it; the network's widths are 64 to 512.
GROUPS = ((("1a",), 1), (("2a",), 2), (("3a", "3b"), 2), (("4a", "4b"), 2), (("5a", "5b"), 2))
WIDTHS = (6, 8, 12, 16, 16)
CLIP = (1, 3, 16, 112, 112)


def prototxt() -> str:
    """Layers in the form of 2014, as C3D's own files have them, with fewer channels."""
    text = 'name: "DeepConv3DNet_Sport1M_Val"\ninput: "data"\ninput_shape { dim: 1 dim: 3 dim: 16 dim: 112 dim: 112 }\n'
    bottom = "data"
    for (names, depth), width in zip(GROUPS, WIDTHS, strict=True):
        for name in names:
            text += f"""
layers {{ name: "conv{name}" type: CONVOLUTION3D bottom: "{bottom}" top: "conv{name}"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param {{ num_output: {width} kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1
    weight_filler {{ type: "gaussian" std: 0.1 }} bias_filler {{ type: "gaussian" std: 0.1 }} }} }}
layers {{ name: "relu{name}" type: RELU bottom: "conv{name}" top: "conv{name}" }}"""
            bottom = f"conv{name}"
        number = names[0][0]
        text += f"""
layers {{ name: "pool{number}" type: POOLING3D bottom: "{bottom}" top: "pool{number}"
  pooling_param {{ pool: MAX kernel_size: 2 kernel_depth: {depth} stride: 2 temporal_stride: {depth} }} }}"""
        bottom = f"pool{number}"
    for name, width in (("fc6-1", 24), ("fc7-1", 24), ("fc8-1", 10)):
        text += f"""
layers {{ name: "{name}" type: INNER_PRODUCT bottom: "{bottom}" top: "{name}"
  inner_product_param {{ num_output: {width} weight_filler {{ type: "gaussian" std: 0.05 }} }} }}"""
        bottom = name
        if name != "fc8-1":
            text += f"""
layers {{ name: "relu-{name}" type: RELU bottom: "{name}" top: "{name}" }}
layers {{ name: "drop-{name}" type: DROPOUT bottom: "{name}" top: "{name}" dropout_param {{ dropout_ratio: 0.5 }} }}"""
    return text + '\nlayers { name: "prob" type: SOFTMAX bottom: "fc8-1" top: "prob" }\n'


def in_torch(clip: Tensor, blobs: dict[str, list[np.ndarray]]) -> Tensor:
    """The network by its description: convolutions 3x3x3 of pad 1, poolings that round up."""
    weights = {name: [torch.from_numpy(blob) for blob in values] for name, values in blobs.items()}
    x = clip
    for names, depth in GROUPS:
        for name in names:
            x = F.conv3d(x, *weights[f"conv{name}"], padding=1).relu()
        x = F.max_pool3d(x, (depth, 2, 2), (depth, 2, 2), ceil_mode=True)
    x = x.flatten(1)
    for name in ("fc6-1", "fc7-1"):
        x = F.linear(x, *weights[name]).relu()
    return F.linear(x, *weights["fc8-1"]).softmax(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c3d") / "c3d.prototxt"
    path.write_text(prototxt())
    return path


@pytest.fixture(scope="module")
def net(model: Path) -> Net:
    torch.manual_seed(0)
    return Net(model, pb.TEST, log=False)


def clip() -> Tensor:
    return torch.randn(CLIP, generator=torch.Generator().manual_seed(1))


def test_the_sizes_of_the_published_net(net: Net) -> None:
    sizes = {name: net.blob_shapes[f"pool{name}"][2:] for name in "12345"}
    assert sizes == {"1": (16, 56, 56), "2": (8, 28, 28), "3": (4, 14, 14), "4": (2, 7, 7), "5": (1, 4, 4)}


def test_values_against_torch(net: Net) -> None:
    with torch.no_grad():
        ours = net.forward({"data": clip()})["prob"]
        torch.testing.assert_close(ours, in_torch(clip(), net.blobs_by_layer()), rtol=1e-5, atol=1e-6)


def test_exports(tmp_path: Path, net: Net, model: Path) -> None:
    done = export(model.read_text().replace("\n", " "), tmp_path / "c3d.onnx")
    with torch.no_grad():
        expected = done.net.forward({"data": clip()})["prob"].numpy()
    np.testing.assert_allclose(run_model(tmp_path / "c3d.onnx", {"data": clip().numpy()})["prob"], expected, atol=1e-6)
    source = make_source(net, str(model), "c3d")
    write_source(source, str(tmp_path / "c3d.py"))
    with torch.no_grad():
        (made,) = [load_source(str(tmp_path / "c3d.py"))(clip())]
        torch.testing.assert_close(source.tops(made)["prob"], net.forward({"data": clip()})["prob"])


def _as_c3d_writes(values: np.ndarray) -> bytes:
    """A BlobProto of C3D: num, channels, length, height, width, then the values as field 6."""
    shape = (1,) * (5 - values.ndim) + values.shape
    dims = b"".join(varint_field(1 + axis, size) for axis, size in enumerate(shape))
    return dims + bytes_header(6, values.size * 4) + values.astype("<f4").tobytes()


def test_weights_of_its_own_file_format(tmp_path: Path, net: Net, model: Path) -> None:
    layers = b""
    for name, blobs in net.blobs_by_layer().items():
        fields = bytes_header(4, len(name)) + name.encode()
        for blob in blobs:
            written = _as_c3d_writes(blob)
            fields += bytes_header(6, len(written)) + written
        layers += bytes_header(2, len(fields)) + fields
    path = tmp_path / "conv3d_deepnetA_sport1m_iter_1900000"
    path.write_bytes(layers)
    torch.manual_seed(5)
    other = Net(open_net(model), pb.TEST, log=False, weights=path)
    assert other.loaded is not None and not other.loaded.missing and not other.loaded.reshaped
    with torch.no_grad():
        assert torch.equal(other.forward({"data": clip()})["prob"], net.forward({"data": clip()})["prob"])
