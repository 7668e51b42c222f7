"""TI's dynamic fixed point against recorded runs of caffe-jacinto 0.17: every form, range, parameter and blob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat import pycaffe
from caffecompat.net.quantization import Quantization
from caffecompat.schema import parse_text, pb

GOLDEN = Path(__file__).parents[1] / "golden" / "quantize_jacinto"
RUNS = sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.startswith("opt_"))

# Here the original divides by a range of 0 and computes NaN from then on; ours leaves the blob as it is.
CONSTANT = {"zero_bias": "bias", "one_output_bias": "bias", "dead_relu": "r"}


def _recorded(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def _net(record: dict[str, Any], folder: Path) -> pycaffe.Net:
    """The record's net with its parameters."""
    (folder / "net.prototxt").write_text(str(record["prototxt"]))
    net = pycaffe.Net(str(folder / "net.prototxt"), pycaffe.TEST, fork="jacinto")
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


def _check_forms(quantization: Quantization, record: dict[str, Any], count: int) -> None:
    """Scales and offsets of the pass, to the rounding of the inputs' sums in float32."""
    for step, form in zip(quantization._steps, quantization.forms, strict=True):
        wanted = parse_text(str(record[f"qparam{count}/{step.name}"]), pb.QuantizationParameter())
        got, expected = _fields(form or pb.QuantizationParameter()), _fields(wanted)
        assert got.keys() == expected.keys(), step.name
        for field, value in expected.items():
            assert got[field] == pytest.approx(value, rel=3e-6, abs=1e-30), (step.name, field)


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


def _check_blobs(net: pycaffe.Net, record: dict[str, Any], count: int) -> None:
    """98% of a blob's values within half a step; an Eltwise's first bottom has the sum in the original's memory."""
    layers = net._core.message.layer
    overwritten = {
        layer.bottom[0] for layer in layers if layer.type == "Eltwise" and layer.eltwise_param.operation == 1
    }
    for key, wanted in record.items():
        if key.startswith(f"out{count}/"):
            blob = key.split("/", 1)[1]
            if blob in overwritten or "_split_" in blob:
                continue
            close = np.abs(net.blobs[blob].data - wanted) <= 2e-3 * np.abs(wanted).max() + 1e-6
            assert close.mean() >= 0.98, (count, blob)
        elif key.startswith(f"param_after{count}/"):
            layer, index = key.split("/", 1)[1].rsplit("/", 1)
            data = net.params[layer][int(index)].data.ravel()
            np.testing.assert_allclose(data, wanted.ravel(), rtol=0, atol=1e-6 * max(1e-9, np.abs(wanted).max()))


@pytest.mark.parametrize("run", [run for run in RUNS if run not in CONSTANT])
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
