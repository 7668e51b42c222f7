"""BatchNorm and the Scale after it as one call in training: the same numbers, and nothing lost that somebody sees."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from caffecompat.net import Net
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net

SCALE = "scale_param { bias_term: true filler { value: 1.5 } bias_filler { value: 0.25 } }"
NORM = conv("c", "data") + layer("BatchNorm", "c", "b")
TEXT = INPUT + NORM + layer("Scale", "b", "s", SCALE) + layer("ReLU", "s", "s", name="r") + conv("d", "s")


def _run(net: Net, data: Tensor) -> list[Tensor]:
    """Output, gradients and statistics of one training pass."""
    for param in net.params:
        param.blob.grad = None
    top = net(data)["d"]
    top.square().sum().backward()
    grads = [param.blob.grad for param in net.params if param.blob.grad is not None]
    return [top.detach(), *grads, *(net.b.mean.detach().clone(), net.b.variance.detach().clone())]


class _Calls(TorchDispatchMode):
    """Counts calls of torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(func.__name__)
        return func(*args, **kwargs or {})


def _fused(net: Net) -> bool:
    """Whether the pass multiplies and adds in the batch normalization."""
    with _Calls() as calls:
        net(torch.randn(2, 3, 6, 6))
    return not any("addcmul" in name for name in calls.names)


def test_numbers_are_those_of_two_layers() -> None:
    net = make_net(TEXT, pb.TRAIN)
    net.double()
    plain = copy.deepcopy(net)
    plain.allow_inplace(False)
    for _ in range(3):
        data = torch.randn(2, 3, 6, 6, dtype=torch.float64) * 3 + 1
        for one, two in zip(_run(net, data), _run(plain, data), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
    assert _fused(net)
    assert not _fused(plain)


@pytest.mark.parametrize(
    "remake", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_copies_use_their_own_scale(remake: Callable[[Net], Net]) -> None:
    net = make_net(TEXT, pb.TRAIN)
    copied = remake(net)
    with torch.no_grad():
        net.s.scale.fill_(100)
    assert _fused(copied)
    assert copied.b.followed_by[0] is copied.s
    assert float(copied(torch.randn(2, 3, 6, 6))["d"].detach().abs().max()) < 50


def test_a_hook_sees_the_normalized_blob() -> None:
    net = make_net(TEXT, pb.TRAIN)
    seen: list[Tensor] = []
    handle = net.b.register_forward_hook(lambda module, bottoms, top: seen.append(top.detach().clone()))
    net(torch.randn(2, 3, 6, 6))
    assert torch.allclose(seen[0].mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    handle.remove()
    assert _fused(net)


def test_a_replaced_layer_gets_the_normalized_blob() -> None:
    net = make_net(TEXT, pb.TRAIN)
    seen: list[Tensor] = []
    net.s = torch.nn.Identity()
    net.d.register_forward_pre_hook(lambda module, bottoms: seen.append(bottoms[0].detach()))
    net(torch.randn(2, 3, 6, 6))
    assert seen[0].max() < 5  # not times 1.5 plus .25, cut at 0
    assert abs(float((seen[0] > 0).float().mean()) - 0.5) < 0.2


@pytest.mark.parametrize(
    "text",
    [
        INPUT + NORM + layer("Scale", "b", "s", SCALE) + layer("TanH", "b", "t") + conv("d", "s"),
        INPUT + NORM + layer("Scale", "b", "s", "scale_param { axis: 0 bias_term: true }") + conv("d", "s"),
        INPUT + NORM + layer("Scale", "b", "s", "scale_param { axis: 1 num_axes: 2 bias_term: true }") + conv("d", "s"),
        INPUT + NORM + layer("Scale", "b", "s", SCALE + " propagate_down: false") + conv("d", "s"),
        INPUT + NORM.replace('top: "b"', 'top: "b" loss_weight: 1') + layer("Scale", "b", "s", SCALE) + conv("d", "s"),
    ],
    ids=["read by another", "of the batch", "of rows", "cut off", "a loss"],
)
def test_other_scales_work_by_themselves(text: str) -> None:
    net = make_net(text, pb.TRAIN)
    assert not any(getattr(layer.module, "applied_before", False) for layer in net.layers)
    plain = copy.deepcopy(net)
    plain.allow_inplace(False)
    data = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(net(data)["d"], plain(data)["d"])


def test_frozen_statistics_and_eval_mode() -> None:
    net = make_net(TEXT, pb.TRAIN)
    net(torch.randn(2, 3, 6, 6))
    net.eval()
    plain = copy.deepcopy(net)
    plain.allow_inplace(False)
    data = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(net(data)["d"], plain(data)["d"])


def test_a_test_net_computes_layer_by_layer() -> None:
    assert not _fused(make_net(TEXT, pb.TEST))
