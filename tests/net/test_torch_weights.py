"""torchvision's residual nets, by its names, into nets written as the published Caffe ones are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.torch_map import guess_map, read_map, write_map
from caffecompat.net.torch_weights import mapped_blobs
from caffecompat.schema import NetDocument, parse_text, pb

WIDTH, CLASSES = 4, 7
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 2 dim: 3 dim: 3 } } }'
DEPTHS = {"ResNet-18": ((3, 3), [2, 2, 2, 2]), "ResNet-50": ((1, 3, 1), [3, 4, 6, 3])}


class Block(nn.Module):
    """BasicBlock, of two kernels, or Bottleneck, of three, whose last has four times the channels."""

    def __init__(self, inputs: int, planes: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        outputs = planes * (4 if len(kernels) == 3 else 1)
        for i, kernel in enumerate(kernels, 1):
            channels = outputs if i == len(kernels) else planes
            conv = nn.Conv2d(inputs if i == 1 else planes, channels, kernel, stride if i == 1 else 1, kernel // 2)
            conv.bias = None
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
        self.count, self.downsample = len(kernels), None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """torchvision's, but narrow."""

    def __init__(self, kernels: tuple[int, ...], depths: list[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inputs = WIDTH
        for stage, depth in enumerate(depths):
            blocks, planes = [], WIDTH << stage
            for i in range(depth):
                blocks.append(Block(inputs, planes, kernels, 2 if stage and not i else 1))
                inputs = planes * (4 if len(kernels) == 3 else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, ceil_mode=True)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def _prototxt(kernels: tuple[int, ...], depths: list[int]) -> str:
    """As ResNet-50-deploy.prototxt: res2a_branch2a, bn2a_branch2a, scale2a_branch2a; conv1 alone has a bias."""
    text = ['layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 33 dim: 33 } } }']

    def conv(name: str, norm: str, bottom: str, outputs: int, kernel: int, stride: int, more: str = "") -> str:
        text.append(
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
            f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} {more} }} }}"
            f'layer {{ name: "bn{norm}" type: "BatchNorm" bottom: "{name}" top: "{name}" }}'
            f'layer {{ name: "scale{norm}" type: "Scale" bottom: "{name}" top: "{name}" '
            "scale_param { bias_term: true } }"
        )
        return name

    def relu(blob: str) -> None:
        text.append(f'layer {{ name: "{blob}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}')

    conv("conv1", "_conv1", "data", WIDTH, 7, 2)
    relu("conv1")
    text.append('layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" ')
    text.append("pooling_param { kernel_size: 3 stride: 2 } }")
    blob, no_bias = "pool1", "bias_term: false"
    for stage, depth in enumerate(depths):
        for i in range(depth):
            name, stride = f"{stage + 2}{chr(ord('a') + i)}", 2 if stage and not i else 1
            planes, shortcut, end = WIDTH << stage, blob, blob
            outputs = planes * (4 if len(kernels) == 3 else 1)
            if not i and (stage or outputs != planes):
                branch = f"{name}_branch1"
                shortcut = conv(f"res{branch}", branch, blob, outputs, 1, stride, no_bias)
            for part, kernel in enumerate(kernels):
                branch, last = f"{name}_branch2{'abc'[part]}", part == len(kernels) - 1
                size = outputs if last else planes
                end = conv(f"res{branch}", branch, end, size, kernel, 1 if part else stride, no_bias)
                if not last:
                    relu(end)
            text.append(f'layer {{ name: "res{name}" type: "Eltwise" bottom: "{shortcut}" bottom: "{end}" ')
            text.append(f'top: "res{name}" }}')
            relu(blob := f"res{name}")
    text.append(f'layer {{ name: "pool5" type: "Pooling" bottom: "{blob}" top: "pool5" ')
    text.append("pooling_param { pool: AVE global_pooling: true } }")
    text.append('layer { name: "fc1000" type: "InnerProduct" bottom: "pool5" top: "fc1000" ')
    text.append(f"inner_product_param {{ num_output: {CLASSES} }} }}")
    return "\n".join(text)


def _net(case: str) -> Net:
    message = parse_text(_prototxt(*DEPTHS[case]), pb.NetParameter())
    return Net(NetDocument.from_message(message), pb.TEST, log=False)


def _model(case: str) -> ResNet:
    torch.manual_seed(2)
    model = ResNet(*DEPTHS[case]).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.3, 1.5)
    return model


@pytest.mark.parametrize("case", DEPTHS)
def test_a_published_net_takes_torchvisions_weights(case: str, tmp_path) -> None:
    net, model = _net(case), _model(case)
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    found = guess_map(net, state)
    assert not found.without and not found.unused and not found.uncertain
    first = "downsample.0" if case == "ResNet-50" else "conv1"
    assert found.pairs[f"res2a_branch{'1' if case == 'ResNet-50' else '2a'}"] == f"layer1.0.{first}"
    assert found.pairs["bn4b_branch2b"] == found.pairs["scale4b_branch2b"] == "layer3.1.bn2"
    write_map(tmp_path / "map.txt", found)
    assert f"fc1000 {' ' * 10}<- fc" in (tmp_path / "map.txt").read_text()
    pairs = read_map(tmp_path / "map.txt")
    assert pairs == found.pairs
    for name, blobs in mapped_blobs(net, state, pairs).items():
        layer = next(layer for layer in net.layers if layer.name == name)
        for slot, blob in zip(layer.slots, blobs, strict=True):
            slot.tensor().copy_(torch.from_numpy(blob))
    picture = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        torch.testing.assert_close(net.forward({"data": picture})["fc1000"], model(picture), rtol=1e-5, atol=1e-4)


def test_what_order_alone_decided_is_doubted_where_something_is_left_over() -> None:
    state = {name: values.numpy() for name, values in _model("ResNet-50").state_dict().items()}
    del state["layer1.1.conv2.weight"]
    found = guess_map(_net("ResNet-50"), state)
    assert found.without == ["res2c_branch2b"]
    assert found.uncertain == [
        "bn2c_branch2b <- layer1.1.bn2: guessed by shape, nothing else is left for it",
        "res2c_branch2b got nothing, but the shapes of layer1.0.conv2, layer1.2.conv2 fit it, too",
    ]
    assert "# look here: " + found.uncertain[0] in found.lines()


SHORTCUTS = {
    "He's": lambda stage: f"res{stage}a_branch1",
    "expand": lambda stage: f"conv{stage}_1_expand",
    "proj": lambda stage: f"conv{stage}_1/proj",
    "shortcut": lambda stage: f"layer{stage - 1}_0_shortcut",
    "sc": lambda stage: f"stage{stage - 1}_unit1_sc",
    "a number alone": lambda stage: f"Convolution{stage * 5}",
}


@pytest.mark.parametrize("case", DEPTHS)
@pytest.mark.parametrize("naming", SHORTCUTS)
def test_shortcuts_are_found_whatever_the_net_calls_them(naming: str, case: str) -> None:
    text = _prototxt(*DEPTHS[case])
    for stage in range(2, 6):
        text = text.replace(f'"res{stage}a_branch1"', f'"{SHORTCUTS[naming](stage)}"')
    net = Net(NetDocument.from_message(parse_text(text, pb.NetParameter())), pb.TEST, log=False)
    found = guess_map(net, {name: values.numpy() for name, values in _model(case).state_dict().items()})
    assert not found.without and not found.unused and not found.uncertain
    plain = guess_map(_net(case), {name: values.numpy() for name, values in _model(case).state_dict().items()})
    assert list(found.pairs.values()) == list(plain.pairs.values())
    for stage in range(2 if case == "ResNet-50" else 3, 6):
        assert found.pairs[SHORTCUTS[naming](stage)] == f"layer{stage - 1}.0.downsample.0"
        assert found.pairs[f"bn{stage}a_branch1"] == f"layer{stage - 1}.0.downsample.1"


def test_shortcuts_that_the_model_does_not_name_are_doubted() -> None:
    state = {
        name.replace("downsample", "extra"): values.numpy() for name, values in _model("ResNet-50").state_dict().items()
    }
    found = guess_map(_net("ResNet-50"), state)
    assert [line.split(" <-")[0] for line in found.uncertain] == ["res2a_branch1"], "the others' shapes occur once"
    assert "its shapes fit res2a_branch2c, res2b_branch2c, res2c_branch2c, too" in found.uncertain[0]


CONV = (
    'layer {{ name: "{0}" type: "Convolution" bottom: "data" top: "{0}" '
    "convolution_param {{ num_output: {1} kernel_size: 1 bias_term: false }} }}"
)


def _leftovers(*layers: tuple[str, int], **modules: int) -> tuple[Net, dict[str, np.ndarray]]:
    message = parse_text(INPUT + "".join(CONV.format(*layer) for layer in layers), pb.NetParameter())
    state = {f"{name}.weight": np.ones((outputs, 2, 1, 1), np.float32) for name, outputs in modules.items()}
    return Net(NetDocument.from_message(message), pb.TEST, log=False), state


def test_what_is_left_goes_by_shape_where_only_one_pair_fits() -> None:
    net, state = _leftovers(("a", 3), ("res_branch1", 5), c_downsample=5, d_downsample=3)
    found = guess_map(net, state)
    assert found.pairs == {"a": "d_downsample", "res_branch1": "c_downsample"}
    assert found.uncertain == ["a <- d_downsample: guessed by shape, nothing else is left for it"]
    assert any(line.startswith("a ") and line.endswith("3x2x1x1; guessed by shape") for line in found.lines())


def test_what_is_left_stays_where_two_pairs_fit() -> None:
    net, state = _leftovers(("a", 3), ("b", 3), ("res_branch1", 5), c_downsample=3, d_downsample=3, e_downsample=5)
    found = guess_map(net, state)
    assert found.without == ["a", "b"] and set(found.unused) == {"c_downsample", "d_downsample"}
    assert "# not used: c_downsample (weight 3x2x1x1)" in found.lines()


NORMS = {
    "a Scale layer after this one is missing": 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }',
    "this Scale needs bias_term: true": (
        'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }'
        'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" }'
    ),
    "use bn_mode LEARN": 'layer { name: "bn" type: "BN" bottom: "data" top: "bn" bn_param { bn_mode: INFERENCE } }',
}


@pytest.mark.parametrize("remedy", NORMS)
def test_what_a_normalization_has_no_place_for_is_an_error(remedy: str) -> None:
    message = parse_text(INPUT + NORMS[remedy], pb.NetParameter())
    net = Net(NetDocument.from_message(message), pb.TEST, log=False)
    ones = np.ones(2, np.float32)
    state = {"bn.weight": ones, "bn.bias": 3 * ones, "bn.running_mean": ones, "bn.running_var": ones}
    with pytest.raises(CaffeCompatError, match=remedy):
        mapped_blobs(net, state, guess_map(net, state).pairs)
    if "Scale" in remedy:
        plain = state | {"bn.bias": 0 * ones}
        assert "bn" in mapped_blobs(net, plain, guess_map(net, plain).pairs)
