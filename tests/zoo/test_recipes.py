"""The networks of DDRNet, DeepLabV3 and SSD train by their recipes with all that is in use today, on small drawn sets.

Each is trained by the command line from files; a run that was stopped half way goes on to the same bits; what is
exported from the training's own file computes what the TEST net does.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from caffecompat import glog
from caffecompat.cli.main import main
from caffecompat.data import make_source
from caffecompat.data.shapes import write_shapes
from caffecompat.data.street_scene import CLASSES
from caffecompat.data.streets import write_streets
from caffecompat.deploy.export_deploy import export_deploy
from caffecompat.deploy.onnx.write import export_onnx
from caffecompat.deploy.torch_source.write import export_torch
from caffecompat.formats import load_caffemodel
from caffecompat.net import Net
from caffecompat.schema import pb, read_net
from caffecompat.zoo import Source
from tests.zoo import recipes

ITERATIONS = 32


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    glog.set_sink(lambda line: lines.append(line.split("] ", 1)[1]))
    yield lines
    glog.set_sink(None)


def _train(folder: Path, log: list[str], *flags: str) -> list[float]:
    """Train by the command line; returns the loss of each iteration."""
    log.clear()
    assert main(["train", "--solver", str(folder / "solver.prototxt"), "--amp", "bf16", *flags]) == 0
    losses = [re.search(r"Iteration (\d+).*, loss = (\S+)", line) for line in log]
    return [float(found[2]) for found in losses if found]


def _check_training(
    folder: Path, name: str, log: list[str], fall: float, *flags: str, iterations: int, start: Sequence[str] = ()
) -> list[str]:
    """It learns; what is resumed from the half is the same run to the last bit. Returns the first run's log."""
    losses = _train(folder, log, *flags, *start)
    first = list(log)
    assert len(losses) == iterations + 1  # the last one is shown after training
    before, after = np.mean(losses[:8]), np.mean(losses[-8:])
    assert after < fall * before, losses
    written = [f"{name}_iter_{iterations}", f"{name}_ema_iter_{iterations}", f"{name}_best"]
    finals = [folder / f"{stem}.caffemodel" for stem in written]
    done = [path.read_bytes() for path in finals]
    half = iterations // 2
    again = _train(folder, log, *flags, "--snapshot", str(folder / f"{name}_iter_{half}.solverstate"))
    assert again[-half:] == losses[-half:]
    assert [path.read_bytes() for path in finals] == done
    return first


def _check_epochs(folder: Path, capsys: pytest.CaptureFixture[str], expected: str) -> None:
    assert main(["train", "--solver", str(folder / "solver.prototxt"), "--dry-run"]) == 0
    assert expected in capsys.readouterr().out


def _exported(source: Path, weights: Path, top: str, data: np.ndarray) -> Iterator[np.ndarray]:
    """What ONNX, torch source and deploy net compute, each made from train_val.prototxt."""
    batch, folder = len(data), source.parent
    export_onnx(source, weights, folder / "net.onnx", batch=batch)
    yield onnxruntime.InferenceSession(folder / "net.onnx").run([top], {"data": data})[0]
    export_torch(source, weights, folder / "exported.py", batch=batch)
    spec = importlib.util.spec_from_file_location("exported", folder / "exported.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        yield module.load()(torch.from_numpy(data)).numpy()
    export_deploy(source, weights, folder / "deploy", batch=batch)
    kinds = {layer.type for layer in read_net(folder / "deploy.prototxt").layer}
    assert not kinds & {"Mixup", "DropPath", "SoftmaxWithLoss", "MultiBoxLoss"}
    assert not any(kind.endswith("Data") for kind in kinds)
    with torch.no_grad():
        (scores,) = Net(folder / "deploy.prototxt", pb.TEST, log=False, weights=weights)(data=data).values()
    yield scores.numpy()


def _assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to a thousandth; detections (1, 1, N, 7) in any order, as rows of nearly one score change places."""
    if expected.shape[-1] != 7:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        return
    assert found.shape == expected.shape
    rows, others = found.reshape(-1, 1, 7), expected.reshape(1, -1, 7)
    same = np.isclose(rows, others, rtol=1e-3, atol=1e-4).all(2)
    assert same.any(0).all() and same.any(1).all()


def _check_exports(source: Path, weights: Path, top: str) -> None:
    """The exported nets against the TEST net on its own pictures; of detections the order is not compared."""
    net = read_net(source)
    kept = [layer for layer in net.layer if layer.type != "DetectionEvaluate"]  # which would take `top`
    del net.layer[:]
    net.layer.extend(kept)
    test = Net(net, pb.TEST, sources=make_source, log=False, weights=weights)
    batch = test.next_batch()
    with torch.no_grad():
        expected = test(batch)[top].numpy()
    test.close()
    assert expected.std() > 0.01
    for found in _exported(source, weights, top, np.asarray(batch["data"], np.float32)):
        _assert_equal(found, expected)


def test_ddrnet_classifies(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    recipes.write_classes(Path(), {"train": 64, "val": 16})
    net, solver = recipes.files(
        "ddrnet23_slim", Path(), classes=3, width=64, height=64, crop=64, batch_size=16, iter_size=1,
        test_batch_size=8, test_iter=2, max_iter=ITERATIONS, snapshot=ITERATIONS // 2, base_lr=0.01, display=1,
        train=Source("train.txt"), val=Source("val.txt"),
    )  # fmt: skip
    recipes.thin(net, kept="$^", share=4)
    recipes.drop_paths(net, 0.1)
    recipes.mix(net, 3)
    recipes.smooth(net)
    recipes.augment(net, recipes.COLORS)
    recipes.score(net, "linear")
    solver.snapshot_best = "max:accuracy"
    recipes.write(net, solver, Path())
    _check_epochs(Path(), capsys, "8 epochs")
    _check_training(Path(), "ddrnet23_slim", log, 0.9, iterations=ITERATIONS)
    _check_exports(Path("train_val.prototxt"), Path(f"ddrnet23_slim_ema_iter_{ITERATIONS}.caffemodel"), "prob")


def test_ddrnet_segments(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_streets(Path("streets"), {"train": 40, "val": 4}, width=128, height=128)
    net, solver = recipes.files(
        "ddrnet23_slim_seg", Path(), classes=len(CLASSES), width=128, height=128, crop=128, batch_size=4,
        iter_size=1, test_batch_size=2, test_iter=2, max_iter=20, snapshot=10, base_lr=0.02, display=1,
        train=Source("streets/train.txt"), val=Source("streets/val.txt"),
    )  # fmt: skip
    recipes.thin(net, kept="^(final_layer|seghead_extra)_conv2$", share=4)
    recipes.drop_paths(net, 0.1)
    recipes.smooth(net)
    recipes.augment(net, recipes.COLORS)
    recipes.score(net, "final_layer_up")
    solver.snapshot_best = "min:loss"
    recipes.write(net, solver, Path())
    _check_epochs(Path(), capsys, "2 epochs")
    _check_training(Path(), "ddrnet23_slim_seg", log, 0.9, iterations=20)
    _check_exports(Path("train_val.prototxt"), Path("ddrnet23_slim_seg_ema_iter_20.caffemodel"), "prob")


def _deeplab(folder: Path, stride: int, classes: int, iterations: int, base_lr: float) -> None:
    """Files of DeepLabV3 with two blocks in its third level, whose crops pad the pictures."""
    folder.mkdir(exist_ok=True)
    net, solver = recipes.files(
        f"deeplab_v3_s{stride}", folder, classes=classes, width=65, height=65, crop=65, batch_size=4, iter_size=2,
        test_batch_size=2, test_iter=2, max_iter=iterations, snapshot=iterations // 2, base_lr=base_lr, display=1,
        train=Source("streets/train.txt"), val=Source("streets/val.txt"),
    )  # fmt: skip
    recipes.shorten(net, r"layer3_(\d\d|[2-9])_", "layer3_22_add", "layer3_1_add")
    recipes.thin(net, kept="^classifier$")
    recipes.drop_paths(net, 0.1)
    recipes.smooth(net)
    recipes.augment(net, recipes.COLORS)
    recipes.score(net, "upsampled")
    solver.snapshot_best = "max:accuracy"
    recipes.write(net, solver, folder)


def _statistics(path: Path, net: Path) -> list[np.ndarray]:
    kinds = {layer.name: layer.type for layer in read_net(net).layer}
    return [
        blob for name, blobs in load_caffemodel(path).items() if kinds[name] in ("BatchNorm", "Scale") for blob in blobs
    ]


def test_deeplab_at_both_strides(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The second training begins with the first one's weights but for the scores of one class more."""
    write_streets(Path("streets"), {"train": 40, "val": 4}, width=72, height=60)
    first, second = Path("s16"), Path("s8")
    _deeplab(first, 16, len(CLASSES), 20, 0.02)
    _check_epochs(first, capsys, "4 epochs")
    _check_training(first, "deeplab_v3_s16", log, 0.9, iterations=20)
    weights = first / "deeplab_v3_s16_iter_20.caffemodel"
    _check_exports(first / "train_val.prototxt", first / "deeplab_v3_s16_ema_iter_20.caffemodel", "prob")

    _deeplab(second, 8, len(CLASSES) + 1, 16, 0.004)
    flags = ("--freeze-bn", "--skip-mismatched", "--lr-mult", "classifier=10")
    lines = _check_training(second, "deeplab_v3_s8", log, 0.9, *flags, iterations=16, start=("--weights", str(weights)))
    assert any("classifier" in line and "shape" in line for line in lines)
    _check_exports(second / "train_val.prototxt", second / "deeplab_v3_s8_ema_iter_16.caffemodel", "prob")
    before, after = (
        _statistics(path, folder / "train_val.prototxt")
        for path, folder in ((weights, first), (second / "deeplab_v3_s8_iter_16.caffemodel", second))
    )
    assert len(before) > 50
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_ssd(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write_shapes(Path("shapes"), {"train": 32, "val": 4})
    for name in ("train", "val"):
        words = ("--labelmap", "shapes/labelmap.prototxt")
        assert main(["lmdb", "build", f"shapes/{name}.txt", f"{name}_lmdb", *words]) == 0
    net, solver = recipes.files(
        "ssd300_resnet34", Path(), classes=4, width=264, height=264, batch_size=4, test_batch_size=2, test_iter=2,
        max_iter=16, snapshot=8, base_lr=0.005, display=1, train=Source("train_lmdb", lmdb=True),
        val=Source("val_lmdb", lmdb=True), label_map="shapes/labelmap.prototxt",
        test_interval=8,
    )  # fmt: skip
    recipes.thin(net, kept="_mbox_")
    recipes.drop_paths(net, 0.1)
    recipes.augment(net, recipes.COLORS)
    solver.snapshot_best = "max:detection_eval"
    recipes.write(net, solver, Path())
    _check_epochs(Path(), capsys, "2 epochs")
    _check_training(Path(), "ssd300_resnet34", log, 0.9, iterations=16)
    _check_exports(Path("train_val.prototxt"), Path("ssd300_resnet34_iter_16.caffemodel"), "detection_out")
