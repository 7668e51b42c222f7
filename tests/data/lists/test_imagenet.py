"""Lists of ImageNet, its classes from folders, the development kit or Kaggle's archive."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffecompat
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.image_list import read_image_list
from tests import data_set_trees as trees
from tests.data.lists.reading import lines_of

TRAIN = ["train/n01440764/n01440764_10026.JPEG 0", "train/n01440764/n01440764_9.JPEG 0",
         "train/n01443537/n01443537_2.JPEG 1", "train/n02119789/n02119789_5.JPEG 2"]  # fmt: skip
FLAT = ["val/ILSVRC2012_val_00000001.JPEG 2", "val/ILSVRC2012_val_00000002.JPEG 0"]


def test_classes_are_sorted_by_wordnet_id(folder: Path) -> None:
    base = trees.imagenet(folder)
    trees.text(base / "synset_words.txt", "n02119789 kit fox", "n01440764 tench, Tinca tinca")
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert lines_of("lists/train.txt") == TRAIN
    assert lines_of("lists/val.txt") == [
        "val/n01440764/ILSVRC2012_val_00000002.JPEG 0",
        "val/n02119789/ILSVRC2012_val_00000001.JPEG 2",
    ]
    assert lines_of("lists/synsets.txt") == list(trees.WNIDS)
    assert lines_of("lists/classes.txt") == ["tench, Tinca tinca", "n01443537", "kit fox"]
    assert (report.root_folder, report.skipped) == ("imagenet/", [])
    assert [entry.label for entry in read_image_list("lists/train.txt")] == [0, 0, 1, 2]


@pytest.mark.parametrize("named", [True, False])
def test_the_development_kit_says_the_classes_of_val(folder: Path, named: bool) -> None:
    pytest.importorskip("scipy")
    base = trees.imagenet(folder, flat=True)
    kit = trees.devkit(folder if named else base)
    report = caffecompat.list_imagenet("imagenet", "lists", devkit=kit if named else None)
    assert (lines_of("lists/val.txt"), report.skipped) == (FLAT, [])
    assert lines_of("lists/classes.txt") == ["tench, Tinca tinca", "goldfish", "kit fox"]


def test_kaggles_archive(folder: Path) -> None:
    base = trees.imagenet(folder, flat=True)
    (folder / "kaggle/ILSVRC/Data").mkdir(parents=True)
    base.rename(folder / "kaggle/ILSVRC/Data/CLS-LOC")
    trees.text(folder / "kaggle/LOC_synset_mapping.txt", *(f"{wnid} name of {wnid}" for wnid in trees.WNIDS))
    trees.text(
        folder / "kaggle/LOC_val_solution.csv", "ImageId,PredictionString",
        "ILSVRC2012_val_00000002,n01440764 1 2 3 4 n01440764 1 2 3 4 ",
        "ILSVRC2012_val_00000001,n02119789 1 2 3 4 ",
    )  # fmt: skip
    caffecompat.list_imagenet("kaggle", "lists")
    assert lines_of("lists/val.txt") == [f"ILSVRC/Data/CLS-LOC/{line}" for line in FLAT]
    assert lines_of("lists/classes.txt")[1] == "name of n01443537"


def test_what_is_left_out_is_named(folder: Path) -> None:
    base = trees.imagenet(folder, flat=True)
    (base / "train/n01443537/notes.txt").write_text("x")
    (base / "train/n01440764/n01440764_9.JPEG").write_bytes(b"")
    (base / "train/lost+found").mkdir()
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert report.lists == {"lists/train.txt": 3}
    assert [why.removeprefix("imagenet/") for why in report.skipped] == [
        "train/lost+found: expected folders of classes, nXXXXXXXX",
        "train/n01440764/n01440764_9.JPEG is empty",
        "train/n01443537/notes.txt: its name is not that of a picture (.jpeg .jpg .png)",
        "val: its pictures lie in no folders of classes, and nothing says their classes; expected "
        "ILSVRC2012_devkit_t12 (name it with --devkit) or LOC_val_solution.csv in imagenet",
    ]


def test_pictures_of_val_that_do_not_fit(folder: Path) -> None:
    pytest.importorskip("scipy")
    base = trees.imagenet(folder, flat=True)
    kit = trees.devkit(base)
    trees.text(kit / "data/ILSVRC2012_validation_ground_truth.txt", "1", "1001", "2", "2")
    trees.picture(base / "val/ILSVRC2012_val_00000009.JPEG")
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert report.lists["lists/val.txt"] == 1
    assert [why.removeprefix("imagenet/val") for why in report.skipped] == [
        ": 2 of 4 pictures are not there: ILSVRC2012_val_00000003, ILSVRC2012_val_00000004",
        "/ILSVRC2012_val_00000002.JPEG: train has no class n1",
        "/ILSVRC2012_val_00000009.JPEG: the development kit does not say its class",
    ]
    trees.text(kit / "data/ILSVRC2012_validation_ground_truth.txt", "1", "x")
    with pytest.raises(CaffeCompatError, match=r"ground_truth\.txt:2: expected a number of a class in meta\.mat"):
        caffecompat.list_imagenet("imagenet", "lists", force=True)
