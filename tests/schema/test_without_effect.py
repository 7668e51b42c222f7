"""No setting is ignored in silence: each field is read, harmless for a reason, or warned about where it is set."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from caffecompat.layers import Layer, layer_class, layer_types
from caffecompat.schema import parse_text, pb, pool, read_net
from caffecompat.schema.block_readers import BLOCK_READERS, KNOWN_TYPES
from caffecompat.schema.without_effect import HARMLESS, OF_MISSING_TYPES, WITHOUT_EFFECT

PACKAGE = Path(__file__).resolve().parents[2] / "caffecompat"

# Fields whose names the code puts together from parts.
MADE_UP = {
    f"SampleConstraint.{side}_{measure}"
    for side in ("min", "max")
    for measure in ("jaccard_overlap", "sample_coverage", "object_coverage")
}
# The lists, and the module that looks only whether fields are there.
UNREAD = ("without_effect.py", "block_readers.py", "detect.py")
# Fields in the lists whose names code uses for something else, or only to pass them on.
NAMESAKES = {
    "SolverParameter.quantization_param",
    "SolverParameter.quantize_weights",
    "SolverParameter.quantize_activations",
}


@cache
def words_of_the_code() -> frozenset[str]:
    """Attributes and words of strings in the package, docstrings and these lists left out."""
    words: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name in UNREAD:
            continue
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                words.update(re.findall(r"\w+", node.value))
    return frozenset(words)


def settings(message: Any, seen: set[str]) -> Iterator[tuple[str, Any]]:
    """Every field that a net or solver can hold, but those inside listed blocks."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        name = f"{message.full_name.removeprefix('caffe.')}.{field.name}"
        yield name, field
        listed = WITHOUT_EFFECT.get(name)
        inside = name in HARMLESS or name in OF_MISSING_TYPES or (listed is not None and listed.obeyed is None)
        if field.message_type is not None and not inside:
            yield from settings(field.message_type, seen)


def all_settings() -> dict[str, Any]:
    seen: set[str] = set()
    roots = ("NetParameter", "SolverParameter")
    return dict(item for root in roots for item in settings(pool.SCHEMA.message_types_by_name[root], seen))


def test_every_field_is_read_or_listed() -> None:
    silent = [
        name
        for name, field in all_settings().items()
        if field.name not in words_of_the_code()
        and name not in {*HARMLESS, *OF_MISSING_TYPES, *WITHOUT_EFFECT, *MADE_UP}
    ]
    assert silent == []


def test_the_lists_name_fields_that_exist_once() -> None:
    listed = [*HARMLESS, *OF_MISSING_TYPES, *WITHOUT_EFFECT]
    assert len(listed) == len(set(listed))
    for name in listed:
        message, field = name.rsplit(".", 1)
        assert field in pool.message_class(message).DESCRIPTOR.fields_by_name, name
    assert all(HARMLESS.values())


def test_blocks_of_missing_types_belong_to_types_that_no_net_can_have() -> None:
    assert [name for name, kind in OF_MISSING_TYPES.items() if layer_class(kind) is not None] == []


def value_of(field: Any) -> str:
    """Text of the field with another value than its default."""
    if field.message_type is not None:
        return f"{field.name} {{ }}"
    if field.enum_type is not None:
        numbers = [value.name for value in field.enum_type.values if value.number != field.default_value]
        return f"{field.name}: {numbers[0]}"
    if field.cpp_type == field.CPPTYPE_STRING:
        return f'{field.name}: "x"'
    if field.cpp_type == field.CPPTYPE_BOOL:
        return f"{field.name}: {str(not field.default_value).lower()}"
    return f"{field.name}: 7"


def block_of(message: str) -> str:
    """The name of a layer's field that holds a message."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", message.removesuffix("Parameter")).lower()
    return {"transformation_param": "transform_param"}.get(words + "_param", words + "_param")


# How to write a field of a message in a net; a solver's own fields are written as they are.
BLOCKS = {
    "NetParameter": "%s",
    "SolverParameter": "%s",
    "LayerParameter": "layer { type: 'Silence' %s }",
    "V1LayerParameter": "layers { type: SILENCE %s }",
    "V0LayerParameter": "layers { layer { %s } }",
    "ParamSpec": "layer { param { %s } }",
    "TransformationParameter": "layer { type: 'WindowData' transform_param { %s } }",
    "SegAccuracyParameter": "layer { seg_accuracy_param { %s } }",
    "NetQuantizationParameter": "net_quantization_param { %s }",
    "QuantizationParameter": "layer { quantization_param { %s } }",
    "QuantizationParameter.QParams": "layer { quantization_param { qparam_w { %s } } }",
    "LossParameter": "layer { type: 'HingeLoss' loss_param { %s } }",
    "MultiBoxLossParameter": "layer { multibox_loss_param { %s } }",
    "ResizeParameter": "layer { type: 'ImageData' transform_param { resize_param { %s } } }",
    "NoiseParameter": "layer { type: 'ImageData' transform_param { noise_param { %s } } }",
}
# A layer type that has the block, but not that field of it.
NOT_OF = {
    **{f"ConvolutionParameter.{field}": "Convolution" for field in (
        "kernel_depth", "temporal_stride", "temporal_pad", "filter_group")},
    **{f"ConvolutionParameter.{field}": "Im2col" for field in (
        "num_output", "bias_term", "group", "weight_filler", "bias_filler")},
    **{f"PoolingParameter.{field}": "Pooling" for field in ("kernel_depth", "temporal_stride")},
    **{f"PoolingParameter.{field}": "Pooling3D" for field in (
        "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w", "global_pooling", "round_mode", "ceil_mode",
        "avg_include_pad")},
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_setting_it_brings_one_warning_with_its_place_and_forks(name: str, log: list[str]) -> None:
    message, field_name = name.rsplit(".", 1)
    field = pool.message_class(message).DESCRIPTOR.fields_by_name[field_name]
    block = block_of(message)
    kind = f"type: '{NOT_OF[name]}' " if name in NOT_OF else ""
    pattern = BLOCKS.get(message, f"layer {{ {kind}{block} {{ %s }} }}")
    text = pattern % value_of(field)
    parse_text(text, pb.SolverParameter() if message == "SolverParameter" else pb.NetParameter(), name="net")
    [line] = log
    assert f"net:1:{text.index(field_name) + 1}: " in line
    assert f"{field_name} " in line
    assert "has no effect here" in line


def test_the_forks_are_named_once_for_all_occurrences(log: list[str]) -> None:
    parse_text("layer { param { compression: PRUNE } }\n" * 50, pb.NetParameter(), name="net")
    [line] = log
    assert "net:1:17: param.compression (Xilinx Caffe) has no effect here" in line
    assert line.endswith("(50 times, first here)")


# Where users meet them: in a net's text, in a phase, in V1's layers, in a solver's own text and in the nets inside it.
PLACES = (
    "%s",
    "layer { name: 'a' type: 'ReLU' } %s",
)
LAYER_PLACES = (
    "layer { name: 'a' type: 'Scale' %s }",
    "layer { name: 'a' type: 'Scale' include { phase: TRAIN } %s }",
    "layer { %s name: 'a' type: 'Scale' exclude { phase: TEST } }",
    "layers { name: 'a' type: SILENCE %s }",
)


@pytest.mark.parametrize("inside", ["", "net_param", "train_net_param", "test_net_param"])
@pytest.mark.parametrize(
    ("setting", "of", "fork"),
    [
        ("net_quantization_param { power2_range: true }", "NetParameter", "caffe-jacinto 0.16"),
        ("quantization_param { qparam_out { scale: 4 } }", "LayerParameter", "caffe-jacinto 0.16"),
        ("quantization_param { bw_layer_in: 4 }", "LayerParameter", "caffe-jacinto 0.15"),
        ("loss_param { assign_label_weights: true }", "LayerParameter", "caffe-jacinto 0.15"),
        ("loss_param { bootstrap_samples_fraction: 0.2 }", "LayerParameter", "caffe-jacinto 0.15"),
        ("loss_param { bootstrap_prob_threshold: 0.2 }", "LayerParameter", "caffe-jacinto 0.15"),
        ("image_label_data_param { image_dir2: 'x' }", "LayerParameter", "caffe-jacinto"),
        ("transform_param { distort_param { brightness_prob: 0.5 } }", "LayerParameter", "SSD Caffe"),
        ("transform_param { expand_param { prob: 0.5 } }", "LayerParameter", "SSD Caffe"),
        ("transform_param { scale_factors: 0.5 }", "LayerParameter", "PSPNet"),
        ("param { compression: PRUNE }", "LayerParameter", "Xilinx Caffe"),
    ],
)
def test_wherever_it_is_written(setting: str, of: str, fork: str, inside: str, log: list[str]) -> None:
    for place in PLACES if of == "NetParameter" else LAYER_PLACES:
        if "layers {" in place and setting.startswith("param "):
            continue  # a name in V1
        log.clear()
        text = place % setting
        text, message = (f"{inside} {{ {text} }}", pb.SolverParameter()) if inside else (text, pb.NetParameter())
        parse_text(text, message, name="file")
        found = [line for line in log if "has no effect here" in line and fork in line]
        assert found, (text, log)
        columns = [int(column) for line in found for column in re.findall(r"file:1:([0-9]+): ", line)]
        begin = text.index(setting) + 1
        assert any(begin <= column < begin + len(setting) for column in columns), found


@pytest.mark.parametrize(
    ("setting", "fork"),
    [
        ("sparsity_itr_increment_bfr_applying: false", "caffe-jacinto"),
        ("snapshot_log: true", "caffe-jacinto"),
        ("quantize_weights: false", "caffe-jacinto 0.15"),
    ],
)
def test_a_solvers_own(setting: str, fork: str, log: list[str]) -> None:
    parse_text(f"base_lr: 1\n  {setting}", pb.SolverParameter(), name="solver")
    [line] = log
    assert f"solver:2:3: {setting.partition(':')[0]} ({fork}" in line and "has no effect here" in line


def scalar_settings() -> list[str]:
    """Those whose value can be equal to the default."""
    found = []
    for name in WITHOUT_EFFECT:
        message, _, field = name.rpartition(".")
        descriptor = pool.message_class(message).DESCRIPTOR.fields_by_name[field]
        if descriptor.message_type is None and not pool.is_repeated(descriptor):
            found.append(name)
    return found


@pytest.mark.parametrize("name", scalar_settings())
def test_a_default_that_is_written_out_is_quiet(name: str, log: list[str]) -> None:
    message, _, field_name = name.rpartition(".")
    field = pool.message_class(message).DESCRIPTOR.fields_by_name[field_name]
    initial = field.default_value
    if field.enum_type is not None:
        text = field.enum_type.values_by_number[initial].name
    elif field.cpp_type == field.CPPTYPE_STRING:
        text = f'"{initial}"'
    else:
        text = str(initial).lower() if field.cpp_type == field.CPPTYPE_BOOL else repr(initial)
    parse_text(f"{field_name}: {text}", pool.message_class(message)(), name="part")
    assert log == []


@pytest.mark.parametrize(
    "text",
    [
        "quantize: false",
        "layer { param { compression: DEFAULT } }",
        'layer { type: "AnnotatedData" transform_param { distort_param { } expand_param { } emit_constraint { } } }',
        'layer { type: "Data" transform_param { expand_param { } scale_min: 1 scale_max: 2 interp_mode: AREA } }',
        'layer { type: "ImageData" image_data_param { new_height: 3 } transform_param { interp_mode: CUBIC } }',
        'layer { transform_param { random_resized_crop_param { } std_value: 2 } type: "ImageLabelData" }',
        'layer { type: "Input" transform_param { std_value: 58 mean_value: 104 } }',
        'layer { type: "DenseImageData" transform_param { ignore_label: 11 } }',
        'layer { transform_param { distort_param { } } type: "AnnotatedData" }',  # the type is read afterwards
        *(
            f'layer {{ type: "{type_}" transform_param {{ distort_param {{ }} random_erase_param {{ }} }} }}'
            for type_ in ("Data", "ImageData", "ImageSegData", "DenseImageData", "ImageLabelData", "VideoData")
        ),
        'layer { transform_param { scale_factors: 1 } type: "ImageSegData" top: "a" top: "b" }',
        'layer { type: "Correlation1D" correlation_param { single_direction: -1 } }',
        'layer { type: "DataAugmentation" augmentation_param { mean: 1 mean_per_pixel: false } }',
        'layer { augmentation_param { rotate { spread: 0.4 rand_type: "gaussian" } max_multiplier: 1 } }',
        "layers { type: DATA data_param { scale: 2 mirror: true crop_size: 3 mean_file: 'm' } }",
        "layer { convolution_param { engine: CUDNN force_nd_im2col: true } }",
        'layer { type: "Convolution" convolution_param { } }',
        *(
            f'layer {{ type: "{type_}" loss_param {{ ignore_label: 255 normalization: FULL }} }}'
            for type_ in ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "InfogainLoss", "FocalLoss", "SigmoidFocalLoss")
        ),
        "layers { type: SOFTMAX_LOSS loss_param { ignore_label: 255 normalization: FULL } }",
        'layer { type: "MultiBoxLoss" loss_param { normalization: FULL } }',
        'layer { type: "Convolution3D" convolution_param { num_output: 2 kernel_depth: 3 temporal_stride: 2 } }',
        'layer { type: "Pooling3D" pooling_param { kernel_size: 2 kernel_depth: 3 temporal_stride: 2 } }',
        'layer { type: "ATypeOfTheUsersOwn" pooling_param { } }',
        "layers { type: POOLING pooling_param { } }",
        'layer { type: "WindowData" window_data_param { mirror: true crop_size: 3 scale: 2 mean_file: "m" } }',
    ],
)
def test_defaults_and_layers_that_obey_are_quiet(text: str, log: list[str]) -> None:
    parse_text(text, pb.NetParameter())
    assert log == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('type: "WindowData" transform_param { distort_param { } }', "only layers that read whole pictures use it"),
        ('type: "HDF5Data" transform_param { rand_augment_param { } }', "only layers that read whole pictures use it"),
        ('type: "DummyData" transform_param { random_erase_param { } }', "only layers that read whole pictures use it"),
        ('type: "WindowData" transform_param { expand_param { } }', "only layers that read whole pictures use it"),
        ('type: "Data" transform_param { emit_constraint { } }', "only AnnotatedData uses it"),
        ('type: "ReLU" transform_param { short_side: 3 }', "only layers that read whole pictures use it"),
        ('type: "ImageData" transform_param { interp_mode: CUBIC }', "nothing in transform_param or the layer resizes"),
        ('type: "ImageData" transform_param { ignore_label: 3 }', "the layer has no label pictures"),
        ('type: "Data" data_param { mirror: true }', "transform_param has it"),
        ('type: "ReLU" pooling_param { }', "only layers of type Pooling, Pooling3D read it"),
        ('pooling_param { } type: "ReLU"', "only layers of type Pooling, Pooling3D read it"),
        ('type: "Accuracy" loss_param { ignore_label: 255 }', "only layers of type SoftmaxWithLoss,"),
        (
            'type: "EuclideanLoss" loss_param { label_smoothing: 0.1 }',
            "only layers of type SoftmaxWithLoss, SoftmaxWithLossOHEM, FocalLoss and 1 more read it",
        ),
        ('type: "InfogainLoss" loss_param { label_weights: 2 }', "only layers of type SoftmaxWithLoss,"),
        ('type: "MultiBoxLoss" loss_param { class_weighting: 2 }', "only layers of type SoftmaxWithLoss,"),
        (
            'type: "EuclideanLoss" loss_param { normalization: NONE }',
            "loss_param.normalization has no effect here: only",
        ),
        ('type: "HingeLoss" loss_param { ignore_label: 255 }', "loss_param.ignore_label has no effect here: only"),
        ('type: "CtcLoss" loss_param { normalization: FULL }', "loss_param.normalization has no effect here:"),
        ('type: "MultiBoxLoss" loss_param { ignore_label: 255 }', "loss_param.ignore_label has no effect here: only"),
        ('type: "Convolution" convolution_param { kernel_depth: 3 }', "only layers of type Convolution3D"),
        ('type: "Pooling" pooling_param { temporal_stride: 2 }', "only layers of type Pooling3D read it"),
        ('type: "Pooling3D" pooling_param { global_pooling: true }', "Pooling3D does not have it"),
        ('type: "Im2col" convolution_param { num_output: 3 }', "Im2col has no weights"),
        ('type: "Correlation" correlation_param { single_direction: -1 }', "only Correlation1D uses it"),
        (
            'type: "DataAugmentation" augmentation_param { mean: 1 }',
            "it takes mean_per_pixel: false and no recompute_mean",
        ),
    ],
)
def test_what_only_another_layer_obeys_is_reported(text: str, said: str, log: list[str]) -> None:
    parse_text(f"layer {{ {text} }}", pb.NetParameter())
    assert said in log[0]


@pytest.mark.parametrize("kind", layer_types())
def test_the_blocks_of_a_layer_type_are_those_that_its_class_reads(kind: str) -> None:
    cls = layer_class(kind)
    assert cls is not None
    code = "".join(inspect.getsource(base) for base in cls.__mro__ if base not in Layer.__mro__)
    inside = {"MultiBoxLoss": {"prior_box_param"}, "DetectionOutput": {"prior_box_param"}}  # of the layer that fits
    read = {block for block in BLOCK_READERS if re.search(rf"\b{block}\b", code)} - inside.get(kind, set())
    assert read == {block for block, types in BLOCK_READERS.items() if kind in types}
    assert kind in KNOWN_TYPES


def test_a_layer_that_is_read_alone_is_judged_too(log: list[str]) -> None:
    parse_text('pooling_param { } type: "Pooling"', pb.LayerParameter())
    assert log == []
    parse_text('pooling_param { } type: "ReLU"', pb.LayerParameter(), name="layer")
    assert "layer:1:1: pooling_param has no effect here" in log[0]


def test_no_code_reads_what_is_said_to_have_no_effect() -> None:
    """Neither as ``transform_param.field``, nor, for a net's and a solver's own fields, by their name at all."""
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name not in UNREAD)
    read = []
    for name, effect in WITHOUT_EFFECT.items():
        message, field = name.rsplit(".", 1)
        if message in ("NetParameter", "SolverParameter"):
            found = field in words_of_the_code() and name not in NAMESAKES
        else:
            found = effect.obeyed is None and re.search(rf"{block_of(message)}\.{field}\b", code) is not None
        read += [name] * found
    assert read == []


def test_a_file_that_is_read_twice_warns_once(tmp_path: Path, log: list[str]) -> None:
    path = tmp_path / "net.prototxt"
    text = "net_quantization_param { power2_range: true }"
    for content, warnings in ((text, 1), (text, 1), (f"{text} # changed", 2)):
        path.write_text(content)
        read_net(path)
        assert sum("has no effect here" in line for line in log) == warnings
