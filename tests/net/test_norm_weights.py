"""Weights of batch normalization of every fork loaded into nets of every other: same outputs, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffecompat.formats import open_caffemodel
from caffecompat.net import Net, WeightsMismatch
from caffecompat.schema import pb
from tests.net.nets import conv, make_net

EPS = "eps: 1e-5"
SCALE_FILLERS = "scale_filler { type: 'constant' value: 1 } bias_filler { type: 'constant' }"
FUSED = {
    "bvlc": ("BatchNorm", "batch_norm_param { " + EPS + " }"),
    "xilinx": ("BatchNorm", "batch_norm_param { " + EPS + " " + SCALE_FILLERS + " }"),
    "nvcaffe": ("BatchNorm", "batch_norm_param { " + EPS + " scale_bias: true }"),
    "pspnet": ("BN", "bn_param { " + EPS + " slope_filler { value: 1 } bias_filler { value: 0 } }"),
}
COUNTS = {"bvlc": 3, "xilinx": 5, "nvcaffe": 5, "pspnet": 4}
SCALE = "layer { name: 'sc' type: 'Scale' bottom: 'bn' top: 'bn' scale_param { bias_term: true } }\n"


def net_of(layout: str, channels: int = 4, scale: str = "") -> Net:
    """A convolution and a batch normalization in a layout; BVLC's has its Scale after it."""
    kind, param = FUSED[layout]
    shape = f"shape {{ dim: 2 dim: {channels} dim: 3 dim: 3 }}"
    data = f"layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ {shape} }} }}"
    text = f"layer {{ name: 'bn' type: '{kind}' bottom: 'c' top: 'bn' {param} }}\n"
    return make_net(data + conv("c", "x", outputs=channels) + text + (scale or (SCALE if layout == "bvlc" else "")))


def randomize(net: Net) -> Net:
    """Statistics, scale and bias as after some training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in net.layers:
            if layer.name not in ("bn", "sc"):
                continue
            module = layer.module
            factor = 7.5 if module.type == "BatchNorm" and module.layout == "bvlc" else 1.0
            for name, blob in zip(module.blob_names, module.blobs, strict=True):
                if name == "factor":
                    blob.fill_(factor)
                elif name in ("mean", "bias", "shift"):
                    blob.copy_(torch.randn(blob.shape) * (factor if name == "mean" else 1))
                elif name in ("variance", "scale"):
                    blob.copy_((torch.rand(blob.shape) + 0.5) * (factor if name == "variance" else 1))
    return net


def output(net: Net) -> torch.Tensor:
    torch.manual_seed(2)
    with torch.no_grad():
        (top,) = net.forward({"x": torch.randn(net.blob_shapes["x"])}).values()
    return top


@pytest.mark.parametrize("channels", [4, 1])
@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
@pytest.mark.parametrize("target", FUSED)
@pytest.mark.parametrize("source", FUSED)
def test_every_layout_into_every_other(source: str, target: str, suffix: str, channels: int, tmp_path: Path) -> None:
    first, second = randomize(net_of(source, channels)), net_of(target, channels)
    assert len(first.blobs_by_layer()["bn"]) == COUNTS[source]
    path = tmp_path / f"w.{suffix}"
    first.save(path)
    report = second.load_weights(path)
    if COUNTS[source] != COUNTS[target] or (source != target and channels > 1):
        assert len(report.converted) == 1
    assert (report.unexpected, report.missing, report.mismatches) == ([], [], [])
    torch.testing.assert_close(output(second), output(first), rtol=1e-5, atol=1e-6)


def test_xilinx_without_its_last_blob(tmp_path: Path) -> None:
    first = randomize(net_of("pspnet"))
    first.save(tmp_path / "w.caffemodel")
    second = net_of("xilinx")
    second.load_weights(tmp_path / "w.caffemodel")
    torch.testing.assert_close(output(second), output(first))


def test_report_names_both_layers(tmp_path: Path) -> None:
    randomize(net_of("bvlc")).save(tmp_path / "two.caffemodel")
    randomize(net_of("xilinx")).save(tmp_path / "one.caffemodel")
    joined = net_of("nvcaffe").load_weights(tmp_path / "two.caffemodel")
    assert joined.converted == ["layer 'bn': the file's BatchNorm and Scale 'sc' as one layer"]
    assert "converted: layer 'bn'" in "\n".join(joined.lines())
    parted = net_of("bvlc").load_weights(tmp_path / "one.caffemodel")
    assert parted.converted == ["layers 'bn' and 'sc': the file's BatchNorm in two layers"]
    assert parted.loaded == ["c", "bn", "sc"]


def test_lone_batch_norm_gets_a_neutral_scale(tmp_path: Path) -> None:
    only = "layer { name: 'r' type: 'ReLU' bottom: 'bn' top: 'bn' }\n"
    first, second = randomize(net_of("bvlc", scale=only)), randomize(net_of("xilinx", scale=only))
    first.save(tmp_path / "w.caffemodel")
    second.load_weights(tmp_path / "w.caffemodel")
    scale, bias = second.blobs_by_layer()["bn"][:2]
    assert (scale == 1).all() and (bias == 0).all()
    torch.testing.assert_close(output(second), output(first))


def test_scale_that_the_net_has_too_stays_its_own(tmp_path: Path) -> None:
    first, second = randomize(net_of("bvlc")), net_of("xilinx", scale=SCALE)
    first.save(tmp_path / "w.caffemodel")
    assert second.load_weights(tmp_path / "w.caffemodel").loaded == ["c", "bn", "sc"]
    torch.testing.assert_close(output(second), output(first))


@pytest.mark.parametrize(
    ("target", "scale", "why"),
    [
        ("bvlc", "layer { name: 'r' type: 'ReLU' bottom: 'bn' top: 'bn' }", "has a scale and bias"),
        ("bvlc", "layer { name: 'sc' type: 'Scale' bottom: 'bn' top: 'bn' }", "'sc' after this layer cannot take"),
        ("bvlc", SCALE.replace("bias_term: true", "bias_term: true num_axes: 0"), "'sc' after this layer cannot take"),
    ],
)
def test_what_has_no_place_is_an_error(target: str, scale: str, why: str, tmp_path: Path) -> None:
    randomize(net_of("xilinx")).save(tmp_path / "w.caffemodel")
    with pytest.raises(WeightsMismatch, match=why):
        net_of(target, scale=scale).load_weights(tmp_path / "w.caffemodel")


def test_scale_of_another_kind_is_an_error(tmp_path: Path) -> None:
    randomize(net_of("bvlc", scale=SCALE.replace("bias_term: true", "bias_term: true num_axes: 0"))).save(
        tmp_path / "w.caffemodel"
    )
    with pytest.raises(WeightsMismatch, match="cannot become one layer of 4 channels"):
        net_of("xilinx").load_weights(tmp_path / "w.caffemodel")


def test_hdf5_that_does_not_tell_the_scale_is_an_error(tmp_path: Path) -> None:
    randomize(net_of("bvlc", scale=SCALE.replace("'sc'", "'affine'"))).save(tmp_path / "w.caffemodel.h5")
    with pytest.raises(WeightsMismatch, match="does not say which of its layers 'affine' is the Scale"):
        net_of("xilinx").load_weights(tmp_path / "w.caffemodel.h5")


def _enet(mode: str, names: Sequence[str] = ("bn",), tops: str = "") -> Net:
    text = "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 4 dim: 3 dim: 3 } } }"
    text += conv("c", "x")
    mode = f"bn_mode: {mode}" if mode else "scale_filler {}"
    for name in names:
        more = tops.replace("*", name)
        text += f"layer {{ name: '{name}' type: 'BN' bottom: 'c' top: '{name}' {more} bn_param {{ {mode} }} }}"
    return make_net(text)


@pytest.mark.parametrize("source", FUSED)
def test_enet_takes_scale_and_shift(source: str, tmp_path: Path) -> None:
    first, second = randomize(net_of(source)), _enet("LEARN")
    first.save(tmp_path / "w.caffemodel")
    assert second.load_weights(tmp_path / "w.caffemodel").converted
    module: Any = second.layers[-1].module
    fused = next(layer.module for layer in reversed(first.layers) if layer.module is not None)
    assert np.array_equal(module.scale.detach().flatten(), fused.scale.detach().flatten())
    bias = fused.shift if source == "pspnet" else fused.bias
    assert np.array_equal(module.shift.detach().flatten(), bias.detach().flatten())
    with pytest.raises(WeightsMismatch, match="bn_mode INFERENCE"):
        _enet("INFERENCE").load_weights(tmp_path / "w.caffemodel")


@pytest.mark.parametrize("target", FUSED)
def test_enet_has_no_statistics_to_give(target: str, tmp_path: Path) -> None:
    randomize(_enet("LEARN")).save(tmp_path / "w.caffemodel")
    with pytest.raises(WeightsMismatch, match="the file has 2 blobs"):
        net_of(target).load_weights(tmp_path / "w.caffemodel")


def test_training_goes_on_from_converted_statistics(tmp_path: Path) -> None:
    first = randomize(net_of("bvlc"))
    first.save(tmp_path / "w.caffemodel")
    kind, param = FUSED["xilinx"]
    net = make_net(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 4 dim: 3 dim: 3 } } }"
        f"layer {{ name: 'bn' type: '{kind}' bottom: 'x' top: 'bn' {param} }}",
        pb.TRAIN,
    )
    net.load_weights(tmp_path / "w.caffemodel")
    loaded = net.blobs_by_layer()["bn"][2].copy()
    net.forward({"x": torch.randn(2, 4, 3, 3)})
    assert np.abs(net.blobs_by_layer()["bn"][2] - loaded).max() < 0.01  # a thousandth of the way, not from the start


SCRIPTS_TOPS = "top: '*-mean' top: '*-var'"


@pytest.mark.parametrize(
    ("stored", "tops", "mode", "doubt"),
    [
        ("LEARN", "", "LEARN", ""),
        ("INFERENCE", "", "INFERENCE", ""),
        ("", "", "LEARN", ""),
        ("LEARN", SCRIPTS_TOPS, "INFERENCE", ""),  # as compute_bn_statistics.py saves what it has folded
        ("LEARN", "", "INFERENCE", "normalize by the batch"),
        ("", "", "INFERENCE", "normalize by the batch"),
        ("LEARN", "top: 'mean' top: '*-var'", "INFERENCE", "normalize by the batch"),
        ("INFERENCE", "", "LEARN", "folded in the file"),
        ("LEARN", SCRIPTS_TOPS, "", "folded in the file"),
    ],
)
def test_enets_modes_that_contradict_the_file_are_told(
    stored: str, tops: str, mode: str, doubt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.caffemodel"
    names = ("bn_1", "bn_2") if not tops or "*-mean" in tops else ("bn_1",)
    _enet(stored, names, tops).save(path)
    capsys.readouterr()
    report = _enet(mode, names).load_weights(path)
    assert report.loaded == ["c", *names]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W")]
    assert len(warnings) == len(report.discrepancies) == bool(doubt)
    for line in warnings + [line for line in report.lines() if line.startswith("to check")] if doubt else ():
        assert doubt in line and line.endswith(": " + ", ".join(names))


def test_other_batch_normalizations_have_no_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in FUSED:
        randomize(net_of(source)).save(tmp_path / f"{source}.caffemodel")
        assert {layer.bn_mode for layer in open_caffemodel(tmp_path / f"{source}.caffemodel").layers} == {""}
        assert not _enet("LEARN").load_weights(tmp_path / f"{source}.caffemodel").discrepancies
    _enet("INFERENCE").save(tmp_path / "w.caffemodel.h5")  # HDF5 does not tell
    assert not _enet("LEARN").load_weights(tmp_path / "w.caffemodel.h5").discrepancies
