"""eval_type detection and segmentation; the small SSD training that SSD's Caffe recorded."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers.coco_scores import coco_scores
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.solver import Solver
from caffecompat.solver.outputs import check_eval, make_tally


@pytest.fixture
def ssd(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded run's folder, the current directory."""
    shutil.copytree(golden / "detection", tmp_path / "ssd")
    monkeypatch.chdir(tmp_path / "ssd")
    return tmp_path / "ssd"


def _scores(log: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(class\d+|detection_eval)\s*[:=] ([0-9.e+-]+)", log)}


def test_training_follows_the_recorded_run(ssd: Path) -> None:
    solver = Solver("solver_11point.prototxt")
    solver.load_weights("init.caffemodel")
    losses: list[float] = []
    one_pass = solver.passes.one

    def noted():
        loss, tops = one_pass()
        losses.append(float(loss))
        return loss, tops

    solver.passes.one = noted  # type: ignore[method-assign]
    solver.step(12)
    trace = np.load("trace.npz")
    assert np.allclose(losses, trace["loss"], rtol=2e-3)
    blobs = solver.net.blobs_by_layer()
    for name in (name for name in trace.files if name.startswith("p12/")):
        _, layer, index = name.split("/")
        assert np.allclose(blobs[layer][int(index)], trace[name], atol=1e-3 + 5e-3 * np.abs(trace[name]).max()), name


@pytest.mark.parametrize("version", ["11point", "MaxIntegral", "Integral"])
def test_mean_average_precision_of_the_recorded_snapshot(ssd: Path, capsys, version: str) -> None:
    settings = ["max_iter=0", "snapshot=0", "snapshot_after_train=false", "display=0"]
    solver = Solver(f"solver_{version}.prototxt", overrides=settings)
    solver.load_weights("ssd_iter_70.caffemodel")
    solver.train()
    recorded = _scores((ssd / f"eval_{version}.log").read_text())
    assert recorded
    got = _scores(capsys.readouterr().err)
    assert got.keys() == recorded.keys()
    for name, value in recorded.items():
        assert got[name] == pytest.approx(value, abs=1e-4)


def _net(*layers: str) -> Net:
    return Net(parse_text(" ".join(layers), pb.NetParameter()), pb.TEST, log=False)


def _input(name: str, *shape: int) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'


def _solver(text: str):
    return parse_text(text, pb.SolverParameter())


ROWS = torch.tensor(
    [[-1, 1, 2, -1, -1], [-1, 2, 1, -1, -1], [0, 1, 0.9, 1, 0], [0, 1, 0.8, 0, 1], [1, 1, 0.7, 1, 0]]
).float()[None, None]


def test_lines_of_ssd_and_of_jacinto(capsys) -> None:
    net = _net(_input("detection_eval", 1, 1, 3, 5))
    param = _solver('eval_type: "detection" ap_version: "MaxIntegral" show_per_class_result: true')
    for fork in (Fork.SSD, Fork.JACINTO):
        tally = make_tally(param, net, fork)
        tally.add({"detection_eval": ROWS})
        tally.log()
    mean = (0.5 + 0.5 * 2 / 3) / 2
    assert tally.values() == {"detection_eval": [pytest.approx(mean)]}
    lines = [line.split("] ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "class1: 0.833333",
        "Missing true_pos for label: 2",
        "    Test net output #0: detection_eval = 0.416667",
        "class AP 1: 0.833333",
        "Missing true_pos for label: 2",
        "Test net output mAP #0: detection_eval = 0.416667",
    ]


def test_other_outputs_have_no_average_precision() -> None:
    with pytest.raises(CaffeCompatError, match="'accuracy' of the test net has shape"):
        make_tally(_solver('eval_type: "detection"'), _net(_input("accuracy", 3)), Fork.SSD)


def test_detections_have_no_mean() -> None:
    tally = make_tally(_solver(""), _net(_input("detection_eval", 1, 1, 3, 5)), Fork.SSD)
    tally.add({"detection_eval": ROWS})
    with pytest.raises(CaffeCompatError, match="eval_type"):
        tally.add({"detection_eval": ROWS[:, :, :3]})


EVALUATED = """layer { name: "found" type: "Input" top: "found" input_param { shape { dim: 1 dim: 1 dim: 9 dim: 7 } } }
layer { name: "there" type: "Input" top: "there" input_param { shape { dim: 1 dim: 1 dim: 6 dim: 8 } } }
layer { name: "evaluate" type: "DetectionEvaluate" bottom: "found" bottom: "there" top: "evaluate"
  detection_evaluate_param { num_classes: 4 background_label_id: 0 overlap_threshold: 0.5 } }"""


@pytest.mark.parametrize("seed", range(4))
def test_coco_scores_all_batches_as_one_set(seed: int, log: list[str]) -> None:
    """Pictures are numbered from 0 in each batch; rows of -1 fill what a batch lacks."""
    generator = np.random.default_rng(seed)
    param = _solver('eval_type: "detection" ap_version: "COCO"')
    net = _net(EVALUATED)
    tally = make_tally(param, net, Fork.SSD)
    all_found, all_there = [], []
    for batch in range(5):
        there, found = np.full((6, 8), -1.0), np.full((9, 7), -1.0)
        for row in range(int(generator.integers(1, 7))):
            low = generator.uniform(0, 0.5, 2)
            corners = [*low, *(low + generator.uniform(0.2, 0.5, 2))]
            there[row] = [generator.integers(0, 3), generator.integers(1, 3), row, *corners, generator.random() < 0.2]
            found[row] = [there[row, 0], there[row, 1], generator.random(), *(corners + generator.normal(0, 0.03, 4))]
        there[there[:, 0] == there[:, 0].max(), 0] = 2  # the last picture of the batch has an object
        found[6] = [2, 1, generator.random(), 0.1, 0.1, 0.4, 0.4]
        found, there = found.astype("f4"), there.astype("f4")
        tally.add(net(found=found[None, None], there=there[None, None]))
        for rows, kept in ((found, all_found), (there, all_there)):
            present = rows[rows[:, 0] != -1].astype("f8")
            present[:, 0] += 3 * batch
            kept.append(present)
    expected = coco_scores(np.concatenate(all_found), np.concatenate(all_there), np.array([1, 2, 3])).ap
    assert 0 < expected < 1
    assert tally.values() == {"evaluate": [pytest.approx(expected, abs=1e-12)]}
    log.clear()
    tally.log()
    assert log == [f"    Test net output #0: evaluate = {glog.number(expected)}"]


def test_coco_needs_detection_evaluate(ssd: Path) -> None:
    net = _net(_input("accuracy", 1, 1, 3, 5))
    with pytest.raises(CaffeCompatError, match="another type makes accuracy"):
        make_tally(_solver('eval_type: "detection" ap_version: "COCO"'), net, Fork.SSD)


def test_coco_of_the_recorded_snapshot(ssd: Path) -> None:
    settings = ["max_iter=0", "snapshot=0", "snapshot_after_train=false", "display=0", "ap_version=COCO"]
    solver = Solver("solver_11point.prototxt", overrides=settings)
    solver.load_weights("ssd_iter_70.caffemodel")
    scores = solver.test(0)
    assert scores is not None
    (name,) = scores
    assert 0 < scores[name][0] < 1


def test_eval_type_is_known() -> None:
    assert check_eval(_solver("")) == []
    assert "densebox" in check_eval(_solver('eval_type: "densebox"'))[0]
    assert "12point" in check_eval(_solver('ap_version: "12point"'))[0]


def test_segmentation_of_xilinx_leaves_out_absent_classes(capsys) -> None:
    tally = make_tally(
        _solver('eval_type: "segmentation" classiou_class_num: 3'),
        _net(_input("segmentation_eval", 3, 3), _input("loss", 1)),
        Fork.XILINX,
    )
    tally.add({"segmentation_eval": torch.tensor([[4.0, 0, 0], [2, 0, 0], [1, 0, 2]]), "loss": torch.zeros(1)})
    tally.add({"segmentation_eval": torch.tensor([[2.0, 0, 1], [0, 0, 0], [0, 0, 1]]), "loss": torch.zeros(1)})
    tally.log()
    assert tally.values() == {"segmentation_eval": [pytest.approx((6 / 9 + 1 / 4) / 2)]}
    assert "]     Test net output #0: segmentation_eval_classIOU = 0.458333" in capsys.readouterr().err


def test_segmentation_of_jacinto_counts_absent_classes_as_0(capsys) -> None:
    tally = make_tally(_solver('eval_type: "segmentation"'), _net(_input("accuracy", 1, 1, 3, 3)), Fork.JACINTO)
    tally.add({"accuracy": torch.tensor([[3.0, 1, 0], [0, 4, 0], [0, 0, 0]])[None, None]})
    tally.log()
    log = capsys.readouterr().err
    assert "] Test net output Class IoU #0: accuracy class 1 = 0.8" in log
    assert "] Test net output Mean IoU #0: accuracy = 0.516667" in log
