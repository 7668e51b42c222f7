"""Runs of Xilinx' quantizer that the original recorded, made again by our commands and compared file by file."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from caffecompat import load_caffemodel, pycaffe, read_net, write_text
from caffecompat.cli.main import main
from caffecompat.data import make_source
from caffecompat.layers.normalization import BatchNorm
from caffecompat.net import Net
from caffecompat.quantize.fold import fold, read_norm
from caffecompat.quantize.neurons import place_neurons
from caffecompat.quantize.settings import QuantizeSettings
from caffecompat.schema import open_net

GOLDEN = Path(__file__).parents[1] / "golden" / "quantize"
SMALL = GOLDEN / "small"
RUNS = sorted(path.name for path in (SMALL / "runs").iterdir())


def _blobs(path: Path) -> dict[str, list[np.ndarray]]:
    return {name: [np.asarray(blob) for blob in own] for name, own in load_caffemodel(path).items() if len(own)}


def _same_blobs(ours: Path, recorded: Path, *, exactly: bool) -> None:
    got, wanted = _blobs(ours), _blobs(recorded)
    assert got.keys() == wanted.keys()
    for name, blobs in wanted.items():
        for blob, other in zip(got[name], blobs, strict=True):
            tolerance = 0.0 if exactly or name.endswith("_fixed") else 1e-6 * max(float(np.abs(other).max()), 1e-12)
            np.testing.assert_allclose(blob.ravel(), other.ravel(), rtol=0, atol=tolerance, err_msg=name)


def _same_text(ours: Path, recorded: Path) -> None:
    assert write_text(read_net(ours)) == write_text(read_net(recorded))


@pytest.mark.parametrize("run", RUNS)
def test_a_recorded_run(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: pytest.RecordProperty
) -> None:
    record_property("case of", "quantizer runs (vai_q_caffe)")
    recorded = SMALL / "runs" / run
    command = (recorded / "cmd.txt").read_text()
    shutil.copytree(SMALL, tmp_path / "small", ignore=lambda folder, names: ["runs"] if "runs" in names else [])
    (tmp_path / "small/runs" / run).mkdir(parents=True)
    found = re.match(r"cd (\S+); ((?:\w+=\S+ )*)vai_q_caffe (.*)", command)
    assert found
    if "main_m1_w8d8/" in found[3]:
        shutil.copytree(SMALL / "runs/main_m1_w8d8", tmp_path / "small/runs/main_m1_w8d8")
    monkeypatch.chdir(tmp_path / found[1])
    for setting in found[2].split():
        monkeypatch.setenv(*setting.split("=", 1))
    status = main(["vai_q_caffe", *found[3].split()])
    code = re.search(r"exit status (\d+)", command)
    refused = code is not None and code[1] != "0"
    assert (status != 0) == refused
    if refused:
        return
    out = tmp_path / "small/runs" / run
    for file in recorded.iterdir():
        ours = out / file.name
        if file.name in ("quantize_info.txt", "check_results.txt"):
            assert ours.read_text().split() == file.read_text().split()
        elif file.suffix == ".caffemodel":
            _same_blobs(ours, file, exactly=file.name == "deploy.caffemodel")
        elif file.suffix == ".prototxt":
            _same_text(ours, file)
        elif file.name == "test_blobs.npz":
            _same_forward(out, file)
        elif file.name == "batch_positions.tsv":
            saved = dict(line.split("\t")[:2] for line in file.read_text().splitlines()[1:])
            blobs = _blobs(out / "quantize_train_test.caffemodel")
            assert {name: float(blobs[name][0].ravel()[0]) for name in saved} == {
                name: float(position) for name, position in saved.items()
            }


def _same_forward(out: Path, recorded: Path) -> None:
    """The TEST pass of the quantized net: 99.9% of each blob's values equal to 1e-5 of the largest."""
    os.chdir(out.parents[1])
    net = pycaffe.Net(
        str(out / "quantize_train_test.prototxt"), str(out / "quantize_train_test.caffemodel"), pycaffe.TEST
    )
    net.forward()
    with np.load(recorded) as blobs:
        for name in blobs.files:
            wanted = blobs[name]
            got = np.asarray(net.blobs[name].data)
            got = got[: wanted.shape[0]] if wanted.ndim and got.ndim == wanted.ndim else got
            assert got.shape == wanted.shape, name
            close = np.abs(got - wanted) <= 1e-5 * max(1.0, float(np.abs(wanted).max(initial=0)))
            assert close.mean() >= 0.999, name


@pytest.mark.parametrize("name", ["main", "bnfold"])
def test_folding_as_recorded(
    name: str, monkeypatch: pytest.MonkeyPatch, record_property: pytest.RecordProperty
) -> None:
    """convert_model's merge, which leaves Dropout in, and its fix: the messages and every bit of the blobs."""
    record_property("case of", "quantizer merges (convert_model)")
    monkeypatch.chdir(SMALL)
    document = open_net(f"{name}.prototxt")
    net = Net(document, "TRAIN", sources=make_source, log=False, weights=f"{name}.caffemodel")
    blobs = net.blobs_by_layer()
    norms = {
        layer.name: read_norm(layer.param, blobs.pop(layer.name), layer.module.layout)
        for layer in net.layers
        if isinstance(layer.module, BatchNorm)
    }
    folded = fold(document.message, blobs, norms, as_original=True)
    net.close()
    wanted = read_net(GOLDEN / "merge" / f"{name}.merged.prototxt")
    for layer in list(wanted.layer):
        if layer.type == "Dropout":
            wanted.layer.remove(layer)
    folded.message.ClearField("name")
    assert write_text(folded.message) == write_text(wanted)
    recorded = _blobs(GOLDEN / "merge" / f"{name}.merged.caffemodel")
    assert folded.blobs.keys() == recorded.keys()
    for layer_name, own in recorded.items():
        for blob, other in zip(folded.blobs[layer_name], own, strict=True):
            np.testing.assert_array_equal(np.ravel(blob), np.ravel(other), err_msg=layer_name)
    fixed = place_neurons(folded.message, QuantizeSettings())
    unfolded = read_net(GOLDEN / "merge" / f"{name}.fix.prototxt").layer
    assert [layer.name for layer in fixed.layer] == [layer.name for layer in unfolded if layer.type != "Dropout"]
