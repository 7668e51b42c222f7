"""What is stated of layer types on their classes: it fits together, and holds for the classes' objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.compare.inputs import valid_values
from caffecompat.layers import Layer, class_of, layer_class, layer_types
from tests.net.nets import make_net

TYPES = {
    kind: cls for kind in layer_types() if (cls := layer_class(kind)) and cls.__module__.startswith("caffecompat.")
}


def having(name: str) -> set[str]:
    return {kind for kind, cls in TYPES.items() if getattr(cls, name)}


def test_an_unknown_type_has_the_defaults() -> None:
    assert class_of("NoSuchLayer") is Layer and class_of("ReLU") is layer_class("ReLU")
    assert not class_of("NoSuchLayer").measures and class_of("NoSuchLayer").deploy_head == ""


def test_what_a_deployed_net_goes_without_has_no_form_in_a_file() -> None:
    assert having("measures") == {
        "Accuracy", "DetectionEvaluate", "HDF5Output", "LabelsequenceAccuracy", "MatWrite", "SegAccuracy",
        "SegmentPixelIOU", "SegmentationAccuracy",
    }  # fmt: skip
    assert all(TYPES[kind].not_exported for kind in having("measures"))


def test_losses() -> None:
    heads = {kind: TYPES[kind].deploy_head for kind in having("deploy_head")}
    assert set(heads) <= having("is_loss") and set(heads.values()) <= set(TYPES)
    assert heads["SigmoidCrossEntropyLoss"] == "Sigmoid" and heads["SoftmaxWithLossOHEM"] == "Softmax"
    assert having("judges_all") - having("measures") == {"ContrastiveLoss", "MultiBoxLoss"}
    assert [kind for kind, cls in TYPES.items() if cls.class_axis is not None] == ["CtcLoss"]


def test_what_is_folded_into_what() -> None:
    assert having("channel_affine") == {"BN", "BatchNorm", "Bias", "Scale"}
    assert having("weighted") == {"Convolution", "Deconvolution", "InnerProduct"}  # not the quantized ones


@pytest.mark.parametrize(
    ("text", "blob", "least", "most", "whole"),
    [
        ('type: "Embed" bottom: "x" embed_param { input_dim: 5 num_output: 2 }', "x", 0, 4, True),
        ('type: "BatchReindex" bottom: "x" bottom: "i"', "i", 0, 3, True),
        ('type: "LSTM" bottom: "s" bottom: "c" recurrent_param { num_output: 2 }', "c", 0, 1, True),
        ('type: "Upsample" bottom: "p" bottom: "m" upsample_param { scale: 2 }', "m", 0, 63, True),
    ],
)
def test_sampled_bottoms_are_valid(text: str, blob: str, least: int, most: int, whole: bool) -> None:
    shapes = {"x": (4, 3), "i": (6,), "s": (3, 4, 5), "c": (3, 4), "p": (2, 3, 4, 4), "m": (2, 3, 4, 4)}
    fed = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in shape)} }} }} }}\n"
        for name, shape in shapes.items()
        if f'bottom: "{name}"' in text
    )
    net = make_net(f'{fed}layer {{ name: "y" top: "y" {text} }}')
    values = valid_values(net, blob, np.random.default_rng(0))
    assert values is not None and values.shape == shapes[blob] and values.dtype == np.float32
    assert values.min() >= least and values.max() <= most and np.array_equal(values, np.round(values)) == whole
    inputs = {name: torch.randn(shape) for name, shape in net.fed_shapes.items()} | {blob: torch.from_numpy(values)}
    assert net.forward(inputs)["y"].isfinite().all()


def test_fields_of_tops() -> None:
    net = make_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "a" type: "ArgMax" bottom: "x" top: "a" argmax_param { out_max_val: true top_k: 2 } }
        layer { name: "b" type: "ArgMax" bottom: "x" top: "b" argmax_param { axis: 1 out_max_val: true } }
        layer { name: "t" type: "Threshold" bottom: "x" top: "t" }""")
    fields = {layer.name: layer.module.fields(0) for layer in net.layers if layer.module is not None}
    assert fields["p"] == [(..., False)] and fields["t"] == [(..., True)] and fields["b"] == [(..., False)]
    assert [exact for _, exact in fields["a"]] == [True, False]
    pooling = next(layer.module for layer in net.layers if layer.name == "p")
    assert pooling is not None and pooling.fields(1) == [(..., True)]


@pytest.mark.parametrize(
    "text",
    [
        'type: "BatchNorm"',
        'type: "BatchNorm" batch_norm_param { scale_filler { value: 1 } bias_filler { value: 0 } }',
        'type: "BN" bn_param { slope_filler { type: "constant" value: 2 } bias_filler { type: "constant" value: 1 } }',
        'type: "BN" bn_param { bn_mode: INFERENCE }',
        'type: "Scale" scale_param { bias_term: true }',
        'type: "Bias"',
    ],
)
def test_an_affine_layer_computes_its_a_x_plus_b(text: str) -> None:
    torch.manual_seed(0)
    net = make_net(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
        layer {{ name: "y" bottom: "x" top: "y" {text} }}""")
    module = net.layers[1].module
    assert module is not None and module.channel_affine
    for name in module.blob_names:
        getattr(module, name).data.uniform_(0.5, 2)
    parts = {name: getattr(module, name).detach().double().numpy().reshape(-1) for name in module.blob_names}
    found = module.affine(parts, (2, 3, 4, 4))
    assert not isinstance(found, str)
    a, b = (torch.from_numpy(values).float().reshape(1, 3, 1, 1) for values in found)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(net.forward({"x": x})["y"].detach(), a * x + b)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('type: "BatchNorm" batch_norm_param { use_global_stats: false }', "normalize by the batch"),
        ('type: "BN" bn_param { bn_mode: LEARN }', "stores no statistics"),
        ('type: "Scale" scale_param { axis: 2 }', "one value a channel"),
        ('type: "ReLU"', "one value a channel"),
    ],
)
def test_why_a_layer_is_no_a_x_plus_b(text: str, why: str) -> None:
    net = make_net(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
        layer {{ name: "y" bottom: "x" top: "y" {text} }}""")
    module = net.layers[1].module
    assert module is not None
    parts = {name: getattr(module, name).detach().double().numpy().reshape(-1) for name in module.blob_names}
    assert why in str(module.affine(parts, (2, 3, 4, 4)))
