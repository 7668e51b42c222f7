"""A folded net computes what its net computes, with fewer calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.deploy.inference.folded_net import FoldedNet
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 8 dim: 9 dim: 11 } } }'


def conv(name: str, bottom: str, more: str = "", top: str = "", kind: str = "Convolution") -> str:
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}" convolution_param {{ '
        f'num_output: 8 kernel_size: 3 pad: 1 weight_filler {{ type: "msra" }} bias_filler {{ type: "gaussian" }} '
        f"{more} }} }}"
    )


def layer(kind: str, name: str, bottoms: str, top: str = "", more: str = "") -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {read} top: "{top or name}" {more} }}'


def norm(name: str, bottom: str) -> str:
    """BatchNorm and Scale in place."""
    return layer("BatchNorm", f"{name}/bn", bottom, bottom) + layer(
        "Scale", f"{name}/scale", bottom, bottom, "scale_param { bias_term: true }"
    )


def relu(name: str, bottom: str, top: str = "", slope: float = 0) -> str:
    return layer("ReLU", name, bottom, top or bottom, f"relu_param {{ negative_slope: {slope} }}")


NETS = {
    "in place": (conv("a", "data") + norm("a", "a") + relu("r", "a") + conv("b", "a"), 2, 2),
    "blobs of their own": (
        conv("a", "data") + relu("r", "a", "ra", 0.1) + conv("b", "ra") + relu("s", "b", "sb"), 0, 2,
    ),
    "two readers": (conv("a", "data") + relu("r", "a", "ra") + layer("Eltwise", "sum", "a ra"), 0, 3),
    "an output": (conv("a", "data") + norm("a", "a") + conv("b", "data") + relu("r", "b", "rb"), 2, 2),
    "a sum": (
        conv("a", "data") + conv("b", "a") + layer("Eltwise", "sum", "a b") + norm("sum", "sum") + relu("r", "sum"),
        0, 6,
    ),
    "a concatenation": (
        conv("a", "data") + conv("b", "data", "group: 2") + layer("Concat", "ab", "a b") + norm("ab", "ab")
        + relu("r", "ab"), 2, 4,
    ),
    "before": (norm("data", "data") + conv("a", "data", "pad: 0").replace("pad: 1", ""), 2, 1),
    "deconvolution": (conv("a", "data", "group: 4", kind="Deconvolution") + norm("a", "a") + relu("r", "a"), 2, 2),
    "depthwise, dilated, strided": (
        conv("a", "data", "group: 8 bias_term: false") + norm("a", "a") + relu("r", "a")
        + conv("b", "a", "dilation: 2 stride: 2") + relu("s", "b") + layer("InnerProduct", "ip", "b", "",
        'inner_product_param { num_output: 5 weight_filler { type: "msra" } }') + norm("ip", "ip"), 4, 3,
    ),
    "fed and written over": (relu("r", "data") + conv("a", "data") + layer("Softmax", "prob", "a"), 0, 3),
    "the input is an output": (layer("Split", "twice", "data", 'x" top: "y') + conv("a", "x"), 0, 2),
}  # fmt: skip


def net_of(text: str) -> Net:
    torch.manual_seed(3)
    net = Net(parse_text(DATA + text, pb.NetParameter()), pb.TEST, log=False)
    for step in net.layers:
        for slot in step.slots:
            if step.type in ("BatchNorm", "Scale"):
                slot.tensor().copy_(torch.rand(slot.shape) + 0.5)
    return net


@pytest.mark.parametrize("name", NETS)
def test_it_computes_the_same(name: str) -> None:
    text, folded, calls = NETS[name]
    net = net_of(text)
    data = torch.randn(2, 8, 9, 11)
    given = data.clone()
    with torch.no_grad():
        expected = net(data)
    quick = FoldedNet(net)
    assert (quick.folded, len(quick._calls)) == (folded, calls)
    for _ in range(2):
        found = quick(net.fed_tensors({"data": data}))
        assert found.keys() == expected.keys()
        for blob, top in expected.items():
            np.testing.assert_allclose(found[blob].numpy(), top.numpy(), rtol=1e-4, atol=2e-6 * float(top.abs().max()))
            assert not found[blob].is_inference()
    assert torch.equal(data, given)


def test_other_sizes_and_the_net_itself() -> None:
    """The packed weights serve all sizes; the net's own parameters stay, and those of other layers are not copied."""
    net = net_of(NETS["in place"][0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quick = FoldedNet(net)
    for shape in ((1, 8, 5, 30), (3, 8, 16, 16)):
        data = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(
                quick(net.fed_tensors({"data": data}))["b"], net(data)["b"], rtol=1e-4, atol=1e-4
            )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_factors_that_overflow_stay() -> None:
    net = net_of(NETS["in place"][0])
    (scale,) = (step for step in net.layers if step.type == "Scale")
    scale.slots[0].tensor().fill_(3e38)
    (first,) = (step for step in net.layers if step.name == "a")
    first.slots[0].tensor().fill_(1e-3).flatten()[0] = 100
    assert FoldedNet(net).folded == 0
