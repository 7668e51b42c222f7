"""The fx module: one call a layer, readable code, gradients cut where the prototxt says so."""

import pytest
import torch

from caffecompat import load_net
from caffecompat.schema import pb
from tests.net.nets import INPUT, LABEL, conv, layer, make_net

SLICED = (
    'layer { name: "1x1/slice" type: "Slice" bottom: "data" top: "left" top: "right" slice_param { slice_point: 1 } }'
    'layer { name: "class" type: "Concat" bottom: "right" bottom: "left" top: "forward" }'
)


def test_code_reads_like_the_prototxt() -> None:
    net = make_net(
        'name: "tiny-net"\n' + INPUT + conv("conv1/3x3", "data") + layer("ReLU", "conv1/3x3", "conv1/3x3", name="relu1")
    )
    code = net.code
    assert "def forward(self, data):" in code
    assert "conv1_3x3 = self.conv1_3x3(data)" in code
    assert "relu1 = self.relu1(conv1_3x3)" in code
    assert "return {'conv1/3x3': relu1}" in code
    assert type(net.graph_module).__name__ == "tiny_net"


def test_names_that_python_cannot_take() -> None:
    net = make_net(INPUT + SLICED)
    assert {name for name, _ in net.named_children()} == {"_1x1_slice", "class_"}
    data = torch.randn(2, 3, 6, 6)
    assert torch.equal(net.forward({"data": data})["forward"], data[:, [1, 2, 0]])


def test_blob_called_like_a_layer_or_an_attribute() -> None:
    net = make_net(INPUT.replace('"data"', '"training"') + conv("data", "training") + layer("ReLU", "data", "code"))
    assert net.fed == ["training"]
    assert set(net.forward({"training": torch.zeros(2, 3, 6, 6)})) == {"code"}


def test_propagate_down_false_cuts_the_gradient() -> None:
    text = INPUT + conv("a", "data") + conv("b", "a", more="propagate_down: false")
    net = make_net(text, pb.TRAIN)
    net.forward({"data": torch.ones(2, 3, 6, 6)})["b"].sum().backward()
    assert [p.blob.grad is not None for p in net.params] == [False, False, True, True]


def test_loss_is_the_weighted_sum_of_all_loss_tops() -> None:
    text = (
        INPUT
        + LABEL
        + (
            'layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "zero" top: "l" loss_weight: 3 }'
            'layer { name: "m" type: "Reduction" bottom: "data" top: "m" loss_weight: 0.5 }'
            'layer { name: "q" type: "Power" bottom: "m" top: "q" power_param { scale: 2 } }'
        ).replace('"zero"', '"z"')
    )
    text = text.replace(LABEL, LABEL + layer("Power", "data", "z", "power_param { scale: 0 }"))
    net = make_net(text, pb.TRAIN)
    assert net.loss_weights == {"l": 3.0, "m": 0.5}
    tops = net.forward({"data": torch.ones(2, 3, 6, 6), "label": torch.zeros(2)})
    assert net.outputs == ["l", "label", "q"]
    assert float(net.loss(tops)) == pytest.approx(3 * 216 / 2 / 2 + 0.5 * 216)


def test_no_loss_is_0() -> None:
    net = make_net(INPUT)
    assert float(net.loss(net.forward({"data": torch.ones(2, 3, 6, 6)}))) == 0


def test_other_input_sizes_run_and_reshape_infers_them() -> None:
    net = make_net(INPUT + conv("c", "data") + layer("Pooling", "c", "p", "pooling_param { kernel_size: 2 stride: 2 }"))
    assert net.blob_shapes["p"] == (2, 4, 3, 3)
    assert net.forward({"data": torch.zeros(1, 3, 9, 8)})["p"].shape == (1, 4, 5, 4)
    net.reshape({"data": (1, 3, 9, 8)})
    assert net.blob_shapes["p"] == (1, 4, 5, 4)


def test_convolutions_run_channels_last_and_others_do_not() -> None:
    net = make_net(INPUT + conv("c", "data", outputs=5).replace("kernel_size: 1", "kernel_size: 3"))
    assert net.params[0].blob.is_contiguous()
    assert net.forward({"data": torch.randn(2, 3, 6, 6)})["c"].is_contiguous(memory_format=torch.channels_last)
    assert make_net(INPUT + layer("ReLU", "data", "r")).memory_format == torch.contiguous_format


def test_one_input_channel_does_not_throw_the_net_back_to_nchw() -> None:
    text = INPUT.replace("dim: 3", "dim: 1") + conv("c", "data").replace("kernel_size: 1", "kernel_size: 3")
    top = make_net(text).forward({"data": torch.randn(2, 1, 6, 6)})["c"]
    assert top.is_contiguous(memory_format=torch.channels_last)


def test_inference_of_shapes_leaves_layers_untouched() -> None:
    net = make_net(INPUT + layer("BatchNorm", "data", "bn"), pb.TRAIN)
    assert all(not p.blob.any() for p in net.params)


def test_load_net_gives_a_torch_module(tmp_path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + conv("c", "data"))
    module = load_net(path)
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert load_net(path, phase="TRAIN").training
    assert module(torch.zeros(1, 3, 4, 4))["c"].shape == (1, 4, 4, 4)


class TestInPlace:
    """A ReLU writes over its bottom only where that loses nothing."""

    def inplace(self, text: str) -> list[str]:
        net = make_net(INPUT + text, pb.TRAIN)
        return [
            layer.name for layer in net.layers if layer.module is not None and getattr(layer.module, "inplace", False)
        ]

    def test_behind_a_convolution(self) -> None:
        assert self.inplace(conv("c", "data") + layer("ReLU", "c", "r")) == ["r"]

    def test_not_over_what_others_read(self) -> None:
        assert self.inplace(conv("c", "data") + layer("ReLU", "c", "r") + layer("TanH", "c", "t")) == []

    def test_not_over_inputs_or_tops_that_backward_needs(self) -> None:
        assert self.inplace(layer("ReLU", "data", "r")) == []
        assert self.inplace(conv("c", "data") + layer("Sigmoid", "c", "s") + layer("ReLU", "s", "r")) == []

    def test_not_over_a_loss(self) -> None:
        text = conv("c", "data", more="loss_weight: 1") + layer("ReLU", "c", "r")
        assert self.inplace(text) == []

    def test_gradients_are_the_same(self) -> None:
        text = INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r") + conv("d", "c")
        net = make_net(text, pb.TRAIN)
        data = torch.randn(2, 3, 6, 6)
        grads = []
        for allowed in (True, False):
            net.allow_inplace(allowed)
            net.forward({"data": data})["d"].square().sum().backward()
            grads.append([p.blob.grad for p in net.params])
            for p in net.params:
                p.blob.grad = None
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
