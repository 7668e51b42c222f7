"""eval detection: the recorded mAP from every kind of data set and of results, and pycocotools' own."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.detection import DetectionTally, score_detections
from caffecompat.evaluate.detection_sets import open_detection_set
from caffecompat.formats.detections import Detection
from tests.evaluate.ssd_world import PREPROCESS, SsdWorld

RECORDED = {"11point": 0.469697, "MaxIntegral": 0.433333, "Integral": 0.433333}


@pytest.fixture
def world(tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch) -> SsdWorld:
    monkeypatch.chdir(tmp_path)
    return SsdWorld(tmp_path, golden / "detection")


@pytest.fixture
def evaluate(capsys):
    """Run ``eval detection --json``; returns the object."""

    def run(*words: object, status: int = 0) -> dict:
        capsys.readouterr()
        assert main(["eval", "detection", "--json", *map(str, words)]) == status, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def net_of(world: SsdWorld) -> tuple[object, ...]:
    return ("--model", world.deploy, "--weights", world.weights, "--overlap", 0.3, *PREPROCESS)


def test_the_nets_own_data(world: SsdWorld, evaluate) -> None:
    result = evaluate("--model", world.test, "--weights", world.weights)
    assert result["overlap"] == 0.3  # as its DetectionEvaluate has it
    assert result["pictures"] == 6
    assert result["mAP"] == {rule: pytest.approx(value, abs=1e-5) for rule, value in RECORDED.items()}
    assert [(row["name"], row["objects"]) for row in result["classes"]] == [
        ("aeroplane", 3),
        ("bicycle", 2),
        ("bird", 5),
    ]


def test_batches_of_its_own_data(world: SsdWorld, evaluate) -> None:
    result = evaluate("--model", world.test, "--weights", world.weights, "--iterations", 2)
    assert result["pictures"] == 4


def test_database_list_and_coco_agree(world: SsdWorld, evaluate) -> None:
    database = evaluate(*net_of(world), "--db", "db_test_lmdb", "--labelmap", "labelmap.prototxt")
    assert database["mAP"]["11point"] == pytest.approx(RECORDED["11point"], abs=1e-5)
    listed = evaluate(*net_of(world), "--list", world.write_list())
    shutil.rmtree("pictures")
    coco = evaluate(*net_of(world), "--list", world.write_coco(), "--root-folder", "pictures")
    for other in (listed, coco):
        assert other["mAP"] == pytest.approx(database["mAP"], abs=1e-4)
        assert other["coco"] == pytest.approx(database["coco"], abs=1e-4)
    assert [row["name"] for row in coco["classes"]] == ["aeroplane", "bicycle", "bird"]


def test_saved_results_score_the_same_and_as_pycocotools(world: SsdWorld, evaluate) -> None:
    truth = world.write_coco()
    data = ("--list", truth, "--root-folder", "pictures")
    saved = evaluate(*net_of(world), *data, "--save", "out/found.json")
    assert saved["saved"] == ["out/found.json"]
    again = evaluate("--results", "out/found.json", *data, "--overlap", 0.3)
    assert again["mAP"] == pytest.approx(saved["mAP"], abs=1e-6)
    assert again["coco"] == pytest.approx(saved["coco"], abs=1e-3)  # coordinates are rounded to a hundredth
    theirs = _pycocotools(truth, Path("out/found.json"))
    assert [again["coco"][name] for name in ("AP", "AP50", "AP75")] == pytest.approx(theirs, abs=1e-6)


def _pycocotools(truth: Path, found: Path) -> list[float]:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        there = coco.COCO(str(truth))
        evaluation = COCOeval(there, there.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3].tolist()


def test_the_table_and_snapshots_by_coco(world: SsdWorld, evaluate, capsys) -> None:
    words = [*map(str, net_of(world)), "--db", "db_test_lmdb"]
    coco = evaluate(*words)["coco"]["AP"]
    assert [row["COCO"] for row in evaluate(*words)["classes"]] != [
        row["11point"] for row in evaluate(*words)["classes"]
    ]
    assert np.mean([row["COCO"] for row in evaluate(*words)["classes"]]) == pytest.approx(coco)
    assert main(["eval", "detection", *words, "--ap-version", "COCO"]) == 0
    assert f"COCO's AP         {coco:.4f}" in capsys.readouterr().out
    rows = evaluate(*(w for w in words if w not in ("--weights", str(world.weights))), "--snapshots", "ssd",
                    "--ap-version", "COCO")["snapshots"]  # fmt: skip
    assert [row["mAP"] for row in rows] == [pytest.approx(coco)]


@pytest.mark.parametrize("verb", ["test", "test_detection"])
def test_a_test_prints_cocos_mean(world: SsdWorld, evaluate, capsys, verb: str) -> None:
    """The layer's numbers are in units of pictures of one size, in which overlaps are those in pixels."""
    coco = evaluate("--model", world.test, "--weights", world.weights)["coco"]["AP"]
    words = ["--model", str(world.test), "--weights", str(world.weights), "--iterations", "3", "--ap-version", "COCO"]
    assert main([verb, *words]) == 0
    found = re.search(r"detection_eval = ([0-9.]+)\n", capsys.readouterr().err)
    assert found is not None and float(found[1]) == pytest.approx(coco, abs=1e-6)


def test_results_as_voc_has_them(world: SsdWorld, evaluate) -> None:
    data = ("--db", "db_test_lmdb", "--labelmap", "labelmap.prototxt")
    evaluate(*net_of(world), *data, "--save", "voc")
    assert sorted(path.name for path in Path("voc").iterdir()) == ["aeroplane.txt", "bicycle.txt", "bird.txt"]
    Path("voc/bird.txt").rename("voc/comp4_det_test_bird.txt")  # VOC's files have such prefixes
    result = evaluate("--results", "voc", *data, "--overlap", 0.3)
    assert [row["detections"] for row in result["classes"]] == [105, 88, 103]
    assert result["mAP"]["11point"] == pytest.approx(RECORDED["11point"], abs=0.05)  # whole pixels of small pictures


def test_table_and_snapshots(world: SsdWorld, capsys) -> None:
    data = ("--db", "db_test_lmdb", "--labelmap", "labelmap.prototxt")
    assert main(["eval", "detection", *map(str, (*net_of(world), *data))]) == 0
    table = capsys.readouterr().out
    assert "bird        0.3636         5         103" in table
    assert "mAP, 11point      0.4697  (Pascal VOC 2007)" in table
    words = ("--model", world.deploy, "--snapshots", "ssd", "--plot", "map.svg", *PREPROCESS, *data)
    assert main(["eval", "detection", *map(str, words)]) == 0
    assert "best: " in capsys.readouterr().out and Path("map.svg").is_file()


def test_classes_without_objects_are_told(world: SsdWorld, capsys) -> None:
    only = open_detection_set(database="db_test_lmdb")
    found = [Detection(only.load(0).name, "1", 0.9, (0, 0, 5, 5))]
    tally = score_detections(found, only)
    assert tally.classes == [1, 2, 3]
    tally = DetectionTally([1, 2])
    tally.add(np.array([[1, 0.9, 0, 0, 1, 1]]), np.array([[1, 0, 0, 0, 1, 1, 0]]), (10, 10))
    scores = tally.scores()
    assert scores.objects == {1: 1, 2: 0} and scores.mean() == 0.5


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "needs --model, or --results"),
        (["--model", "deploy.prototxt"], "needs --weights FILE, or --snapshots PREFIX"),
        (["--results", "x.json"], "--results needs the truth"),
        (["--model", "deploy.prototxt", "--weights", "w", "--list", "a", "--db", "b"], "take one of --list and --db"),
        (["--model", "deploy.prototxt", "--weights", "w", "--ap-version", "12point"], "expected 11point, MaxIntegral"),
        (["--model", "deploy.prototxt", "--weights", "w", "--overlap", "1.5"], "--overlap 1.5"),
        (["--model", "deploy.prototxt", "--weights", "w"], "is fed from outside; give --list or --db"),
        (["--results", "labelmap.prototxt", "--db", "db_test_lmdb"], "expected 'name score x1 y1 x2 y2'"),
        (["--results", "nowhere.json", "--db", "db_test_lmdb"], "cannot read the results nowhere.json"),
    ],
)
def test_mistakes(world: SsdWorld, capsys, words: list[str], complaint: str) -> None:
    assert main(["eval", "detection", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_results_must_belong_to_the_data(world: SsdWorld) -> None:
    pictures = open_detection_set(database="db_test_lmdb", label_map="labelmap.prototxt")
    with pytest.raises(CaffeCompatError, match="1 pictures that the data set does not have"):
        score_detections([Detection("other", "bird", 1, (0, 0, 1, 1))], pictures)
    with pytest.raises(CaffeCompatError, match="class 'zebra'"):
        score_detections([Detection("000000", "zebra", 1, (0, 0, 1, 1))], pictures)


def test_a_label_map_of_other_classes(world: SsdWorld, capsys) -> None:
    other = world.folder / "other.prototxt"
    other.write_text((world.folder / "labelmap.prototxt").read_text().replace("label: 3", "label: 7"))
    words = ("--list", world.write_list(), "--labelmap", other)
    assert main(["eval", "detection", *map(str, (*net_of(world), *words))]) == 2
    assert "has objects of class 7; the net finds classes 1 to 3" in capsys.readouterr().err


def test_caffe_test_prints_the_mean(world: SsdWorld, capsys) -> None:
    words = ["test", "--model", str(world.test), "--weights", str(world.weights), "--iterations", "3"]
    assert main(words) == 0
    assert "]     Test net output #0: detection_eval = 0.469697" in capsys.readouterr().err
    assert main([*words, "--ap-version", "Integral"]) == 0
    assert "detection_eval = 0.433333" in capsys.readouterr().err


def test_a_quantized_net(world: SsdWorld, evaluate, capsys) -> None:
    """The SSD in fixed point is scored like the one in floating point: at 16 bits it finds the same, at 8 nearly."""
    listed = world.write_list()
    pictures = ["--mean", "104,117,123", "--scale", "0.01"]
    for bits in (16, 8):
        words = ["--data-bit", bits, "--weights-bit", bits, *pictures]
        assert main(list(map(str, ["quantize", world.deploy, world.weights, "pictures", f"fixed{bits}", *words]))) == 0
    found = {}
    for bits in (16, 8):
        net = [f"fixed{bits}/quantize_train_test.{end}" for end in ("prototxt", "caffemodel")]
        found[bits] = evaluate(
            "--model", net[0], "--weights", net[1], "--overlap", 0.3, *pictures, "--list", listed
        )["mAP"]["11point"]  # fmt: skip
    assert found[16] == pytest.approx(RECORDED["11point"], abs=0.02)
    assert found[8] == pytest.approx(RECORDED["11point"], abs=0.15)
    capsys.readouterr()
    net = ["-model", "fixed16/quantize_train_test.prototxt", "-weights", "fixed16/quantize_train_test.caffemodel"]
    assert main(["vai_q_caffe", "deploy", *net, "-output_dir", "deployed"]) == 0
    assert Path("deployed/deploy.caffemodel").read_bytes() == Path("fixed16/deploy.caffemodel").read_bytes()
