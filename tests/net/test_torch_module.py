"""What torch users do with a module, done with a net: calls, precision, state_dict, hooks, copies."""

from __future__ import annotations

import copy
import gc
import linecache
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.computation import Computation
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net, message

PERMISSIVE = 'param { name: "w" share_mode: PERMISSIVE }'
TWO_INPUTS = INPUT + INPUT.replace('"data"', '"in/two"')
SUM = (
    'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "in/two" top: "sum" '
    "eltwise_param { coeff: 1 coeff: 10 } }"
)
RELU = INPUT + conv("a", "data") + layer("ReLU", "a", "a", name="relu") + conv("b", "a")


class TestCalls:
    """Blobs come by place, by keyword, or in a mapping."""

    def test_all_ways_give_the_same(self) -> None:
        net, one, two = make_net(TWO_INPUTS + SUM), torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6)
        calls: list[dict[str, Tensor]] = [
            net(one, two),
            net(one, **{"in/two": two}),
            net(data=one, **{"in/two": two}),
            net({"data": one, "in/two": two, "other": two}),
            net(one.numpy(), two.numpy()),
            net.forward({"in/two": two, "data": one}),
        ]
        for tops in calls:
            assert set(tops) == {"sum"}
            torch.testing.assert_close(tops["sum"], one + 10 * two)

    @pytest.mark.parametrize(
        ("blobs", "named", "problem"),
        [
            ((1, 2, 3), {}, "takes 'data', 'in/two', which is 2; 3 inputs are given"),
            ((0,), {}, "needs inputs for 'in/two'"),
            ((0,), {"data": 0}, "'data' is given by position and by name"),
            ((), {"dat": 0}, "not 'dat'; did you mean 'data'"),
            ((), {}, "needs inputs for 'data', 'in/two'"),
            (([1.0], [2.0]), {}, "'data' is given as list"),
        ],
    )
    def test_what_is_wrong_is_named(self, blobs: tuple[Any, ...], named: dict[str, Any], problem: str) -> None:
        def tensor(given: Any) -> Any:
            return torch.zeros(2, 3, 6, 6) if isinstance(given, int) else given

        net = make_net(TWO_INPUTS + SUM)
        with pytest.raises(CaffeCompatError, match=problem):
            net(*map(tensor, blobs), **{name: tensor(given) for name, given in named.items()})


def test_layers_named_like_attributes_of_a_net() -> None:
    """All of them: a layer that hid one would break the net."""
    taken = ["loss", "params", "layers", "graph", "code", "device", "fed", "forward", "half_precision", "phase"]
    net = make_net(INPUT + "".join(conv(name, "data") for name in taken))
    assert {name for name, _ in net.named_children()} == {f"{name}_" for name in taken}
    assert set(net(torch.zeros(1, 3, 2, 2))) == set(taken)
    assert net.get_submodule("loss_") is net.layers[1].module
    own = set(vars(net)) - set(vars(nn.Module()))
    assert {name for name in own if not name.startswith("_")} <= {*Net.__annotations__, *Computation.__annotations__}


def test_keys_are_layers_and_their_blobs() -> None:
    net = make_net(INPUT + conv("conv1/3x3", "data") + layer("BatchNorm", "conv1/3x3", "bn"))
    keys = ["conv1_3x3.weight", "conv1_3x3.bias", "bn.mean", "bn.variance", "bn.factor"]
    assert list(net.state_dict()) == [name for name, _ in net.named_parameters()] == keys


def test_train_and_eval_switch_dropout() -> None:
    net = make_net(INPUT + layer("Dropout", "data", "d"), pb.TRAIN)
    ones = torch.ones(2, 3, 6, 6)
    assert net.training and net(ones)["d"].unique().tolist() == [0, 2]
    assert net.eval() is net and torch.equal(net(ones)["d"], ones)
    assert not net.training and net.train()(ones)["d"].unique().tolist() == [0, 2]


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-6), (torch.bfloat16, 0.1), (torch.float16, 0.01)])
def test_other_types(dtype: torch.dtype, apart: float) -> None:
    net = make_net(RELU)
    data = torch.randn(2, 3, 6, 6)
    expected = net(data)["b"]
    made = net.to(dtype)(data.to(dtype))["b"]
    assert made.dtype == dtype and {p.dtype for p in net.parameters()} == {dtype}
    torch.testing.assert_close(made.float(), expected, rtol=apart, atol=apart)


def test_a_double_net_takes_what_comes_as_float32() -> None:
    assert make_net(RELU).double()(np.zeros((2, 3, 6, 6), np.float32))["b"].dtype == torch.float64


def test_what_layers_share_stays_shared_when_memory_is_replaced() -> None:
    with torch.device("meta"):
        net = make_net(
            INPUT + conv("a", "data", more='param { name: "w" }') + conv("b", "a", outputs=3, more=PERMISSIVE)
        )
    assert net.device.type == "meta"
    net.to_empty(device="cpu")
    assert net.device.type == "cpu" and len(list(net.parameters())) == len(net.params) == 3
    with torch.no_grad():
        net.a.weight.fill_(2)
    assert torch.equal(net.b.weight, torch.full((3, 4, 1, 1), 2.0))


def test_statistics_of_a_state_dict_are_moved_not_started_anew() -> None:
    """As those of a weight file are (Xilinx' layer takes over its first batch's where nothing was loaded)."""
    text = INPUT + layer("BatchNorm", "data", "n", "batch_norm_param { scale_filler { type: 'constant' value: 1 } }")
    trained, loaded, fresh = (make_net(text, pb.TRAIN) for _ in range(3))
    data = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        trained.n.mean.fill_(100)
        trained.n.variance.fill_(1)
    loaded.load_state_dict(trained.state_dict())
    loaded(data), fresh(data)
    assert (loaded.n.mean > 90).all() and (fresh.n.mean < 1).all()


class TestHooks:
    """Hooks see what layers made, though ReLU writes over its bottom where nobody looks."""

    def test_a_forward_hook_keeps_the_blob_before_relu(self) -> None:
        net, seen, data = make_net(RELU), [], torch.randn(2, 3, 6, 6)
        weight, bias = net.a.weight, net.a.bias
        hook = net.a.register_forward_hook(lambda module, bottoms, top: seen.append(top))
        net(data)
        torch.testing.assert_close(seen[0], F.conv2d(data, weight, bias))
        assert (seen[0] < 0).any()
        assert not net.relu.inplace
        hook.remove()
        net(data)
        assert net.relu.inplace

    def test_global_hooks(self) -> None:
        net, seen = make_net(RELU), []
        hook = nn.modules.module.register_module_forward_hook(
            lambda module, bottoms, top: seen.append(top) if module is net.a else None
        )
        try:
            net(torch.randn(2, 3, 6, 6))
        finally:
            hook.remove()
        assert (seen[0] < 0).any()

    def test_backward_hooks_of_all_layers(self) -> None:
        net, seen = make_net(RELU, pb.TRAIN), {}
        for name, module in net.named_children():
            module.register_full_backward_hook(lambda m, below, above, name=name: seen.update({name: above[0]}))
        net(torch.randn(2, 3, 6, 6))["b"].sum().backward()
        assert list(seen) == ["b", "relu", "a"]
        assert torch.equal(seen["b"], torch.ones(2, 4, 6, 6))

    def test_hooks_of_the_net_itself(self) -> None:
        net, data = make_net(RELU), torch.ones(2, 3, 6, 6)
        zero = net(torch.zeros_like(data))["b"]
        net.register_forward_pre_hook(lambda module, blobs: (blobs[0] * 0,))
        net.register_forward_hook(lambda module, blobs, tops: {"b": tops["b"], "more": tops["b"] + 1})
        tops = net(data)
        assert torch.equal(tops["b"], zero) and torch.equal(tops["more"], zero + 1)


COPIES: list[Callable[[Any], Any]] = [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_a_net_with_data_layers_are_fed(how: Callable[[Any], Any]) -> None:
    text = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 2 } }'
    net = Net(message(text + conv("a", "data")), pb.TRAIN, sources=Placeholders((6, 6), 3), log=False)
    made = how(net)
    assert net.layers[0].source is not None and made.layers[0].source is None
    with pytest.raises(CaffeCompatError, match="needs inputs for 'data', 'label'"):
        made()
    data = torch.randn(5, 3, 6, 6)
    assert torch.equal(made(data, torch.zeros(5))["a"], net(data, torch.zeros(5))["a"])
    made.reshape({"data": (5, 3, 6, 6)})
    assert made.blob_shapes == {"data": (5, 3, 6, 6), "label": (2,), "a": (5, 4, 6, 6)}


@pytest.mark.parametrize("how", COPIES)
def test_copies_follow_xilinx_rule_of_the_last_gradient(how: Callable[[Any], Any]) -> None:
    text = INPUT + layer("BatchNorm", "data", "n", "batch_norm_param { scale_filler { type: 'constant' value: 1 } }")
    made = how(make_net(text, pb.TRAIN))
    for factor in (1, 3):
        (made(torch.randn(2, 3, 6, 6))["n"].sum() * factor).backward()
    assert torch.equal(made.n.bias.grad, torch.full((3,), 2.0 * 36 * 3))


def test_gradients_of_every_picture_by_vmap() -> None:
    net, data = make_net(RELU), torch.randn(3, 3, 6, 6)
    parameters = dict(net.named_parameters())

    def loss(values: dict[str, Tensor], picture: Tensor) -> Tensor:
        tops: dict[str, Tensor] = torch.func.functional_call(net, values, (picture[None],))
        return tops["b"].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, data)
    for name, parameter in parameters.items():
        for index, picture in enumerate(data):
            [gradient] = torch.autograd.grad(loss(parameters, picture), [parameter])
            torch.testing.assert_close(each[name][index], gradient)


@pytest.mark.parametrize("phase", [pb.TRAIN, pb.TEST])
@pytest.mark.parametrize(
    "block",
    [
        'type: "BatchNorm"',
        'type: "BatchNorm" batch_norm_param { use_global_stats: true }',
        "type: 'BatchNorm' batch_norm_param { scale_filler { type: 'constant' value: 1 } }",
        "type: 'BN' bn_param { frozen: true }",
        "type: 'BN' bn_param { frozen: false }",
    ],
)
def test_statistics_stay_constants_where_all_is_made_to_learn(block: str, phase: int) -> None:
    """``requires_grad_(True)`` thaws a net that was frozen; what Caffe does not learn has no gradient then either."""
    net = make_net(INPUT + conv("a", "data") + f'layer {{ name: "n" bottom: "a" top: "n" {block} }}', phase)
    data = torch.randn(2, 3, 6, 6)
    torch.manual_seed(1)
    expected = copy.deepcopy(net)(data)["n"]
    net.requires_grad_(False).requires_grad_(True)
    top = net(data)["n"]
    torch.testing.assert_close(top, expected)
    top.square().sum().backward()
    assert net.a.weight.grad is not None
    assert net.n.mean.grad is None and net.n.variance.grad is None


def test_functional_call_takes_other_parameters() -> None:
    net, data = make_net(RELU), torch.randn(2, 3, 6, 6)
    zeros = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    assert not torch.func.functional_call(net, zeros, (data,))["b"].any()
    assert net(data)["b"].any()


def test_nothing_stays_of_a_net_that_is_gone() -> None:
    def sources() -> set[str]:
        gc.collect()
        return {name for name in linecache.cache if name.startswith("<eval_with_key>")}

    before = sources()
    nets = [make_net(INPUT + conv("c", "data")) for _ in range(3)]
    assert len(sources() - before) == 3
    nets.clear()
    assert sources() <= before
