"""Settings that are NaN or infinite."""

from __future__ import annotations

import pytest

from caffecompat.schema import parse_text, pb
from caffecompat.schema.odd_numbers import odd_numbers


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("lrn_param { alpha: nan beta: 0.75 }", ["lrn_param.alpha"]),
        ("loss_weight: 1 loss_weight: nan", ["loss_weight"]),
        ("param { lr_mult: 1 } param { decay_mult: nan }", ["param.decay_mult"]),
        ("transform_param { distort_param { hue_delta: nan } mean_value: [1, nan] }",
         ["transform_param.mean_value", "transform_param.distort_param.hue_delta"]),
        ("convolution_param { weight_filler { value: nan } }", []),  # what a blob holds may be anything
        ("power_param { power: 2 } eltwise_param { coeff: 1e30 }", []),
    ],
)  # fmt: skip
def test_those_of_a_layer(text: str, paths: list[str]) -> None:
    layer = parse_text(text, pb.LayerParameter())
    assert [path for path, _ in odd_numbers(layer)] == paths


def test_infinity_counts_if_asked_for() -> None:
    layer = parse_text("relu_param { negative_slope: -inf }", pb.LayerParameter())
    assert list(odd_numbers(layer, infinite=False)) == []
    assert [text for _, text in odd_numbers(layer)] == ["relu_param.negative_slope must be a number, it is -inf"]
