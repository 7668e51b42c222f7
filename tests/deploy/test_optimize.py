"""`caffe optimize` of caffe-jacinto 0.17: its records bit by bit, and nets that compute as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat import load_caffemodel, pycaffe
from caffecompat.cli.main import main
from caffecompat.compare.nets import load_blobs
from caffecompat.deploy.optimize import optimize_net
from caffecompat.forks import Fork
from caffecompat.net import Net
from caffecompat.schema import open_net, parse_text, pb

GOLDEN = Path(__file__).parents[1] / "golden" / "quantize_jacinto"

NET = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
    layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" %s }
    layer { name: "scale" type: "Scale" bottom: "conv" top: "scale" scale_param { bias_term: true } }
    layer { name: "relu" type: "ReLU" bottom: "scale" top: "relu" }
    layer { name: "both" type: "Eltwise" bottom: "relu" bottom: "scale" top: "both" }
"""


def seeded(net: Net) -> Net:
    generator = torch.Generator().manual_seed(3)
    for layer in net.layers:
        for slot in layer.slots:
            if "factor" in slot.name:  # of BVLC's sums
                slot.tensor().fill_(2 if net.fork is Fork.BVLC else 1)
            else:
                slot.tensor().copy_(torch.rand(slot.shape, generator=generator) + 0.2)
    return net


@pytest.mark.parametrize("name", ["opt_conv_bn", "opt_conv_bn_nobias"])
def test_records_bit_by_bit(name: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("case of", "caffe optimize (caffe-jacinto 0.17)")
    with np.load(GOLDEN / f"{name}.npz") as file:
        record = {key: file[key] for key in file.files}
    (tmp_path / "net.prototxt").write_text(str(record["prototxt"]))
    net = pycaffe.Net(str(tmp_path / "net.prototxt"), pycaffe.TEST, fork="jacinto")
    for key, value in record.items():
        if key.startswith("param/"):
            layer, index = key.removeprefix("param/").rsplit("/", 1)
            data = net.params[layer][int(index)].data
            data[...] = value.reshape(data.shape)
    net.save(str(tmp_path / "net.caffemodel"))
    flags = ["--fork", "jacinto", "--model", f"{tmp_path}/net.prototxt", "--weights", f"{tmp_path}/net.caffemodel"]
    assert main(["optimize", *flags, "--output", f"{tmp_path}/out.caffemodel", "--gpu", "0"]) == 0
    merged = load_caffemodel(tmp_path / "out.caffemodel")
    wanted = {key.removeprefix("param_opt/"): value for key, value in record.items() if key.startswith("param_opt/")}
    assert len(wanted) == sum(map(len, merged.values()))
    for key, value in wanted.items():
        layer, index = key.rsplit("/", 1)
        np.testing.assert_array_equal(np.asarray(merged[layer][int(index)]).ravel(), value.ravel(), err_msg=key)


@pytest.mark.parametrize(
    ("fork", "own_scale"),
    [("jacinto", ""), ("jacinto", "batch_norm_param { scale_bias: true }"), ("bvlc", ""), ("xilinx", "")],
)
def test_the_net_computes_as_before(fork: str, own_scale: str, tmp_path: Path) -> None:
    """Also where a Scale comes after a BatchNorm with a scale of its own, and the normalized blob is read twice."""
    (tmp_path / "net.prototxt").write_text(NET % own_scale)
    net = seeded(Net(open_net(tmp_path / "net.prototxt", fork=fork), "TEST", log=False))
    given = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    done = optimize_net(net)
    assert done.merged[0][0] == "conv"
    merged = Net(open_net(tmp_path / "net.prototxt", fork=fork), "TEST", log=False)
    load_blobs(merged, done.blobs)
    with torch.no_grad():
        torch.testing.assert_close(merged(given)["both"], net(given)["both"], rtol=1e-4, atol=1e-5)


def test_shared_weights_stay() -> None:
    text = (NET % "").replace('name: "conv"', 'name: "conv" param { name: "w" }').replace("\n    layer", "\nlayer")
    text += """layer { name: "twin" type: "Convolution" bottom: "data" top: "twin" param { name: "w" }
        convolution_param { num_output: 4 kernel_size: 3 } }"""
    assert optimize_net(Net(parse_text(text, pb.NetParameter()), "TEST", log=False)).merged == []


def test_flags_that_are_missing_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", "--model", "net.prototxt"]) != 0
    assert "needs --weights" in capfd.readouterr().err


def test_a_net_that_reads_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And whose convolution has no bias, which is said."""
    shape = "shape { dim: 2 dim: 3 dim: 9 dim: 9 }"
    data = f'layer {{ name: "data" type: "DummyData" top: "data" dummy_data_param {{ {shape} }} }}'
    layers = (NET % "").split("\n", 2)[2].replace("kernel_size: 3", "kernel_size: 3 bias_term: false")
    path = tmp_path / "net.prototxt"
    path.write_text(data + layers)
    flags = ["--model", str(path), "--weights", f"{tmp_path}/net.caffemodel", "--output", f"{tmp_path}/out.caffemodel"]
    pycaffe.Net(str(path), pycaffe.TEST).save(f"{tmp_path}/net.caffemodel")
    assert main(["optimize", *flags]) == 0
    assert f"give them bias_term: true in {path}: conv" in capfd.readouterr().err
    assert [blob.shape for blob in load_caffemodel(tmp_path / "out.caffemodel")["conv"]] == [(4, 3, 3, 3), (4,)]
