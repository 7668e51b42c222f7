"""torch.compile, torch.export and DistributedDataParallel on whole nets.

Compiled with the backend that runs the captured graph as it is: what is tested is that all of the net is captured.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import open_net, parse_text, pb
from caffecompat.zoo import NETWORKS, network_files
from tests.net.nets import INPUT, LABEL, layer, make_net

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "real"
GOOGLENET = REAL / "bvlc" / "models" / "bvlc_googlenet" / "deploy.prototxt"
SSD300 = REAL / "jacinto-caffe" / "models" / "VGGNet" / "coco" / "SSD_300x300" / "deploy.prototxt"


def _net(message: Any, size: tuple[int, ...], left_out: str = "") -> Net:
    fed = pb.NetParameter(name=message.name)
    fed.layer.extend(one for one in message.layer if one.type != left_out)
    for one in fed.layer:
        if one.type == "Input":
            one.input_param.shape[0].dim[:] = size
    net = Net(fed, "TEST", log=False)
    for made in net.layers:  # statistics as after training: of no spread they give infinities
        if made.type == "BatchNorm":
            torch.nn.init.ones_(made.module.variance)  # type: ignore[union-attr,arg-type]
    return net


def _lenet() -> Net:
    return _net(parse_text(network_files(NETWORKS["lenet"])["deploy.prototxt"], pb.NetParameter()), (2, 1, 28, 28))


def _espnet() -> Net:
    text = network_files(NETWORKS["espnet"])["deploy.prototxt"]
    return _net(parse_text(text, pb.NetParameter()), (1, 3, 32, 64))


def _real(path: Path, size: tuple[int, ...], left_out: str = "") -> Net:
    if not path.is_file():
        pytest.skip("real prototxts (../shared) are not here")
    return _net(open_net(path).message, size, left_out)


NETS = {
    "LeNet": _lenet,
    "ESPNet": _espnet,
    "GoogLeNet": lambda: _real(GOOGLENET, (1, 3, 224, 224)),
    "SSD300 without DetectionOutput": lambda: _real(SSD300, (1, 3, 300, 300), "DetectionOutput"),
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@torch.no_grad()
def test_nets_are_captured_whole(make: Any) -> None:
    net = make()
    (shape,) = net.fed_shapes.values()
    data = torch.randn(shape)
    exported = torch.export.export(net, (data,))
    assert {*exported.state_dict} == {*net.state_dict()}
    expected = net(data)
    _check(exported.module()(data), expected)
    torch._dynamo.reset()
    _check(torch.compile(net, backend="aot_eager", fullgraph=True)(data), expected)
    _check(net(data), expected)


def _check(made: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert made.keys() == expected.keys()
    for blob, top in expected.items():
        assert top.isfinite().all()
        torch.testing.assert_close(made[blob], top)


def test_compiled_nets_learn() -> None:
    """With the loss, whose labels are looked at between two graphs: the same gradients."""
    message = parse_text(network_files(NETWORKS["lenet"])["train_val.prototxt"], pb.NetParameter())
    layers = [one for one in message.layer if "Data" not in one.type and one.type != "Accuracy"]
    fed = pb.NetParameter()
    for name, shape in (("data", (4, 1, 28, 28)), ("label", (4,))):
        fed.layer.add(name=name, type="Input", top=[name]).input_param.shape.add().dim.extend(shape)
    fed.layer.extend(layers)
    net = Net(fed, "TRAIN", log=False)
    data, label = torch.randn(4, 1, 28, 28), torch.tensor([0.0, 3, 9, 1])
    torch._dynamo.reset()
    gradients = []
    for run in (net, torch.compile(net, backend="aot_eager")):
        net.zero_grad()
        net.loss(run(data, label)).backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


DDP = """
import sys, torch, torch.distributed as dist
from tests.net.test_compile_export import NETS
rank, store, names = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
def loss(net, data):
    return sum(top.square().mean() for top in net(data).values() if top.requires_grad)
def gradients():
    return [parameter.grad for parameter in net.parameters() if parameter.requires_grad]
for name in names:
    torch.manual_seed(rank)
    net = NETS[name]()
    (shape,) = net.fed_shapes.values()
    whole = torch.nn.parallel.DistributedDataParallel(net)
    torch.manual_seed(5)
    batches = [torch.randn(shape), torch.randn(shape)]
    loss(whole, batches[rank]).backward()
    if rank == 0:
        mean = [gradient.clone() for gradient in gradients()]
        net.zero_grad()
        (sum(loss(net, data) for data in batches) / 2).backward()
        assert len(mean) > 5
        for one, other in zip(mean, gradients(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    first = next(net.parameters()).detach().clone()
    dist.broadcast(first, 0)
    assert torch.equal(first, next(net.parameters()))
    del whole
dist.barrier()
dist.destroy_process_group()  # its threads would outlive the interpreter
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_sum_their_gradients(tmp_path: Path) -> None:
    """Each has a batch of its own; both get the mean of the gradients, and begin with the first one's weights."""
    names = [name for name in NETS if REAL.is_dir() or name in ("LeNet", "ESPNet")]
    command = [sys.executable, "-c", DDP]
    more = [str(tmp_path / "store"), *names]
    runs = [subprocess.Popen([*command, str(rank), *more], cwd=ROOT, stderr=-1) for rank in range(2)]
    try:
        errors = [run.communicate(timeout=240)[1] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], b"\n".join(errors).decode()


UNPOOLING = (
    'layer { name: "p" type: "Pooling" bottom: "data" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }'
    'layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "u" upsample_param { scale: 2 } }'
)


@torch.no_grad()
def test_what_is_looked_at_in_a_run_is_not_in_an_export() -> None:
    """Masks, indices and labels: each pass makes sure that they are in range, a traced one cannot."""
    unpooling = make_net(INPUT + UNPOOLING)
    embed = 'embed_param { num_output: 3 input_dim: 9 bias_term: false weight_filler { type: "uniform" } }'
    embedding = make_net(LABEL + layer("Embed", "label", "e", embed))
    accuracy = make_net(
        INPUT.replace("dim: 6 dim: 6", "")
        + LABEL
        + 'layer { name: "a" type: "Accuracy" bottom: "data" bottom: "label" top: "a" }'
    )
    scores = torch.tensor([[1.0, 2, 2], [3, 1, 3]])
    for net, blobs in (
        (unpooling, (torch.randn(2, 3, 6, 6),)),
        (embedding, (torch.tensor([3.0, 8]),)),
        (accuracy, (scores, torch.tensor([1.0, 0]))),
    ):
        _check(torch.export.export(net, blobs).module()(*blobs), net(*blobs))


def test_what_cannot_be_traced_is_named() -> None:
    net = make_net(INPUT + LABEL + 'layer { name: "f" type: "Filter" bottom: "data" bottom: "label" top: "f" }')
    blobs = torch.randn(2, 3, 6, 6), torch.ones(2)
    with pytest.raises(CaffeCompatError, match=r"layer 'f' \(Filter\) cannot be exported.*how many items"):
        torch.export.export(net, blobs)
    torch._dynamo.reset()
    made = torch.compile(net, backend="aot_eager")(*blobs)  # runs it between two graphs
    assert torch.equal(made["f"], net(*blobs)["f"])
