"""Names that are near, and those that are other names of the same family."""

from __future__ import annotations

import time

import pytest

from caffecompat.wording import did_you_mean, distance, few, nearest


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kernal_size", "kernel_size"),
        ("num_outputs", "num_output"),
        ("kernelsize", "kernel_size"),
        ("convolutoin_param", "convolution_param"),
        ("convolution_parm", "convolution_param"),
        ("RELU", "ReLU"),
        ("Convolutional", "Convolution"),
        ("SoftmaxLoss", "SoftmaxWithLoss"),
        ("BatchNormalization", "BatchNorm"),
        ("Conv", "Convolution"),
        ("--resize_widht", "--resize-width"),
        ("onxn", "onnx"),
        ("bild", "build"),
        ("shwo", "show"),
        ("detecton", "detection"),
        ("sumary", "summary"),
        ("ummary", "summary"),
        ("usmmary", "summary"),
    ],
)
def test_slips_and_abbreviations_are_near(name: str, meant: str) -> None:
    others = ["kernel_size", "num_output", "convolution_param", "center_loss_param", "ReLU", "PReLU", "Convolution",
              "Softmax", "SoftmaxWithLoss", "BatchNorm", "--resize-width", "--resize-height", "onnx", "deploy", "torch",
              "build", "info", "show", "verify", "detection", "segmentation", "summary", "time", "test"]  # fmt: skip
    assert nearest(name, others) == meant


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ctc_loss_param", "center_loss_param"),
        ("gelu_param", "relu_param"),
        ("gelu_param", "elu_param"),
        ("roi_warping_param", "roi_pooling_param"),
        ("mask_pooling_param", "pooling_param"),
        ("weight", "height"),
        ("softmax", "argmax"),
        ("bn", "fc"),
        ("", "data"),
        ("data", ""),
    ],
)
def test_other_names_of_the_same_family_are_not_near(name: str, other: str) -> None:
    assert nearest(name, [other]) is None
    assert did_you_mean(name, [other]) == ""


def test_the_nearest_wins() -> None:
    assert nearest("conv3_1", ["conv1", "conv3_11", "conv3-1", "conv4_1"]) == "conv3-1"
    assert did_you_mean("tset", ["test", "time"]) == "; did you mean test?"


def test_a_distance_counts_letters() -> None:
    assert [distance(a, b) for a, b in (("abc", "abc"), ("abc", "acb"), ("abc", "ab"), ("", "ab"), ("ab", "xyz"))] == [
        0, 1, 1, 2, 3
    ]  # fmt: skip
    assert distance("a" * 20, "b" * 20, 2) > 2


def test_lists_are_cut_short() -> None:
    assert few([]) == ""
    assert few(["a", "b"]) == "a, b"
    assert few([str(i) for i in range(1000)], 2) == "0, 1 and 998 more"


def test_ten_thousand_candidates_are_searched_at_once() -> None:
    names = [f"res{i}_branch2a" for i in range(10_000)]
    start = time.process_time()
    assert nearest("res77x_branch2a", names)
    assert time.process_time() - start < 1.5
