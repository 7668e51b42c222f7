"""--engine of the verbs that show pictures to a net: the same classes, scores to 1e-4, whichever computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffecompat
from caffecompat import CaffeCompatError
from caffecompat.evaluate import Segmenter
from tests.evaluate.ssd_world import SsdWorld
from tests.evaluate.test_onnx_nets import folder, net
from tests.evaluate.world import World

__all__ = ["folder"]

ENGINES = ("torch", "onnxruntime", "auto")
TASKS = {"classify": ("classification", "classes.txt"), "segment": ("segmentation", "labels.txt")}


@pytest.mark.parametrize("name", TASKS)
def test_eval(folder: Path, command: Callable, name: str) -> None:
    task, data = TASKS[name]
    found = []
    for engine in ENGINES:
        result = command("eval", task, *net(name), "--list", data, "--json", "--engine", engine)
        assert result.status == 0, result.err
        found.append(json.loads(result.out))
    assert found[0] == found[1] == found[2]


def test_eval_of_a_net_that_reads_its_data(world: World) -> None:
    """Labels go past the engine."""
    matrices = [
        caffecompat.evaluate_segmentation(world.train_val, world.weights, iterations=2, engine=engine).counts
        for engine in ENGINES
    ]
    assert matrices[0].sum() > 0
    np.testing.assert_array_equal(matrices[0], matrices[1])
    np.testing.assert_array_equal(matrices[0], matrices[2])


def test_segment_and_classify(folder: Path, command: Callable) -> None:
    scores = []
    for engine in ENGINES:
        words = ["--out", engine, "--raw", "--engine", engine]
        assert command("segment", "0.png", *net("segment"), *words).status == 0
        words = ["classify.prototxt", "classify.caffemodel", "0.png", "1.png", "--mean", "104,117,123"]
        assert command("classify", *words, "--output", f"{engine}.npy", "--engine", engine).status == 0
        scores.append(np.load(f"{engine}.npy"))
    for engine, found in zip(ENGINES, scores, strict=True):
        assert Path(engine, "0_classes.png").read_bytes() == Path("torch", "0_classes.png").read_bytes()
        np.testing.assert_allclose(found, scores[0], rtol=1e-4)
    result = command("classify", *words, "--images_dim", "40,40", "--output", "c.npy", "--engine", "torch")
    assert result.status == 0 and "--engine torch: crops (--images_dim)" in result.err


def test_detect(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, command: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    world = SsdWorld(tmp_path, golden / "detection")
    words = ["--model", world.deploy, "--weights", world.weights, "--mean", "104,117,123", "--scale", "0.01", "--json"]
    data = ["--db", "db_test_lmdb", "--labelmap", "labelmap.prototxt", "--overlap", "0.3"]
    found = []
    for engine in ENGINES:
        result = command("eval", "detection", *words, *data, "--engine", engine)
        assert result.status == 0, result.err
        found.append(json.loads(result.out)["mAP"]["11point"])
    assert found == pytest.approx([found[0]] * 3, abs=1e-5) and found[0] > 0.4


def test_what_does_not_go_together(folder: Path, command: Callable) -> None:
    result = command("eval", "classification", "--model", "classify.onnx", "--list", "classes.txt", "--engine", "torch")
    assert result.status == 2 and "--engine torch: onnxruntime computes ONNX files such as classify.onnx" in result.err
    with pytest.raises(CaffeCompatError, match="leave engine out"):
        caffecompat.segment("segment.onnx", None, "0.png", engine="torch")
    made = Segmenter("segment.prototxt", "segment.caffemodel", engine="onnxruntime")
    with pytest.raises(CaffeCompatError, match="make this one with it"):
        caffecompat.segment(made, None, "0.png", engine="torch")
    caffecompat.segment(made, None, "0.png")
    assert made.inference.used == "onnxruntime"


def test_weights_loaded_later_count(folder: Path) -> None:
    """Whatever an engine had folded and packed before."""
    made = Segmenter("segment.prototxt", None, engine="torch")
    [before] = caffecompat.segment(made, None, "0.png")
    made.load("segment.caffemodel")
    [after] = caffecompat.segment(made, None, "0.png")
    [expected] = caffecompat.segment("segment.prototxt", "segment.caffemodel", "0.png")
    np.testing.assert_array_equal(after, expected)
    assert (before != after).any()
