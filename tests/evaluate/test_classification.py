"""Scores of classification, over lists, databases and a net's own data, and the verb around it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.cli.main import main
from caffecompat.data.preprocess import Preprocess
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.classification import Classifier, score_pictures
from caffecompat.evaluate.labeled_pictures import LabeledPictures
from caffecompat.evaluate.top_k import TopK
from caffecompat.formats import save_caffemodel
from caffecompat.formats.mean import write_mean
from caffecompat.schema import read_net

# The mean of each channel is its class's score: the brightest of B, G, R wins.
DEPLOY = """
name: "brightest"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "pick" type: "InnerProduct" bottom: "mean" top: "pick"
  inner_product_param { num_output: 3 bias_term: false } }
layer { name: "prob" type: "Softmax" bottom: "pick" top: "prob" }
"""
OWN_DATA = """
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  image_data_param { source: "list.txt" batch_size: 3 } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pick" bottom: "label" top: "loss" }
"""


class World:
    """A folder with deploy.prototxt, train_val.prototxt, net.caffemodel and list.txt of seven pictures, one wrong."""

    def __init__(self, folder: Path) -> None:
        lines = DEPLOY.strip().splitlines()
        (folder / "deploy.prototxt").write_text(DEPLOY)
        (folder / "train_val.prototxt").write_text(OWN_DATA + "\n".join(lines[2:-1]) + LOSS)
        self.save(folder / "net.caffemodel", np.eye(3))
        self.classes = [0, 1, 2, 2, 1, 0, 2]
        self.labels = [0, 1, 2, 2, 1, 1, 2]
        for number, best in enumerate(self.classes):
            picture = np.full((8, 8, 3), 20, np.uint8)
            picture[:, :, best] = 60
            cv2.imwrite(str(folder / f"{number}.png"), picture)
        (folder / "list.txt").write_text("".join(f"{i}.png {label}\n" for i, label in enumerate(self.labels)))
        self.counts = np.zeros((3, 3), int)
        np.add.at(self.counts, (self.labels, self.classes), 1)

    @staticmethod
    def save(path: Path, weight: np.ndarray) -> None:
        save_caffemodel(path, read_net(path.parent / "deploy.prototxt"), {"pick": [weight.astype(np.float32)]})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


FLAGS = ["eval", "classification", "--weights", "net.caffemodel", "--top", "1,2", "--json"]


def test_a_list_a_database_and_own_data_agree(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert_imageset", "./", "list.txt", "lmdb"]) == 0
    assert main(["lmdb", "build", "list.txt", "built"]) == 0
    deploy = ["--model", "deploy.prototxt"]
    for data in (
        [*deploy, "--list", "list.txt"],
        [*deploy, "--list", "list.txt", "--batch", "4"],
        [*deploy, "--db", "lmdb"],
        [*deploy, "--db", "built"],
        ["--model", "train_val.prototxt"],
    ):
        capsys.readouterr()
        assert main([*FLAGS, *data]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["pictures"] == 7, "each picture once, although batches go over the end"
        assert (result["confusion"], result["top1"]) == (world.counts.tolist(), 6 / 7)


MIXUP = """
layer { name: "mix" type: "Mixup" bottom: "data" bottom: "label" top: "data" top: "soft"
  mixup_param { num_classes: 3 cutmix_alpha: 1 } }
"""


def test_the_labels_of_a_net_that_mixes_in_training_are_its_datas(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("train_val.prototxt")
    head, body = path.read_text().split('\nlayer { name: "mean"')
    path.write_text(head + MIXUP + 'layer { name: "mean"' + body.replace('"label"', '"soft"'))
    assert main([*FLAGS, "--model", "train_val.prototxt"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["pictures"], result["confusion"]) == (7, world.counts.tolist())


def test_soft_labels_are_no_class_numbers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("soft.h5", "w") as file:
        file["data"], file["label"] = np.zeros((4, 3, 8, 8), "f4"), np.full((4, 3), 1 / 3, "f4")
    Path("soft.txt").write_text("soft.h5\n")
    path = Path("train_val.prototxt")
    body = path.read_text().split('\nlayer { name: "mean"')[1]
    source = 'hdf5_data_param { source: "soft.txt" batch_size: 2 }'
    path.write_text(
        f'layer {{ name: "d" type: "HDF5Data" top: "data" top: "label" {source} }} layer {{ name: "mean"{body}'
    )
    assert main([*FLAGS, "--model", "train_val.prototxt", "--iterations", "2"]) != 0
    assert "the labels 'label' are soft, of shape (2, 3) like the scores" in capsys.readouterr().err


def test_softmax_is_kept_for_people(world: World) -> None:
    classifier = Classifier("deploy.prototxt", "net.caffemodel")
    assert (classifier.scores, classifier.classes) == ("prob", 3)
    scores = classifier.classify(np.zeros((5, 3, 8, 8), np.float32))
    np.testing.assert_allclose(scores, np.full((5, 3), 1 / 3))
    assert Classifier("train_val.prototxt", "net.caffemodel").scores == "pick"


def test_resize_then_the_center(tmp_path: Path, world: World) -> None:
    """Only the center 8x8 of a picture brought to 16x16 is bright in its class's channel."""
    picture = np.full((32, 32, 3), 90, np.uint8)
    picture[8:24, 8:24] = (20, 200, 20)
    picture[:8] = (255, 0, 255)
    cv2.imwrite("framed.png", picture)
    Path("framed.txt").write_text("framed.png 1\n")
    classifier = Classifier("deploy.prototxt", "net.caffemodel")
    pictures = LabeledPictures(list_path="framed.txt", resize=(16, 16), preprocess=Preprocess((10.0,), 0.1, (1.0,)))
    (data, _) = pictures.open((1, 3, 8, 8)).next()
    expected = (np.float32([20, 200, 20]) - 10) * 0.1 - 1
    np.testing.assert_allclose(data[0, :, 4, 4], expected, rtol=1e-5)
    assert score_pictures(classifier, pictures).accuracy() == 1
    std = (2.0, 4.0, 5.0)
    prepared = LabeledPictures(
        list_path="framed.txt", resize=(16, 16), preprocess=Preprocess((10.0,), 0.1, (1.0,), std)
    )
    expected = (np.float32([20, 200, 20]) - 10) * 0.1 / std - 1
    np.testing.assert_allclose(prepared.open((1, 3, 8, 8)).next()[0][0, :, 4, 4], expected, rtol=1e-5)


def test_a_mean_file_is_taken_off_pixel_by_pixel(world: World) -> None:
    mean = np.zeros((3, 8, 8), np.float32)
    mean[2] = 100  # no picture is class 2 after it
    write_mean("mean.binaryproto", mean)
    classifier = Classifier("deploy.prototxt", "net.caffemodel")
    result = score_pictures(classifier, LabeledPictures(list_path="list.txt", mean_file="mean.binaryproto"))
    assert result.counts[:, 2].sum() == 0 and result.total == 7
    with pytest.raises(CaffeCompatError, match="not both"):
        LabeledPictures(list_path="list.txt", mean_file="mean.binaryproto", preprocess=Preprocess((1.0,)))


@given(st.data())
def test_top_k_is_the_accuracy_layers(data: st.DataObject) -> None:
    from caffecompat.layers import Context, layer_class
    from caffecompat.schema import pb

    torch = pytest.importorskip("torch")
    classes, count = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 8))
    k = data.draw(st.integers(1, classes))
    values = st.integers(0, 3)  # few values: many ties
    scores = np.array(data.draw(st.lists(values, min_size=count * classes, max_size=count * classes)), np.float32)
    scores = scores.reshape(count, classes)
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)), np.float32)
    result = TopK(classes, (k,))
    result.add(scores, labels)
    param = pb.LayerParameter(name="acc", type="Accuracy", top=["acc"])
    param.accuracy_param.top_k = k
    layer = layer_class("Accuracy")(param, [scores.shape, labels.shape], Context(pb.TEST))
    assert result.accuracy(k) == pytest.approx(float(layer(torch.from_numpy(scores), torch.from_numpy(labels))))
    assert result.total == count


def test_labels_that_are_no_classes() -> None:
    result = TopK(3, ks=(1, 3))
    result.add(np.float32([[3, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]]), np.array([0, 3, -1, np.nan], np.float32))
    assert result.total == 4 and result.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert result.accuracy(1) == result.accuracy(3) == pytest.approx(1 / 4)
    assert result.outside_text().startswith("3 of 4 labels, the first 3, are no class: the net has 3 (0 to 2)")
    assert result.outside_text().endswith("do the labels count from 1?")


def test_a_label_that_is_no_class_is_named_by_its_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path("list.txt").read_text().splitlines()
    lines[4] = lines[4].rsplit(None, 1)[0] + " 8"
    Path("list.txt").write_text("\n".join(lines) + "\n")
    for data in (["--model", "deploy.prototxt", "--list", "list.txt"], ["--model", "train_val.prototxt"]):
        assert main(["eval", "classification", "--weights", "net.caffemodel", *data]) == 0
        assert "the first 8 (list.txt:5: 4.png), is no class" in capsys.readouterr().err


def test_the_table(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("blue\ngreen\nred\n")
    flags = ["--model", "deploy.prototxt", "--weights", "net.caffemodel", "--list", "list.txt", "--top", "1,2"]
    assert main(["eval", "classification", *flags, "--classes", "names.txt", "--confusion", "m.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["green", "3", "0.6667", "2", "1.0000"]
    assert "  green taken for blue: 1" in lines
    assert lines[-2:] == [
        "top-1    0.8571  (6 of 7 pictures)",
        "top-2    0.8571  (6 of 7 pictures)",
    ], "the two channels that are not the brightest are equal, which counts against the label"
    assert Path("m.csv").read_text() == "1,0,0\n1,2,0\n0,0,3\n"


def test_every_snapshot_is_scored(tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.save(tmp_path / "snap_iter_20.caffemodel", np.roll(np.eye(3), 1, 0))
    world.save(tmp_path / "snap_iter_100.caffemodel", np.eye(3))
    flags = ["--model", "train_val.prototxt", "--snapshots", "snap", "--plot", "curve.svg", "--json"]
    assert main(["eval", "classification", *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["iteration"], row["top1"]) for row in result["snapshots"]] == [(20, 1 / 7), (100, 6 / 7)]
    assert result["best"]["iteration"] == 100 and Path("curve.svg").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "deploy.prototxt"], "is fed from outside; give --list FILE or --db DB"),
        (["--model", "deploy.prototxt", "--list", "list.txt", "--db", "x"], "one of --list and --db"),
        (["--model", "deploy.prototxt", "--list", "list.txt", "--top", "0"], "expected numbers"),
        (["--model", "deploy.prototxt", "--list", "list.txt", "--blob", "data"], "holds no scores of classes"),
        (["--model", "deploy.prototxt", "--db", "list.txt"], "it is a file, not a folder"),
        (["--model", "deploy.prototxt", "--list", "list.txt", "--resize", "4x4"], "larger than the picture"),
    ],
)
def test_mistakes(world: World, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main(["eval", "classification", "--weights", "net.caffemodel", *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "accuracy"),
    [("everpeace-v1/mnist/lenet_iter_10000.caffemodel", 0.9905), ("lenet-v2/lenet_iter_10000.caffemodel", 0.9914)],
)
def test_published_weights_on_mnist(weights: str, accuracy: float, shared: Path, record_property) -> None:
    pytest.importorskip("plyvel")
    real = shared / "real"
    classifier = Classifier(real / "bvlc/examples/mnist/lenet.prototxt", str(real / weights))
    pictures = LabeledPictures(database=str(real / "mnist-leveldb-test"), preprocess=Preprocess(scale=1 / 256))
    result = score_pictures(classifier, pictures, batch=100)
    record_property("measured", f"top-1, {weights}: {result.accuracy():.4f}, original Caffe {accuracy}")
    assert (result.total, result.accuracy()) == (10000, accuracy)
    np.testing.assert_array_equal(
        result.counts.sum(1), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )  # fmt: skip
