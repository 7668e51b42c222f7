"""Folders for a user's data: what is decided, and what is refused; in tests of the verb they train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from caffecompat.data.database_plan import build_database
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.label_map import read_label_map
from caffecompat.schema import pb, read_net, read_solver
from caffecompat.zoo import NETWORKS
from caffecompat.zoo.new_network import NewNetwork, new_network
from tests import data_set_trees

_BOX = (
    "<annotation><size><width>{0}</width><height>{1}</height><depth>3</depth></size><object><name>{2}</name>"
    "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pictures of 48x40 of three classes; a list of classes, one of pairs, one of boxes."""
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    lines: dict[str, list[str]] = {"listed": [], "pairs": [], "boxes": []}
    for at in range(12):
        picture = np.full((40, 48, 3), (20 * at, 100, 30), np.uint8)
        cv2.imwrite(f"pictures/{at}.png", picture)
        cv2.imwrite(f"pictures/{at}_labels.png", np.full((40, 48), (at % 3, 255)[at == 3], np.uint8))
        Path(f"pictures/{at}.xml").write_text(_BOX.format(48, 40, ("cat", "dog")[at % 2]))
        lines["listed"].append(f"pictures/{at}.png {at % 3}\n")
        lines["pairs"].append(f"pictures/{at}.png pictures/{at}_labels.png\n")
        lines["boxes"].append(f"pictures/{at}.png pictures/{at}.xml\n")
    for name, text in lines.items():
        Path(f"{name}.txt").write_text("".join(text))
    return tmp_path


def _data(name: str, phase: int) -> pb.LayerParameter:
    layers = read_net(f"{name}/train_val.prototxt").layer
    return next(layer for layer in layers if not layer.bottom and layer.include[0].phase == phase)


def _classes(made: NewNetwork) -> int:
    return made.recipe.classes


def test_iterations_are_the_published_passes() -> None:
    made = new_network("resnet18", "net", train="listed.txt", classes=3)
    solver = read_solver("net/solver.prototxt")
    published = NETWORKS["resnet18"].recipe
    passes = published.max_iter * 256 / 1_281_167
    assert solver.max_iter == round(passes * 12 / 256) == 4
    assert list(solver.stepvalue) == [1, 2]
    assert (solver.iter_size, made.recipe.batch_size) == (8, 32)
    assert any("90 passes over 12 pictures" in note for note in made.notes)


def test_batches_of_another_size_keep_the_pictures_of_an_update() -> None:
    made = new_network("resnet18", "net", train="listed.txt", classes=3, batch=64, size=(32, 32))
    assert (made.recipe.batch_size, made.recipe.iter_size) == (64, 4)
    assert not any("may have to change" in note for note in made.notes)
    made = new_network("resnet18", "other", train="listed.txt", classes=3, batch=48)
    assert (made.recipe.batch_size, made.recipe.iter_size) == (48, 5)
    assert any("240 pictures, published 256" in note for note in made.notes)


@pytest.mark.parametrize(("records", "batch", "expected"), [(12, None, (12, 1)), (12, 5, (4, 3)), (11, 4, (4, 3))])
def test_a_test_sees_each_picture_once_where_it_can(records: int, batch: int | None, expected: tuple[int, int]) -> None:
    Path("val.txt").write_text("".join(Path("listed.txt").read_text().splitlines(True)[:records]))
    made = new_network("lenet", "net", train="listed.txt", val="val.txt", batch=batch)
    assert (made.recipe.test_batch_size, made.recipe.test_iter) == expected


def test_without_data_there_are_placeholders() -> None:
    made = new_network("espnet", "net", classes=5)
    assert _data("net", pb.TRAIN).image_data_param.source == "data/train.txt"
    assert read_solver("net/solver.prototxt").max_iter == NETWORKS["espnet"].recipe.max_iter
    assert any("no data yet" in note for note in made.notes)
    new_network("jdetnet", "boxes", classes=5)
    assert _data("boxes", pb.TEST).data_param.source == "data/val_lmdb"


def test_without_pictures_to_test_with_those_to_train_on_are_read() -> None:
    made = new_network("lenet", "net", train="listed.txt")
    assert _data("net", pb.TEST).image_data_param.source == "listed.txt"
    assert any("--val" in note for note in made.notes)


def test_classes_of_lists() -> None:
    assert _classes(new_network("lenet", "a", train="listed.txt")) == 3
    assert Path("a/labels.txt").read_text() == "class0\nclass1\nclass2\n"
    assert _classes(new_network("espnet", "b", train="pairs.txt", size=(40, 48))) == 3, "255 is ignored"
    Path("labels.txt").write_text("cat\ndog\ncow\nfox\n")
    assert _classes(new_network("lenet", "c", train="listed.txt")) == 4
    assert _classes(new_network("lenet", "d", train="listed.txt", classes=5)) == 5
    assert Path("d/labels.txt").read_text() == "cat\ndog\ncow\nfox\nclass4\n"
    assert _classes(new_network("lenet", "e", train="listed.txt", labels="labels.txt")) == 4


@pytest.mark.parametrize(("given", "count"), [(None, 3), (3, 3), (2, 3), (6, 6)])
def test_the_background_is_one_of_the_classes(given: int | None, count: int) -> None:
    made = new_network("jdetnet", "net", train="boxes.txt", classes=given, size=(64, 64))
    assert _classes(made) == count
    names = read_label_map("net/labelmap.prototxt").display
    assert [names[at] for at in range(3)] == ["background", "cat", "dog"] and len(names) == count
    loss = next(layer for layer in read_net("net/train_val.prototxt").layer if layer.type == "MultiBoxLoss")
    assert loss.multibox_loss_param.num_classes == count
    assert _data("net", pb.TRAIN).annotated_data_param.label_map_file == "net/labelmap.prototxt"


@pytest.mark.parametrize(("given", "note"), [(5, "3 of 5 classes"), (2, "")])
def test_names_that_are_made_up_are_counted(tmp_path: Path, given: int, note: str) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    made = new_network("lenet", tmp_path / "net", classes=given, labels=tmp_path / "names.txt")
    expected = [f"labels.txt has made-up names of {note}: write yours"] if note else []
    assert [line for line in made.notes if "made-up" in line] == expected


def test_databases() -> None:
    build_database("listed.txt", "classes_lmdb", names=("cat", "dog", "cow"), shards=3)
    made = new_network("lenet", "a", train="classes_lmdb")
    layer = _data("a", pb.TRAIN)
    assert (layer.type, layer.data_param.source, _classes(made)) == ("Data", "classes_lmdb", 3)
    assert layer.transform_param.force_gray and layer.transform_param.resize_param.height == 28
    assert Path("a/labels.txt").read_text() == "cat\ndog\ncow\n"
    build_database("listed.txt", "gray_lmdb", color=False, encoding="raw", size=(32, 32))
    made = new_network("resnet18", "b", train="gray_lmdb", size=(32, 32))
    assert list(read_net("b/deploy.prototxt").layer[0].input_param.shape[0].dim) == [1, 1, 32, 32]
    assert len(_data("b", pb.TRAIN).transform_param.mean_value) == 1
    build_database("pairs.txt", "pairs_lmdb")
    made = new_network("unet_lite", "c", train="pairs_lmdb", size=(32, 48))
    assert _data("c", pb.TRAIN).image_label_data_param.label_list_path == "pairs_lmdb/label"
    assert _classes(made) == 3
    build_database("boxes.txt", "boxes_lmdb")
    made = new_network("jdetnet", "d", train="boxes_lmdb", size=(64, 64))
    assert _classes(made) == 3 and len(made.commands) == 3


def test_pictures_are_brought_to_the_size() -> None:
    new_network("unet_lite", "net", train="pairs.txt", size=(32, 48))
    train, test = _data("net", pb.TRAIN), _data("net", pb.TEST)
    assert (test.image_data_param.new_height, test.image_data_param.new_width) == (32, 48)
    assert train.transform_param.crop_size == 32
    new_network("espnet", "as_it_is", train="pairs.txt", size=(40, 48))
    assert not _data("as_it_is", pb.TEST).image_data_param.new_height
    made = new_network("googlenet", "large", train="listed.txt")
    assert _data("large", pb.TRAIN).image_data_param.new_height == 256
    assert (made.recipe.width, made.recipe.crop) == (224, 224)
    assert new_network("googlenet", "crop", train="listed.txt", crop=96).recipe.width == 96
    whole = new_network("googlenet", "whole", train="listed.txt", size=(96, 128))
    assert whole.recipe.crop == 0 and _data("whole", pb.TRAIN).image_data_param.new_width == 128


def test_a_mean_that_is_measured() -> None:
    means = {}
    for network in ("resnet18", "espnet", "vgg16_ssd300"):
        source = {"classification": "listed.txt", "segmentation": "pairs.txt", "detection": "boxes.txt"}
        size = None if network == "vgg16_ssd300" else (40, 48)
        new_network(network, network, train=source[NETWORKS[network].task], size=size, measure_mean=True)
        means[network] = _data(network, pb.TRAIN).transform_param
    blue = np.arange(12) * 20
    for transform in means.values():
        assert list(transform.mean_value) == pytest.approx([blue.mean(), 100, 30])
    assert list(means["resnet18"].std_value) == pytest.approx([round(blue.std(), 3), 1, 1]), "flat channels stay"
    assert means["espnet"].scale == pytest.approx(3 / (round(blue.std(), 3) + 2), abs=1e-6)
    assert not means["vgg16_ssd300"].std_value and means["vgg16_ssd300"].scale == 1
    deployed = read_net("espnet/deploy.prototxt").layer[0].transform_param
    assert (deployed.scale, list(deployed.mean_value)) == (means["espnet"].scale, list(means["espnet"].mean_value))


def test_batch_normalization_of_a_short_training_forgets_its_beginning() -> None:
    new_network("espnet", "net", train="pairs.txt", size=(40, 48))
    norms = [layer for layer in read_net("net/deploy.prototxt").layer if layer.type == "BatchNorm"]
    assert {round(norm.batch_norm_param.moving_average_fraction, 4) for norm in norms} == {
        round(1 - 1 / (read_solver("net/solver.prototxt").max_iter * 10 // 20), 4)
    }


def test_paths_of_lists_may_start_elsewhere(tmp_path: Path) -> None:
    Path("lists").mkdir()
    Path("lists/near.txt").write_text("../pictures/0.png 0\n../pictures/1.png 1\n")
    new_network("lenet", "a", train="lists/near.txt")
    assert _data("a", pb.TRAIN).image_data_param.root_folder == "lists/"
    Path("bare.txt").write_text("0.png 0_labels.png\n1.png 1_labels.png\n")
    made = new_network("espnet", "b", train="bare.txt", root_folder="pictures", size=(40, 48))
    assert _data("b", pb.TRAIN).image_data_param.root_folder == "pictures/"
    assert any("--root-folder pictures/" in command for command in made.commands)
    with pytest.raises(CaffeCompatError, match=r"bare\.txt:1: cannot read 0\.png: .*--root-folder"):
        new_network("espnet", "c", train="bare.txt")


def test_coco_has_a_folder_for_each_set(tmp_path: Path) -> None:
    data_set_trees.coco(tmp_path)
    for root in ("", "coco"):
        made = new_network(
            "jdetnet", f"net{root}", train="coco/annotations/instances_train2017.json",
            val="coco/annotations/instances_val2017.json", root_folder=root, size=(64, 64),
        )  # fmt: skip
        assert [command.partition("--root ")[2].split()[0] for command in made.commands[:2]] == [
            "coco/train2017", "coco/val2017"
        ]  # fmt: skip


def test_a_folder_that_is_not_empty_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("net").mkdir()
    monkeypatch.chdir("net")
    new_network("lenet", ".", train="../listed.txt")  # an empty one is taken
    monkeypatch.chdir("..")
    before = Path("net/solver.prototxt").read_text()
    with pytest.raises(CaffeCompatError, match=r"net is not empty.*--force"):
        new_network("lenet", "net", train="listed.txt", batch=2)
    assert Path("net/solver.prototxt").read_text() == before
    Path("net/notes.txt").write_text("mine")
    new_network("lenet", "net", train="listed.txt", batch=2, force=True)
    assert _data("net", pb.TRAIN).image_data_param.batch_size == 2 and Path("net/notes.txt").exists()
    assert not list(Path().glob(".*"))


def test_inputs_are_not_written_over() -> None:
    Path("net").mkdir()
    Path("net/labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(CaffeCompatError, match="is not written over"):
        new_network("lenet", "net", train="listed.txt", labels="net/labels.txt", force=True)
    assert sorted(path.name for path in Path("net").iterdir()) == ["labels.txt"]


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("lenett", {"classes": 3}, "no network 'lenett'; did you mean lenet"),
    ("lenet", {}, "give --classes N"),
    ("jdetnet", {}, "give --classes N, the background among them"),
    ("jdetnet", {"classes": 1}, "expected 2 at least"),
    ("jdetnet", {"train": "boxes.txt", "classes": 1, "size": (64, 64)}, "2 classes, which are 3 with the background"),
    ("lenet", {"train": "pairs.txt"}, "for segmentation; the network is for classification"),
    ("lenet", {"train": "boxes.txt"}, "for detection; the network is for classification"),
    ("espnet", {"train": "listed.txt"}, "for classification; the network is for segmentation"),
    ("jdetnet", {"train": "pairs.txt"}, "for segmentation; the network is for detection"),
    ("lenet", {"train": "nowhere.txt"}, "nowhere.txt: there is no such list or database"),
    ("lenet", {"train": "pictures"}, "no database at pictures"),
    ("lenet", {"train": "listed.txt", "classes": 2}, r"listed\.txt:3: the class is 2, but 2 classes"),
    ("lenet", {"val": "listed.txt", "classes": 2}, "--train"),
    ("lenet", {"classes": 3, "measure_mean": True}, "--train"),
    ("espnet", {"classes": 3, "size": (100, 50)}, "espnet needs sides that 8 divides"),
    ("espnet", {"classes": 3, "size": (64, 64), "crop": 128}, "--crop 128: pictures of 64x64"),
    ("resnet18", {"classes": 3, "size": (64, 64), "crop": 32}, "--crop 32: the input is 64x64"),
    ("jdetnet", {"classes": 3, "crop": 32}, "--crop"),
]


@pytest.mark.parametrize(("network", "settings", "message"), MISTAKES)
def test_mistakes(network: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):
        new_network(network, "net", **settings)
    assert not Path("net").exists() and not list(Path().glob(".*"))


def _background(text: str) -> None:
    Path("labels.prototxt").write_text(text)
    new_network("jdetnet", "net", train="boxes.txt", labels="labels.prototxt", size=(64, 64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _background('item { name: "cat" label: 0 } item { name: "dog" label: 1 }'), "label 0"),
        (lambda: build_database("pairs.txt", "db") and new_network("lenet", "net", train="db"), "for segmentation"),
        (lambda: build_database("boxes.txt", "db") and new_network("lenet", "net", train="db"), "for detection"),
        (lambda: build_database("listed.txt", "db") and new_network("jdetnet", "net", train="db"), "for classif"),
    ],
)
def test_data_of_another_kind(make: Callable[[], object], message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):
        make()


@pytest.mark.parametrize("database", [False, True])
def test_label_pictures_of_more_classes(database: bool) -> None:
    if database:
        build_database("pairs.txt", "db")
    train = "db" if database else "pairs.txt"
    new_network("espnet", "all", train=train, size=(64, 64))
    count = len(Path("all/labels.txt").read_text().splitlines())
    with pytest.raises(CaffeCompatError, match=f"{train}: label pictures have the class {count - 1}, but"):
        new_network("espnet", "net", train=train, size=(64, 64), classes=count - 1)
    assert not Path("net").exists()
    new_network("espnet", "net", train=train, size=(64, 64), classes=count)
