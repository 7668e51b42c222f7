"""Which fork defines what."""

from __future__ import annotations

import pytest

from caffecompat.forks import Fork
from caffecompat.schema import dialects


def test_notes_come_from_the_comments() -> None:
    assert dialects.field_note("LayerParameter", "interp_param").forks == (Fork.PSPNET, Fork.DEEPLAB)
    assert dialects.field_note("SolverParameter", "rampup_lr") == (
        (Fork.JACINTO, Fork.JACINTO16),
        "rate the ramp starts from",
    )
    assert dialects.field_note("V1LayerParameter", "interp_param").forks == (Fork.PSPNET, Fork.DEEPLAB)
    assert dialects.field_note("ConvolutionParameter", "num_output").forks == (Fork.BVLC,)
    assert dialects.message_note("UpsampleParameter").forks == (Fork.ENET, Fork.SEGNET)


def test_a_field_that_names_no_fork_belongs_to_its_message() -> None:
    assert dialects.field_note("UpsampleParameter", "scale").forks == (Fork.ENET, Fork.SEGNET)
    assert dialects.field_note("QuantizationParameter.QParams", "bitwidth").forks == (Fork.JACINTO, Fork.JACINTO16)
    assert dialects.field_note("QuantizationParameter.QParams", "scale").forks == (Fork.JACINTO16,)


def test_unknown_fields_are_key_errors() -> None:
    with pytest.raises(KeyError):
        dialects.field_note("PoolingParameter", "floor_mode")


def test_every_note_names_known_forks() -> None:
    assert {fork for note in dialects._notes().values() for fork in note.forks} <= set(Fork)


@pytest.mark.parametrize(
    ("fork", "count"),
    [
        (Fork.BVLC, 61),
        (Fork.SSD, 68),
        (Fork.JACINTO, 72),
        (Fork.JACINTO16, 68),
        (Fork.JACINTO15, 62),
        (Fork.XILINX, 100),
        (Fork.ENET, 62),
        (Fork.SEGNET, 49),
        (Fork.PSPNET, 66),
        (Fork.DEEPLAB, 65),
    ],
)
def test_every_fork_registers_as_many_types_as_its_factory(fork: Fork, count: int) -> None:
    assert sum(fork in forks for forks in dialects.layer_types().values()) == count


@pytest.mark.parametrize(
    ("layer_type", "forks"),
    [
        ("Convolution", tuple(Fork)),
        ("Swish", (Fork.BVLC,)),
        ("BN", (Fork.ENET, Fork.SEGNET, Fork.PSPNET)),
        ("ImageSegData", (Fork.XILINX, Fork.PSPNET, Fork.DEEPLAB)),
        ("SegmentPixelIOU", (Fork.XILINX,)),
        ("SpatialDropout", (Fork.INTEL,)),
        ("ContinuationIndicator", (Fork.INTEL, Fork.CRNN)),
        ("FlowWarp", (Fork.FLOWNET2,)),
        ("L1Loss", (Fork.NVCAFFE, Fork.JACINTO, Fork.JACINTO16, Fork.JACINTO15, Fork.XILINX, Fork.FLOWNET2)),
        ("Sideways", ()),
    ],
)
def test_layer_types_know_their_forks(layer_type: str, forks: tuple[Fork, ...]) -> None:
    assert dialects.layer_forks(layer_type) == forks


@pytest.mark.parametrize(
    ("forks", "text"),
    [
        ((Fork.XILINX,), "Xilinx Caffe"),
        ((Fork.PSPNET, Fork.DEEPLAB), "PSPNet Caffe and DeepLab Caffe"),
        ((Fork.XILINX, Fork.PSPNET, Fork.DEEPLAB), "Xilinx Caffe, PSPNet Caffe and DeepLab Caffe"),
    ],
)
def test_forks_are_named_for_people(forks: tuple[Fork, ...], text: str) -> None:
    assert dialects.fork_names(forks) == text
