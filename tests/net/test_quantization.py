"""`quantize: true` as caffe-jacinto means it, against the arithmetic by hand."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat import export_torch, load_caffemodel, pycaffe, read_net
from caffecompat.layers.functional.dynamic_fixed_point import to_steps
from caffecompat.net import Net, NetError
from caffecompat.schema import parse_text, pb

SETTINGS = "quantize: true net_quantization_param { %s }"
LAYERS = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3
            weight_filler { type: "msra" } bias_filler { type: "uniform" } } }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } bias_filler { type: "uniform" } } }
"""


def make_net(settings: str = "", *, layers: str = LAYERS, phase: str = "TEST") -> Net:
    torch.manual_seed(1)
    return Net(parse_text(SETTINGS % settings + layers, pb.NetParameter()), phase, log=False)


def batch(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_steps_by_hand() -> None:
    values = torch.tensor([0.3, -0.3, 0.375, -0.375, 100.0, -100.0])
    assert to_steps(values, 4.0, bits=4).tolist() == [0.25, -0.25, 0.5, -0.5, 1.75, -2.0]
    assert to_steps(values, 4.0, bits=4, clip=False).tolist() == [0.25, -0.25, 0.5, -0.5, 100.0, -100.0]
    assert to_steps(values, 4.0, 2.5, 4, unsigned=True).tolist() == [0.375, -0.375, 0.375, -0.375, 3.125, -0.625]


def test_rounding_by_chance_is_right_on_average() -> None:
    torch.manual_seed(0)
    fixed = to_steps(torch.full((20000,), 0.3), 1.0, stochastic=True)
    assert set(fixed.tolist()) == {0.0, 1.0}
    assert fixed.mean().item() == pytest.approx(0.3, abs=0.02)


def test_outputs_are_quantized_from_the_start_and_weights_act_one_pass_later() -> None:
    net, plain = make_net("quantization_start: 2"), make_net()
    plain.quantization = None
    with torch.no_grad():
        floats = [net(batch(0))["fc"], net(batch(1))["fc"]]
        assert torch.equal(floats[1], plain.graph_module(batch(1))["fc"])
        before = net.conv.weight.clone()
        third = net(batch(2))["fc"]
    assert len(third.unique()) < third.numel() or not torch.equal(third, plain.graph_module(batch(2))["fc"])
    weight = net.conv.weight
    assert not torch.equal(weight, before)
    steps = (weight - before.min()) * (4095 / (before.max() - before.min()))
    assert (steps - steps.round()).abs().max() < 2e-3
    kept = weight.clone()
    net(batch(3))
    assert torch.equal(net.conv.weight, kept)  # never again


def test_an_unsigned_activation_has_all_bits() -> None:
    net = make_net("range_update_factor: 1 range_expansion_factor: 1 bitwidth_activations: 6 quantize_weights: false")
    tops: list[torch.Tensor] = []
    with torch.no_grad():
        net(batch(0))
        net.relu.register_forward_hook(lambda module, bottoms, top: tops.append(top))
        net(batch(0))
    largest = tops[0].max()
    steps = tops[0] / largest * 63
    assert steps.min() >= 0
    assert (steps - steps.round()).abs().max() < 1e-4


@pytest.mark.parametrize("offset", ["true", "false"])
def test_the_error_falls_with_the_bits(offset: str) -> None:
    errors = []
    for bits in (8, 9, 10, 11, 12):
        net = make_net(f"bitwidth_weights: {bits} quantize_activations: false apply_offset_weights: {offset}")
        wanted = make_net()
        with torch.no_grad():
            wanted.quantization = None
            expected = wanted.graph_module(batch(9))["fc"]
            for count in range(2):
                net(batch(count))
            errors.append(float((net(batch(9))["fc"] - expected).square().mean().sqrt()))
    assert all(before > after for before, after in itertools.pairwise(errors)), errors
    assert errors[0] > 8 * errors[-1]


def test_gradients_pass_the_rounding() -> None:
    net, plain = make_net("quantize_weights: false", phase="TRAIN"), make_net(phase="TRAIN")
    plain.quantization = None
    for count in range(2):
        net(batch(count))
    net(batch(5))["fc"].sum().backward()
    plain.graph_module(batch(5))["fc"].sum().backward()
    ours, theirs = net.conv.weight.grad, plain.conv.weight.grad
    assert ours is not None
    assert torch.nn.functional.cosine_similarity(ours.ravel(), theirs.ravel(), dim=0) > 0.99


def test_pycaffe_and_the_module_compute_the_same(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(SETTINGS % "" + LAYERS)
    face = pycaffe.Net(str(tmp_path / "net.prototxt"), pycaffe.TEST)
    net = Net(str(tmp_path / "net.prototxt"), "TEST", log=False)
    for layer in ("conv", "fc"):
        for index, blob in enumerate(face.params[layer]):
            list(getattr(net, layer).parameters())[index].data.copy_(torch.from_numpy(blob.data))
    for count in range(4):
        face.blobs["data"].data[...] = batch(count).numpy()
        with torch.no_grad():
            expected = net(batch(count))["fc"]
        np.testing.assert_array_equal(face.forward()["fc"], expected.numpy())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_goes_on_by_itself(duplicate: object) -> None:
    net = make_net()
    with torch.no_grad():
        net(batch(0))
        twin = duplicate(net)  # type: ignore[operator]
        assert torch.equal(twin(batch(1))["fc"], net(batch(1))["fc"])
        assert (twin.quantization.passes, net.quantization.passes) == (2, 2)
        net(batch(2))
        assert twin.quantization.passes == 2


def test_a_net_without_it_has_no_hooks() -> None:
    net = Net(parse_text(LAYERS, pb.NetParameter()), "TEST", log=False)
    assert net.quantization is None
    assert not any(module._forward_hooks for module in net.modules())


def test_a_saved_net_says_how_it_is_quantized(tmp_path: Path) -> None:
    net = make_net('ignored_layer_names: "fc"', layers='name: "small"' + LAYERS)
    with torch.no_grad():
        for count in range(3):
            net(batch(count))
    net.save(tmp_path / "net.caffemodel")
    saved = pb.NetParameter()
    saved.ParseFromString((tmp_path / "net.caffemodel").read_bytes())
    assert saved.name == "small___QUANTIZED__SEE_END_OFTHE_FILE"
    assert saved.quantize
    assert list(saved.net_quantization_param.ignored_layer_names) == ["fc"]
    conv = next(layer for layer in saved.layer if layer.name == "conv").quantization_param
    assert (conv.qparam_w[0].quantize, conv.qparam_w[0].bitwidth, conv.qparam_w[1].bitwidth) == (True, 12, 16)
    assert conv.qparam_w[0].max == pytest.approx(net.conv.weight.max().item(), rel=1e-3)
    fc = next(layer for layer in saved.layer if layer.name == "fc").quantization_param
    assert not fc.qparam_w[0].quantize
    fresh = make_net()
    fresh.load_weights(tmp_path / "net.caffemodel")
    assert torch.equal(fresh.conv.weight, net.conv.weight)
    assert set(load_caffemodel(tmp_path / "net.caffemodel")) == {"conv", "fc"}


def test_what_a_caller_gives_stays_as_it_is() -> None:
    own = "qparam_in { quantize: true bitwidth: 4 scale_target: 2 }"
    layers = LAYERS.replace('top: "conv"\n', f'top: "conv" quantization_param {{ {own} }}\n', 1)
    net = Net(parse_text(layers, pb.NetParameter()), "TEST", log=False)
    given = batch(0)
    kept = given.clone()
    net(given)
    assert torch.equal(given, kept)


def test_the_log_says_from_which_iteration(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(SETTINGS % "quantization_start: 3 bitwidth_weights: 9" + LAYERS)
    net = pycaffe.Net(str(tmp_path / "net.prototxt"), pycaffe.TEST)
    assert "fixed point from iteration 3 on" in (said := capfd.readouterr().err)
    assert "9 bit weights, 8 bit activations, 16 bit bias" in said
    for _ in range(3):
        net.forward()
    assert "Enabling quantization" not in capfd.readouterr().err
    net.forward()
    assert "Enabling quantization flag in quantization_param at infer/iter index: 3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ("net_quantization_param { bitwidth_weights: 0 }", "bitwidth_weights must be from 1 to 31, it is 0"),
        ("net_quantization_param { precision: MINIFLOAT }", "precision must be DYNAMIC_FIXED_POINT or FLOAT"),
        ("net_quantization_param { range_update_factor: 0 }", "range_update_factor must be above 0, it is 0"),
    ],
)
def test_wrong_settings_are_refused_with_their_place(settings: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(f"quantize: true\n{settings}\n{LAYERS}")
    read_net(path)
    with pytest.raises(NetError) as caught:
        Net(str(path), "TEST", log=False)
    assert f"{path}:2:1: net_quantization_param: {wrong}" in str(caught.value)


def test_exports_compute_in_floating_point_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(SETTINGS % "quantization_start: 1" + LAYERS)
    Net(str(path), "TEST", log=False).save(tmp_path / "net.caffemodel")
    done = export_torch(path, tmp_path / "net.caffemodel", tmp_path / "net.py")
    assert any("computes in floating point" in note for note in done.notes)
    assert max(difference.relative for difference in done.differences) < 1e-5


@pytest.mark.parametrize("face", [True, False])
def test_a_data_layer_quantizes_its_first_top(face: bool, tmp_path: Path) -> None:
    """Labels are the second; the range of the first pass is 1.25 times the data's."""
    path = tmp_path / "net.prototxt"
    path.write_text("""
        quantize: true
        layer { name: "data" type: "MemoryData" top: "data" top: "label"
            memory_data_param { batch_size: 2 channels: 1 height: 4 width: 4 } }
        layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
        layer { name: "half" type: "Power" bottom: "label" top: "half" power_param { scale: 0.5 } }
    """)
    net = pycaffe.Net(str(path), pycaffe.TEST)
    data = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    labels = np.array([3, 7], np.float32)
    net.set_input_arrays(data, labels)

    def tops() -> list[np.ndarray]:
        made = net.forward() if face else {name: top.numpy() for name, top in net._core().items()}
        return [np.array(made["twice"]) / 2, np.array(made["half"]) * 2]

    np.testing.assert_array_equal(tops()[0], data)
    fixed, read = tops()
    np.testing.assert_array_equal(read, labels)
    steps = data * (127 / (1.25 * np.abs(data).max()))
    np.testing.assert_allclose(fixed / (1.25 * np.abs(data).max()) * 127, np.round(steps), atol=1e-3)
