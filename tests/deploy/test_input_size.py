"""Sizes that a net can work on, named where it cannot work on the one asked for."""

from __future__ import annotations

import pytest

from caffecompat.deploy.input_size import fitting_sizes
from caffecompat.schema import NetDocument, parse_text, pb

HALVES = """
layer { name: "%(a)s" type: "Convolution" bottom: "%(x)s" top: "%(a)s"
  convolution_param { num_output: 2 kernel_size: 3 pad: 1 stride: 2 } }
"""
UP = """
layer { name: "up%(n)d" type: "Deconvolution" bottom: "%(x)s" top: "up%(n)d"
  convolution_param { num_output: 2 kernel_size: 2 stride: 2 } }
layer { name: "join%(n)d" type: "%(join)s" bottom: "up%(n)d" bottom: "%(y)s" top: "join%(n)d" }
"""


def _unet(depth: int, join: str) -> NetDocument:
    text = 'layer { name: "in" type: "Input" top: "d0" input_param { shape { dim: 1 dim: 2 dim: 64 dim: 64 } } }'
    for level in range(depth):
        text += HALVES % {"x": f"d{level}", "a": f"d{level + 1}"}
    below = f"d{depth}"
    for level in reversed(range(depth)):
        text += UP % {"n": level, "x": below, "y": f"d{level}", "join": join}
        below = f"join{level}"
    return NetDocument.from_message(parse_text(text, pb.NetParameter()))


@pytest.mark.parametrize(("depth", "multiple"), [(1, 2), (3, 8), (5, 32)])
@pytest.mark.parametrize("join", ["Concat", "Eltwise"])
def test_nets_that_join_halves(depth: int, multiple: int, join: str) -> None:
    text = fitting_sizes(_unet(depth, join), (multiple * 7 + 1, multiple * 9))
    assert text == f"heights and widths that are multiples of {multiple} fit, as in {multiple * 9}x{multiple * 7}"


def test_a_size_that_fits_needs_no_word() -> None:
    assert fitting_sizes(_unet(3, "Concat"), (64, 128)) == ""


def test_a_net_that_wants_larger_pictures() -> None:
    text = """
        layer { name: "in" type: "Input" top: "d" input_param { shape { dim: 1 dim: 1 dim: 64 dim: 64 } } }
        layer { name: "c" type: "Convolution" bottom: "d" top: "c" convolution_param { num_output: 2 kernel_size: 41 } }
    """
    assert fitting_sizes(NetDocument.from_message(parse_text(text, pb.NetParameter())), (12, 20)) == (
        "larger pictures fit, as in 80x48"
    )


def test_a_net_that_no_size_helps() -> None:
    text = """
        layer { name: "in" type: "Input" top: "d" input_param { shape { dim: 1 dim: 1 dim: 64 dim: 64 } } }
        layer { name: "c" type: "Convolution" bottom: "d" top: "c" convolution_param { num_output: 2 kernel_size: 0 } }
    """
    assert fitting_sizes(NetDocument.from_message(parse_text(text, pb.NetParameter())), (12, 20)) == ""
