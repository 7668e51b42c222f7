"""Which fork defines what."""

from __future__ import annotations

import pytest

from caffecompat.schema import dialects


def test_notes_come_from_the_comments() -> None:
    assert dialects.field_note("LayerParameter", "interp_param").forks == ("P", "D")
    assert dialects.field_note("SolverParameter", "rampup_lr") == (("J", "J16"), "rate the ramp starts from")
    assert dialects.field_note("ConvolutionParameter", "num_output").forks == ("B",)
    assert dialects.message_note("UpsampleParameter").forks == ("E", "G")


def test_a_field_without_letters_belongs_to_its_message() -> None:
    assert dialects.field_note("UpsampleParameter", "scale").forks == ("E", "G")
    assert dialects.field_note("QuantizationParameter.QParams", "bitwidth").forks == ("J", "J16")
    assert dialects.field_note("QuantizationParameter.QParams", "scale").forks == ("J16",)


def test_unknown_fields_are_key_errors() -> None:
    with pytest.raises(KeyError):
        dialects.field_note("PoolingParameter", "ceil_mode")


def test_every_note_names_known_forks() -> None:
    assert {letter for note in dialects._notes().values() for letter in note.forks} == set(dialects.FORKS)


@pytest.mark.parametrize(
    ("letter", "count"),
    [("B", 61), ("S", 68), ("J", 72), ("J16", 68), ("J15", 62), ("X", 100), ("E", 62), ("G", 49), ("P", 66), ("D", 65)],
)
def test_every_fork_registers_as_many_types_as_its_factory(letter: str, count: int) -> None:
    assert sum(letter in forks for forks in dialects.layer_types().values()) == count


@pytest.mark.parametrize(
    ("layer_type", "forks"),
    [
        ("Convolution", tuple(dialects.FORKS)),
        ("Swish", ("B",)),
        ("BN", ("E", "G", "P")),
        ("ImageSegData", ("X", "P", "D")),
        ("SegmentPixelIOU", ("X",)),
        ("SpatialDropout", ()),
    ],
)
def test_layer_types_know_their_forks(layer_type: str, forks: tuple[str, ...]) -> None:
    assert dialects.layer_forks(layer_type) == forks


@pytest.mark.parametrize(
    ("letters", "text"),
    [
        ("X", "Xilinx Caffe"),
        ("PD", "PSPNet Caffe and DeepLab Caffe"),
        ("XPD", "Xilinx Caffe, PSPNet Caffe and DeepLab Caffe"),
    ],
)
def test_letters_are_spelt_for_people(letters: str, text: str) -> None:
    assert dialects.spell(letters) == text
