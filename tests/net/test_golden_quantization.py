"""TI's dynamic fixed point against recorded runs of caffe-jacinto 0.17: every form, range, parameter and blob."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat import pycaffe
from caffecompat.net.quantization import Quantization
from caffecompat.schema import parse_text, pb

GOLDEN = Path(__file__).parents[1] / "golden" / "quantize_jacinto"
BY_CHANCE = ("stochastic_test", "train_bn", "train_stochastic")
OVERWRITTEN = "eltwise_overwrite"
RUNS = sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.startswith("opt_"))

# Here the original divides by a range of 0 and computes NaN from then on; ours leaves the blob as it is.
CONSTANT = {"zero_bias": "bias", "one_output_bias": "bias", "dead_relu": "r"}


def _recorded(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def _net(record: dict[str, Any], folder: Path) -> pycaffe.Net:
    """The record's net with its parameters."""
    (folder / "net.prototxt").write_text(str(record["prototxt"]))
    phase = pycaffe.TRAIN if str(record["phase"]) == "TRAIN" else pycaffe.TEST
    net = pycaffe.Net(str(folder / "net.prototxt"), phase, fork="jacinto")
    for key, value in record.items():
        if key.startswith("param/"):
            layer, index = key.removeprefix("param/").rsplit("/", 1)
            data = net.params[layer][int(index)].data
            data[...] = value.reshape(data.shape)
    return net


def _forward(net: pycaffe.Net, record: dict[str, Any], count: int) -> None:
    for key, value in record.items():
        if key.startswith(f"in{count}/"):
            net.blobs[key.split("/", 1)[1]].data[...] = value
    for layer in net._core.layers:
        if layer.type == "DummyData":  # numbers by chance: those of the record
            made = record[f"out{count}/{layer.tops[0]}"]
            layer.source.next = lambda made=made: [made]  # type: ignore[union-attr]
    net.forward()


def _fields(message: Any, before: str = "") -> dict[str, float]:
    """What is set in a message, by path."""
    found: dict[str, float] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            found[before + field.name] = value
        else:
            for index, item in enumerate(value):
                found.update(_fields(item, f"{before}{field.name}[{index}]."))
    return found


def _check_forms(quantization: Quantization, record: dict[str, Any], count: int, rel: float = 3e-6) -> None:
    """Scales and offsets of the pass, to the rounding of the inputs' sums in float32."""
    for step, form in zip(quantization._steps, quantization.forms, strict=True):
        wanted = parse_text(str(record[f"qparam{count}/{step.name}"]), pb.QuantizationParameter())
        got, expected = _fields(form or pb.QuantizationParameter()), _fields(wanted)
        assert got.keys() == expected.keys(), step.name
        for field, value in expected.items():
            assert got[field] == pytest.approx(value, rel=rel, abs=1e-30), (step.name, field)


def _check_ranges(quantization: Quantization, record: dict[str, Any], count: int) -> None:
    by_name = {step.name: step for step in quantization._steps}
    for line in str(record[f"ranges{count}"]).splitlines():
        kind, name, slot, low, high = line.split()
        step = by_name[name]
        if kind == "w":
            ends = quantization._weight_ranges[step.slots[int(slot)]]  # type: ignore[union-attr]
        else:
            blobs = step.split_bottoms if kind == "in" else step.tops
            ends = quantization._ranges.of(blobs[int(slot)])
        assert ends == pytest.approx((float(low), float(high)), rel=3e-6, abs=1e-6), line


def _check_blobs(net: pycaffe.Net, record: dict[str, Any], count: int, *, without: Sequence[str] = ()) -> None:
    """98% of a blob's values within half a step; an Eltwise's first bottom has the sum in the original's memory."""
    layers = net._core.message.layer
    overwritten = {
        layer.bottom[0] for layer in layers if layer.type == "Eltwise" and layer.eltwise_param.operation == 1
    }
    for key, wanted in record.items():
        if key.startswith(f"out{count}/"):
            blob = key.split("/", 1)[1]
            if blob in (*overwritten, *without) or "_split_" in blob:
                continue
            close = np.abs(net.blobs[blob].data - wanted) <= 2e-3 * np.abs(wanted).max() + 1e-6
            assert close.mean() >= 0.98, (count, blob)
        elif key.startswith(f"param_after{count}/"):
            layer, index = key.split("/", 1)[1].rsplit("/", 1)
            data = net.params[layer][int(index)].data.ravel()
            np.testing.assert_allclose(data, wanted.ravel(), rtol=0, atol=1e-6 * max(1e-9, np.abs(wanted).max()))


@pytest.mark.parametrize("run", [run for run in RUNS if run not in (*CONSTANT, *BY_CHANCE, OVERWRITTEN)])
def test_a_recorded_run(run: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("case of", "dynamic fixed point (caffe-jacinto 0.17)")
    record = _recorded(run)
    net = _net(record, tmp_path)
    quantization = net._core.quantization
    assert quantization is not None
    for count in range(4):
        _forward(net, record, count)
        _check_forms(quantization, record, count)
        _check_ranges(quantization, record, count)
        _check_blobs(net, record, count)


@pytest.mark.parametrize("run", CONSTANT)
def test_a_constant_blob_stays_as_it_is(run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the passes before it show is as recorded; then no NaN, and a warning that names the blob."""
    record = _recorded(run)
    net = _net(record, tmp_path)
    _forward(net, record, 0)
    _check_blobs(net, record, 0)
    for count in (1, 2, 3):
        _forward(net, record, count)
    assert all(np.isfinite(blob.data).all() for blob in net.blobs.values())
    assert all(np.isfinite(blob.data).all() for blobs in net.params.values() for blob in blobs)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "holds one number only" in line]
    assert len(warnings) == 1
    assert f"'{CONSTANT[run]}' of layer" in warnings[0]


@pytest.mark.parametrize("run", BY_CHANCE)
def test_rounding_by_chance(run: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    """Pass 0 is as recorded, so are the scales of pass 1; what that one rounds is at most a step away, on the grid."""
    record_property("case of", "dynamic fixed point (caffe-jacinto 0.17)")
    record = _recorded(run)
    net = _net(record, tmp_path)
    quantization = net._core.quantization
    _forward(net, record, 0)
    # The variances that the original's CPU build stores have eps added.
    _check_blobs(net, {key: value for key, value in record.items() if key != "param_after0/b/1"}, 0)
    _forward(net, record, 1)
    _check_forms(quantization, record, 1, rel=2e-5)
    steps = {step.name: (step, form) for step, form in zip(quantization._steps, quantization.forms, strict=True)}
    compared = 0
    for name, (step, form) in steps.items():
        pairs = [
            (own, net.blobs[blob].data, record[f"out1/{blob}"])
            for own, blob in zip(form.qparam_out, step.tops, strict=True)
        ]
        pairs += [
            (own, net.params[name][place].data, record[f"param_after1/{name}/{place}"])
            for place, own in enumerate(form.qparam_w)
        ]
        for own, got, wanted in pairs:
            if own.quantize:
                step_size = 1 / own.scale_target
                assert np.abs(got.ravel() - wanted.ravel()).max() <= step_size * 1.001
                whole = got * own.scale_target + own.offset
                assert np.abs(whole - np.round(whole)).max() < 1e-2
                compared += 1
    assert compared >= 3


def test_a_bottom_that_a_sum_overwrites(tmp_path: Path) -> None:
    """The original's later reader of the sum's first bottom gets the sum; ours gets the bottom; all else is equal."""
    record = _recorded(OVERWRITTEN)
    net = _net(record, tmp_path)
    for count in range(4):
        _forward(net, record, count)
        wrong = {key for key in record if key.startswith(f"param_after{count}/c3/")}
        _check_blobs(net, {key: value for key, value in record.items() if key not in wrong}, count, without=("c3",))
