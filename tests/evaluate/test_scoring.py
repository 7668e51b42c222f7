"""Scoring over lists, databases and a net's own data, and the verb around it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.data.preprocess import Preprocess
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate import ConfusionMatrix, Segmenter
from caffecompat.evaluate.scored_net import own_records
from caffecompat.evaluate.segmentation import ListPairs, score_own_data, score_pairs
from tests.evaluate.world import World


def _expected(world: World, count: int = 3) -> np.ndarray:
    matrix = ConfusionMatrix(3)
    for labels, predictions in zip(world.labels[:count], world.predictions[:count], strict=True):
        matrix.add(labels, predictions)
    return matrix.counts


def test_a_list(world: World) -> None:
    segmenter = Segmenter(world.deploy, str(world.weights))
    assert segmenter.scores == "scores"
    assert [layer.type for layer in segmenter.net.layers] == ["Input", "Convolution"]
    matrix = score_pairs(segmenter, ListPairs(str(world.list)), Preprocess())
    np.testing.assert_array_equal(matrix.counts, _expected(world))


def test_a_nets_own_data_counts_each_record_once(world: World) -> None:
    """Three records in batches of two: the second batch's last one comes again from the beginning."""
    segmenter = Segmenter(world.train_val, str(world.weights))
    assert segmenter.labels == "label"
    assert own_records(segmenter) == (3, 2)
    matrix = score_own_data(segmenter, 2, records=3)
    np.testing.assert_array_equal(matrix.counts, _expected(world))


@pytest.mark.parametrize("resize", ["classes", "scores", "labels"])
def test_scores_of_another_size(tmp_path, monkeypatch: pytest.MonkeyPatch, resize: str) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path, stride=2, wrong=0)
    segmenter = Segmenter(world.deploy, str(world.weights))
    matrix = score_pairs(segmenter, ListPairs(str(world.list)), Preprocess(), resize=resize)
    expected = ConfusionMatrix(3)
    for labels, predictions in zip(world.labels, world.predictions, strict=True):
        small = predictions[::2, ::2]
        if resize == "labels":
            expected.add(labels[::2, ::2], small)
        elif resize == "classes":
            expected.add(labels, small.repeat(2, 0).repeat(2, 1))
    if resize == "scores":
        assert matrix.counts.sum() == 3 * 127
        assert 0.3 < matrix.pixel_accuracy() < 1
    else:
        np.testing.assert_array_equal(matrix.counts, expected.counts)


def test_the_input_is_resized_and_its_size_can_be_changed(world: World) -> None:
    large = cv2.resize(cv2.imread("0.png"), (32, 16), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite("large.png", large)
    segmenter = Segmenter(world.deploy, str(world.weights))
    assert segmenter.classify(large, Preprocess()).shape == (8, 16)
    wide = Segmenter(world.deploy, str(world.weights), size=(16, 32))
    np.testing.assert_array_equal(wide.classify(large, Preprocess()), world.predictions[0].repeat(2, 0).repeat(2, 1))


def test_preprocessing_is_caffes_formula_then_subtract() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    divided = Preprocess((73, 82, 72), 0.5, (0.1,), (57, 58, 59))(picture, 4, 6)
    resized = cv2.resize(picture.astype(np.float32), (6, 4))
    wanted = (resized - (73, 82, 72)) * 0.5 / (57, 58, 59) - 0.1
    np.testing.assert_allclose(divided[0].transpose(1, 2, 0), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(CaffeCompatError, match=r"2 std value\(s\) for 3"):
        Preprocess(std=(1, 2))(picture, 4, 6)
    with pytest.raises(CaffeCompatError, match="expected numbers above 0"):
        Preprocess(std=(0,))
    batch = Preprocess((73, 82, 72), 0.022, (0.1, 0.2, 0.3))(picture, 4, 6)
    expected = (picture - np.float32([73, 82, 72])) * np.float32(0.022) - np.float32([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(batch[0].transpose(1, 2, 0), expected)
    with pytest.raises(CaffeCompatError, match=r"2 mean value\(s\) for 3"):
        Preprocess((1, 2))(picture, 4, 6)


def test_the_verb_prints_a_table(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "names.txt").write_text("red\ngreen\n")
    flags = ["--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--list", "list.txt"]
    assert main(["eval", "segmentation", *flags, "--classes", "names.txt"]) == 0
    matrix = ConfusionMatrix(3)
    matrix.counts += _expected(world)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["red", f"{matrix.iou()[0]:.4f}", str(matrix.labeled[0]), str(matrix.predicted[0])]
    assert lines[3].split()[0] == "2"
    assert lines[5].startswith(f"mIoU            {matrix.miou():.4f}")
    assert lines[8].startswith(f"pixel accuracy  {matrix.pixel_accuracy():.4f}  (of 381 ")


def test_databases_give_the_same_as_the_list(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "names.txt").write_text("red\ngreen\nblue\n")
    assert main(["lmdb", "build", "list.txt", "city", "--names", "names.txt"]) == 0
    flags = ["--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--json"]
    results = []
    capsys.readouterr()
    for data in (["--list", "list.txt"], ["--db", "city"], ["--images-db", "city/image", "--labels-db", "city/label"]):
        assert main(["eval", "segmentation", *flags, *data]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["miou"] == results[1]["miou"] == results[2]["miou"]
    assert [row["name"] for row in results[1]["classes"]] == ["red", "green", "blue"]
    assert main(["eval", "segmentation", *flags, "--list", "list.txt", "--iterations", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["pixels"] == 127


def test_every_snapshot_is_scored(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    from caffecompat.formats import save_caffemodel
    from caffecompat.schema import read_net

    net = read_net(world.deploy)
    for iteration in (100, 20):
        blob = np.roll(np.eye(3, dtype=np.float32), 1 if iteration == 20 else 0, 0).reshape(3, 3, 1, 1)
        save_caffemodel(f"snap_iter_{iteration}.caffemodel", net, {"pick": [blob]})
    flags = ["--model", "deploy.prototxt", "--snapshots", "snap", "--list", "list.txt", "--plot", "curve.svg"]
    assert main(["eval", "segmentation", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["20", "100"]
    assert float(lines[1].split()[1]) < float(lines[2].split()[1])
    assert "at iteration 100 (snap_iter_100.caffemodel)" in lines[3]
    assert (world.folder / "curve.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--list", "list.txt", "--weights", "copy.caffemodel"], "needs --model"),
        (["--model", "deploy.prototxt", "--list", "list.txt"], "--weights FILE, or --snapshots"),
        (["--model", "deploy.prototxt", "--weights", "copy.caffemodel"], "fed from outside; give --list"),
        (
            ["--model", "deploy.prototxt", "--snapshots", "nothing", "--list", "list.txt"],
            "no nothing_iter_N.caffemodel",
        ),
        (
            ["--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--list", "list.txt", "--blob", "x"],
            "no blob 'x'",
        ),
    ],
)
def test_wrong_flags(world: World, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main(["eval", "segmentation", *flags]) == 2
    assert message in capsys.readouterr().err


def test_labels_that_are_no_class_count_as_wrong(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["eval", "segmentation", "--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--list", "list.txt"]
    label = cv2.imread("1_label.png", cv2.IMREAD_UNCHANGED)
    assert label[3, 3] < 3
    capsys.readouterr()
    assert main([*flags, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    label[3, 3] = 9
    cv2.imwrite("1_label.png", label)
    assert main([*flags, "--json"]) == 0
    output = capsys.readouterr()
    after = json.loads(output.out)
    assert "list.txt:2: 1.png and maybe others: labels have the value 9 in 1 pixel; the net has 3 classes" in output.err
    assert after["pixels_of_no_class"] == 1 and after["pixels"] == before["pixels"]
    assert 0 <= before["pixel_accuracy"] - after["pixel_accuracy"] <= 1 / before["pixels"] + 1e-9
    assert sum(row["pixels"] for row in after["classes"]) == before["pixels"] - 1


def test_bad_data_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["eval", "segmentation", "--model", "deploy.prototxt", "--weights", "copy.caffemodel", "--list", "list.txt"]
    label = cv2.imread("1_label.png", cv2.IMREAD_UNCHANGED)
    cv2.imwrite("2_label.png", label[:4])
    assert main(flags) == 2
    assert "list.txt:3: 2.png: the picture is 16x8, its labels 16x4" in capsys.readouterr().err
    (world.folder / "1.png").write_bytes((world.folder / "1.png").read_bytes()[:60])
    assert main(flags) == 2
    assert "1.png is not a picture, or cut off" in capsys.readouterr().err
    (world.folder / "0.png").unlink()
    assert main(flags) == 2
    assert "1 of the 6 files are missing:\n  list.txt:1: 0.png does not exist" in capsys.readouterr().err


def test_root_folder_is_put_before_paths(world: World) -> None:
    (world.folder / "data").mkdir()
    for file in world.folder.glob("*.png"):
        file.rename(world.folder / "data" / file.name)
    for root in ("data", "data/"):
        matrix = score_pairs(Segmenter(world.deploy, str(world.weights)), ListPairs("list.txt", root), Preprocess())
        np.testing.assert_array_equal(matrix.counts, _expected(world))
