"""Layer types of old nets: BVLC's numbers, and the names that forks added to V1 layers."""

from __future__ import annotations

import pytest

from caffecompat.schema import NetDocument, PrototxtError, parse_text, pb
from caffecompat.schema.legacy_types import FORK_V1_TYPES, V1_TYPES

pytestmark = pytest.mark.usefixtures("log")


def upgraded(text: str):
    return NetDocument.from_message(parse_text(text, pb.NetParameter())).message


def test_every_value_of_the_enum_has_its_type() -> None:
    values = dict(pb.V1LayerParameter.LayerType.items())
    assert set(values.values()) == set(V1_TYPES)
    assert {name: V1_TYPES[values[name]] for name in FORK_V1_TYPES} == FORK_V1_TYPES


@pytest.mark.parametrize("name", FORK_V1_TYPES)
def test_forks_types_are_read(name: str) -> None:
    net = upgraded(f'layers {{ name: "l" type: {name} bottom: "x" top: "y" blobs_lr: 2 }}')
    # Convolution3D becomes a Convolution over three axes when it is read.
    kind = FORK_V1_TYPES[name].replace("volution3D", "volution")
    assert net.layer[0].type == kind and net.layer[0].param[0].lr_mult == 2


def test_names_are_todays_but_for_capitals_and_underscores() -> None:
    others = {"AUTO_CROP", "CROP"}
    assert all(
        name.replace("_", "").lower() == kind.lower() for name, kind in FORK_V1_TYPES.items() if name not in others
    )


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Interp", "interp_param { zoom_factor: 8 pad_beg: -1 }"),
        ("SegAccuracy", "seg_accuracy_param { ignore_label: 255 }"),
        ("MatWrite", 'mat_write_param { prefix: "out" }'),
        ("BN", "bn_param { bn_mode: INFERENCE }"),
        ("Upsample", "upsample_param { scale: 2 }"),
        ("Reshape", "reshape_param { shape { dim: [0, -1] } }"),
        ("Permute", "permute_param { order: [0, 2, 3, 1] }"),
    ],
)
def test_settings_that_old_layers_lacked(kind: str, settings: str) -> None:
    name = next(name for name, found in FORK_V1_TYPES.items() if found == kind)
    old = upgraded(f'layers {{ name: "l" type: {name} {settings} }}')
    assert old.layer[0] == parse_text(f'name: "l" type: "{kind}" {settings}', pb.LayerParameter())


def test_every_setting_of_today_can_stand_in_an_old_layer() -> None:
    today = {field.name for field in pb.LayerParameter.DESCRIPTOR.fields if field.name.endswith("_param")}
    assert today <= {field.name for field in pb.V1LayerParameter.DESCRIPTOR.fields}


def test_forks_names_of_fields_are_todays_in_old_layers_too() -> None:
    old = upgraded(
        'layers { name: "c" type: CONVOLUTION strict_dim: false convolution_param { num_output: 1 hole: 2 } }'
        'layers { name: "p" type: POOLING pooling_param { kernel_size: 3 ceil_mode: false } }'
    )
    assert list(old.layer[0].convolution_param.dilation) == [2] and old.layer[1].pooling_param.round_mode == 1


def test_deeplab_v1_loss() -> None:
    net = upgraded('layers { name: "loss" type: SOFTMAX_LOSS softmaxloss_param { ignore_label: 255 } }')
    assert net.layer[0].type == "SoftmaxWithLoss" and net.layer[0].loss_param.ignore_label == 255


@pytest.mark.parametrize("fields", ["ignore_label: 255 ignore_label: 0", 'ignore_label: 255 weight_source: "w"'])
def test_what_todays_loss_cannot_say_is_refused(fields: str) -> None:
    with pytest.raises(PrototxtError, match="not implemented"):
        upgraded(f'layers {{ name: "loss" type: SOFTMAX_LOSS softmaxloss_param {{ {fields} }} }}')


def test_a_word_that_is_no_type_names_the_nearest() -> None:
    with pytest.raises(PrototxtError, match="did you mean INTERP"):
        upgraded('layers { name: "l" type: INTRP }')
