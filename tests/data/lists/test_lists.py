"""Lists of data sets laid out as the published ones: they equal the expected ones, line for line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffecompat
from caffecompat.data.lists import cityscapes, coco
from caffecompat.data.lists.listing import ListReport
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.annotations import read_annotations, read_coco
from caffecompat.formats.image_list import read_image_list, read_pair_list
from caffecompat.formats.label_map import read_label_map
from tests import data_set_trees as trees


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _labels(path: str | Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found.ndim == 2 and found.dtype == np.uint8, "gray, eight bits"
    return found


def _voc(name: str) -> str:
    return f"VOC2012/JPEGImages/{name}.jpg VOC2012/Annotations/{name}.xml"


class TestVoc:
    def test_lists_are_the_splits(self, folder: Path) -> None:
        trees.voc2012(folder)
        report = caffecompat.list_voc("VOCdevkit", "lists")
        assert report.lists == {"lists/train.txt": 3, "lists/val.txt": 2, "lists/trainval.txt": 5}
        assert (report.root_folder, report.skipped) == ("VOCdevkit/", [])
        assert _lines("lists/train.txt") == [_voc("2008_000001"), _voc("2007_000001"), _voc("2007_000002")]
        assert _lines("lists/val.txt") == [_voc("2008_000002"), _voc("2007_000003")]
        names = read_label_map("lists/labelmap.prototxt").names
        assert (names[0], names[1], names[15], names[20], len(names)) == (
            "none_of_the_above", "aeroplane", "person", "tvmonitor", 21,
        )  # fmt: skip

    def test_years_follow_each_other(self, folder: Path) -> None:
        year = trees.voc2012(folder)
        trees.voc_xml(folder / "VOCdevkit/VOC2007/Annotations/000005.xml", "dog")
        trees.picture(folder / "VOCdevkit/VOC2007/JPEGImages/000005.jpg")
        trees.text(folder / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt", "000005")
        caffecompat.list_voc(folder, "lists")  # which holds VOCdevkit
        first = "VOCdevkit/VOC2007/JPEGImages/000005.jpg VOCdevkit/VOC2007/Annotations/000005.xml"
        assert _lines("lists/trainval.txt")[0] == first
        assert len(_lines("lists/trainval.txt")) == 6
        caffecompat.list_voc(year, "one")
        assert _lines("one/val.txt")[0] == "JPEGImages/2008_000002.jpg Annotations/2008_000002.xml"

    def test_other_classes_are_those_found(self, folder: Path) -> None:
        trees.voc_xml(trees.voc2012(folder) / "Annotations/2007_000002.xml", "crane")
        caffecompat.list_voc("VOCdevkit", "lists")
        names = read_label_map("lists/labelmap.prototxt").names
        assert names == {0: "none_of_the_above", 1: "crane", 2: "dog", 3: "person"}

    def test_lists_make_a_database(self, folder: Path) -> None:
        trees.voc2012(folder)
        report = caffecompat.list_voc("VOCdevkit", "lists")
        done = caffecompat.convert_annoset(
            report.root_folder, "lists/train.txt", "db", anno_type="detection", label_map="lists/labelmap.prototxt"
        )
        assert (done.written, done.bad) == (3, {})
        [info] = caffecompat.inspect_database("db")
        assert dict(info.labels) == {12: 3, 15: 3}

    def test_what_is_left_out_is_named(self, folder: Path) -> None:
        year = trees.voc2012(folder)
        (year / "JPEGImages/2008_000001.jpg").unlink()
        (year / "JPEGImages/2007_000002.jpg").write_bytes(b"")
        (year / "Annotations/2007_000001.xml").write_text("<annotation>")
        told: list[str] = []
        report = caffecompat.list_voc("VOCdevkit", "lists", on_skip=told.append)
        main = "VOCdevkit/VOC2012/ImageSets/Main"
        assert [why.replace("VOCdevkit/VOC2012/", "") for why in told if f"{main}/train.txt:" in why] == [
            "ImageSets/Main/train.txt:1: JPEGImages/2008_000001.jpg does not exist",
            "ImageSets/Main/train.txt:3: JPEGImages/2007_000002.jpg is empty",
            "ImageSets/Main/train.txt:2: Annotations/2007_000001.xml:1:13: this is not XML: no element found",
        ]
        assert told == report.skipped
        assert "lists/train.txt" not in report.lists and not Path("lists/train.txt").exists()
        Path("lists/train.txt").write_text("of an earlier run\n")
        Path("lists/notes.txt").write_text("mine\n")
        caffecompat.list_voc("VOCdevkit", "lists", force=True)
        assert not Path("lists/train.txt").exists()
        assert _lines("lists/notes.txt") == ["mine"]
        assert _lines("lists/trainval.txt") == [_voc("2007_000003"), _voc("2008_000002")]


class TestVocSegmentation:
    def test_palettes_become_class_numbers(self, folder: Path) -> None:
        trees.voc2012(folder)
        report = caffecompat.list_voc_segmentation("VOCdevkit", "lists")
        assert report.lists == {"lists/train.txt": 2, "lists/val.txt": 1, "lists/trainval.txt": 3}
        line = "VOC2012/JPEGImages/{0}.jpg VOC2012/SegmentationClassRaw/{0}.png"
        assert _lines("lists/train.txt") == [line.format("2007_000001"), line.format("2007_000002")]
        labels = _labels("VOCdevkit/VOC2012/SegmentationClassRaw/2007_000002.png")
        assert [sorted(set(row.tolist())) for row in labels] == [[0], [2], [2], [2], [2], [255]]
        assert _lines("lists/classes.txt")[:2] == ["background", "aeroplane"] and len(_lines("lists/classes.txt")) == 21
        assert (report.made, caffecompat.list_voc_segmentation("VOCdevkit", "again").made) == (3, 0)

    def test_labels_may_lie_elsewhere(self, folder: Path) -> None:
        trees.voc2012(folder)
        report = caffecompat.list_voc_segmentation("VOCdevkit/VOC2012", "lists", labels="made")
        assert not Path("VOCdevkit/VOC2012/SegmentationClassRaw").exists()
        assert report.root_folder == f"{folder}/"
        assert _lines("lists/val.txt") == [
            "VOCdevkit/VOC2012/JPEGImages/2007_000003.jpg made/SegmentationClassRaw/2007_000003.png"
        ]

    def test_a_split_without_labels_is_a_list_of_pictures(self, folder: Path) -> None:
        year = trees.voc2012(folder)
        trees.picture(year / "JPEGImages/2008_000006.jpg")
        trees.text(year / "ImageSets/Segmentation/test.txt", "2008_000006")
        caffecompat.list_voc_segmentation(year, "lists")
        assert _lines("lists/test.txt") == ["JPEGImages/2008_000006.jpg"]
        assert [entry.image for entry in read_pair_list("lists/test.txt", labels=False)] == _lines("lists/test.txt")

    def test_labels_that_cannot_be_made_are_named(self, folder: Path) -> None:
        year = trees.voc2012(folder)
        cv2.imwrite(str(year / "SegmentationClass/2007_000001.png"), np.eye(3, dtype=np.uint8)[None] * 90)
        (year / "SegmentationClass/2007_000002.png").unlink()
        report = caffecompat.list_voc_segmentation(year, "lists")
        assert list(report.lists) == ["lists/val.txt", "lists/trainval.txt"]
        missing = year / "SegmentationClass/2007_000002.png"
        assert report.skipped[0].endswith(f"train.txt:2: {missing} does not exist")
        assert "2007_000001.png shows colors; expected one channel" in report.skipped[-1]
        assert len(report.skipped) == 4  # of train and of trainval


class TestSbd:
    @pytest.fixture(autouse=True)
    def scipy(self) -> None:
        pytest.importorskip("scipy")

    def test_lists_and_labels(self, folder: Path) -> None:
        trees.sbd(folder)
        report = caffecompat.list_sbd("benchmark_RELEASE", "lists")
        assert report.lists == {"lists/train.txt": 2, "lists/val.txt": 2}
        line = "dataset/img/{0}.jpg dataset/cls_png/{0}.png"
        assert _lines("lists/train.txt") == [line.format("2008_000002"), line.format("2007_000003")]
        labels = _labels("benchmark_RELEASE/dataset/cls_png/2007_000003.png")
        assert labels[0].tolist() == [0] * 8 and (labels[1:] == 8).all() and labels.shape == (6, 8)

    def test_trainaug_is_both_without_vocs_val(self, folder: Path) -> None:
        """The rule that gives 10,582 pictures of the real sets."""
        trees.sbd(folder)
        trees.voc2012(folder)
        report = caffecompat.list_sbd(".", "lists")  # the folder that holds both
        of_voc, of_sbd = "VOCdevkit/VOC2012/SegmentationClassRaw", "benchmark_RELEASE/dataset/cls_png"
        labels = {
            "2007_000001": of_voc,  # in both: VOC's own labels
            "2007_000002": of_voc,
            "2008_000001": of_sbd,
            "2008_000002": of_sbd,  # 2007_000003 is of VOC's val
        }
        expected = [f"VOCdevkit/VOC2012/JPEGImages/{key}.jpg {place}/{key}.png" for key, place in labels.items()]
        assert _lines("lists/trainaug.txt") == expected
        assert (report.root_folder, report.skipped) == ("./", [])
        for line in expected:
            assert all(Path(word).is_file() for word in line.split())

    def test_pictures_that_voc_lacks_are_sbds(self, folder: Path) -> None:
        trees.sbd(folder)
        (trees.voc2012(folder) / "JPEGImages/2008_000001.jpg").unlink()
        caffecompat.list_sbd("benchmark_RELEASE", "lists", voc="VOCdevkit")
        assert _lines("lists/trainaug.txt")[2].startswith("benchmark_RELEASE/dataset/img/2008_000001.jpg ")

    def test_damaged_classes_are_left_out(self, folder: Path) -> None:
        from scipy.io import savemat

        base = trees.sbd(folder)
        (base / "cls/2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 300)
        savemat(base / "cls/2008_000001.mat", {"GTinst": 1})
        report = caffecompat.list_sbd(base, "lists")
        assert report.lists == {"lists/train.txt": 1, "lists/val.txt": 1}
        assert "2008_000002.mat is not a .mat file, or damaged" in report.skipped[0]
        assert "2008_000001.mat has no variable GTcls" in report.skipped[1]

    def test_without_scipy_the_extra_is_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trees.sbd(folder)
        monkeypatch.setitem(sys.modules, "scipy", None)
        with pytest.raises(CaffeCompatError, match=r"scipy, which is not installed: pip install 'caffecompat\[sbd\]'"):
            caffecompat.list_sbd("benchmark_RELEASE", "lists")
        assert not Path("lists").exists() and not Path("benchmark_RELEASE/dataset/cls_png").exists()


class TestCityscapes:
    def test_ids_become_train_ids(self, folder: Path) -> None:
        base = trees.cityscapes(folder)
        report = caffecompat.list_cityscapes("cityscapes", "lists")
        assert (report.lists, report.made) == ({"lists/train.txt": 2, "lists/val.txt": 1}, 3)
        line = "leftImg8bit/train/{1}/{0}_leftImg8bit.png gtFine/train/{1}/{0}_gtFine_labelTrainIds.png"
        assert _lines("lists/train.txt") == [
            line.format("aachen_000000_000019", "aachen"),
            line.format("ulm_000001_000019", "ulm"),
        ]
        ids = np.arange(48).reshape(6, 8) % 34
        trained = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
        expected = np.vectorize(lambda key: trained.index(key) if key in trained else 255)(ids)
        made = _labels(base / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png")
        assert (made == expected).all()
        names = _lines("lists/classes.txt")
        assert (len(names), names[0], names[13], names[18]) == (19, "road", "car", "bicycle")

    def test_train_ids_that_are_there_are_kept(self, folder: Path) -> None:
        base = trees.cityscapes(folder)
        there = base / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelTrainIds.png"
        there.write_bytes(b"as it was")
        (base / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png").unlink()
        report = caffecompat.list_cityscapes("cityscapes", "lists", labels="made")
        assert there.read_bytes() == b"as it was"
        assert _lines("lists/val.txt")[0].endswith(f" {there.relative_to(folder)}")
        assert _lines("lists/train.txt")[0].endswith(
            " made/gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png"
        )
        assert (report.made, report.skipped) == (2, [])

    def test_a_split_without_labels_is_a_list_of_pictures(self, folder: Path) -> None:
        base = trees.cityscapes(folder)
        trees.picture(base / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
        caffecompat.list_cityscapes("cityscapes", "lists")
        assert _lines("lists/test.txt") == ["leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png"]

    def test_what_is_left_out_is_named(self, folder: Path) -> None:
        base = trees.cityscapes(folder)
        (base / "leftImg8bit/train/ulm/Thumbs.db").write_bytes(b"x")
        (base / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png").unlink()
        cv2.imwrite(
            str(base / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"), np.full((6, 8), 70, np.uint8)
        )
        report = caffecompat.list_cityscapes("cityscapes", "lists")
        assert list(report.lists) == ["lists/val.txt"]
        assert [why.rpartition("/")[2] for why in report.skipped] == [
            "Thumbs.db: its name does not end in _leftImg8bit.png",
            "ulm_000001_000019_gtFine_labelIds.png does not exist",
            "aachen_000000_000019_gtFine_labelIds.png has the value 70; Cityscapes' label ids are 0 to 33",
        ]

    def test_the_table_is_cityscapes_own(self) -> None:
        assert len(cityscapes._CLASSES) == 19 and (cityscapes._TRAIN_IDS != 255).sum() == 19


class TestCoco:
    def test_lists_and_annotations(self, folder: Path) -> None:
        trees.coco(folder)
        report = caffecompat.list_coco("coco", "lists")
        assert (report.lists, report.made) == ({"lists/train.txt": 2, "lists/val.txt": 1}, 3)
        line = "train2017/{0}.jpg annotations/train2017/{0}.json"
        assert _lines("lists/train.txt") == [line.format(f"{number:012}") for number in (7, 2)]
        written = json.loads(Path("coco/annotations/train2017/000000000002.json").read_text())
        assert written["image"] == {"id": 2, "file_name": "000000000002.jpg", "height": 6, "width": 8}
        assert written["annotation"][0] == {
            "id": 1,
            "category_id": 1,
            "bbox": [1.5, 1, 4.25, 3],
            "iscrowd": 0,
            "area": 12.75,
        }
        assert json.loads(Path("coco/annotations/train2017/000000000007.json").read_text())["annotation"] == []

    def test_the_80_ids_become_1_to_80(self, folder: Path) -> None:
        trees.coco(folder)
        caffecompat.list_coco("coco", "lists")
        labels = read_label_map("lists/labelmap.prototxt")
        numbers = {name: number for number, name in labels.names.items()}
        assert len(numbers) == 81
        assert [numbers[str(key)] for key in (1, 3, 11, 13, 90)] == [1, 3, 11, 12, 80]
        assert (labels.display[12], labels.display[80]) == ("stop sign", "toothbrush")
        assert not {"12", "26", "29", "30", "45", "66", "68", "69", "71", "83"} & numbers.keys()
        assert len(coco._CATEGORIES) == 80 and max(coco._CATEGORIES) == 90

    def test_the_annotations_are_those_of_the_instances(self, folder: Path) -> None:
        base = trees.coco(folder)
        caffecompat.list_coco("coco", "lists")
        numbers = {name: number for number, name in read_label_map("lists/labelmap.prototxt").names.items()}
        whole = read_coco(base / "annotations/instances_val2017.json").pictures[0]
        one = read_annotations(base / "annotations/val2017/000000000003.json", "json", (6, 8), numbers)
        assert (one.objects == whole.annotations("", (6, 8), numbers).objects).all() and len(one.objects) == 4
        report = caffecompat.convert_annoset(
            "coco/", "lists/train.txt", "db", anno_type="detection", label_type="json",
            label_map="lists/labelmap.prototxt",
        )  # fmt: skip
        assert (report.written, report.bad) == (2, {})
        [info] = caffecompat.inspect_database("db")
        assert (dict(info.labels), info.difficult) == ({1: 1, 3: 1, 12: 1, 80: 1}, 1)

    def test_other_categories_are_numbered_by_id(self, folder: Path) -> None:
        trees.coco(folder, {7: "bolt", 2: "nut"})
        caffecompat.list_coco("coco", "lists")
        labels = read_label_map("lists/labelmap.prototxt")
        assert (labels.names, labels.display[2]) == ({0: "none_of_the_above", 1: "2", 2: "7"}, "bolt")

    def test_pictures_may_lie_in_images(self, folder: Path) -> None:
        base = trees.coco(folder)
        (base / "images").mkdir()
        (base / "val2017").rename(base / "images/val2017")
        (base / "train2017").rename(base / "elsewhere")
        report = caffecompat.list_coco("coco", "lists")
        assert _lines("lists/val.txt") == ["images/val2017/000000000003.jpg annotations/val2017/000000000003.json"]
        assert report.skipped == [
            "coco/annotations/instances_train2017.json: there is no folder coco/train2017 or coco/images/train2017 "
            "with its pictures"
        ]

    def test_two_years_have_lists_of_their_own(self, folder: Path) -> None:
        base = trees.coco(folder)
        trees.picture(base / "val2014/000000000003.jpg")
        (base / "annotations/instances_val2014.json").write_bytes(
            (base / "annotations/instances_val2017.json").read_bytes()
        )
        assert list(caffecompat.list_coco("coco", "lists").lists) == [
            "lists/train.txt", "lists/val2014.txt", "lists/val2017.txt",
        ]  # fmt: skip

    def test_names_that_lead_out_are_left_out(self, folder: Path) -> None:
        base = trees.coco(folder)
        path = base / "annotations/instances_val2017.json"
        content = json.loads(path.read_text())
        content["images"].append({"id": 9, "file_name": "../../outside.jpg"})
        content["images"].append({"id": 10, "file_name": "gone.jpg"})
        path.write_text(json.dumps(content))
        skipped = caffecompat.list_coco("coco", "lists").skipped
        assert "'../../outside.jpg' leads out of the folder" in skipped[0]
        assert skipped[1:] == ["coco/val2017/gone.jpg does not exist"]


TRAIN = ["train/n01440764/n01440764_10026.JPEG 0", "train/n01440764/n01440764_9.JPEG 0",
         "train/n01443537/n01443537_2.JPEG 1", "train/n02119789/n02119789_5.JPEG 2"]  # fmt: skip
FLAT = ["val/ILSVRC2012_val_00000001.JPEG 2", "val/ILSVRC2012_val_00000002.JPEG 0"]


class TestImagenet:
    def test_classes_are_sorted_by_wordnet_id(self, folder: Path) -> None:
        base = trees.imagenet(folder)
        trees.text(base / "synset_words.txt", "n02119789 kit fox", "n01440764 tench, Tinca tinca")
        report = caffecompat.list_imagenet("imagenet", "lists")
        assert _lines("lists/train.txt") == TRAIN
        assert _lines("lists/val.txt") == [
            "val/n01440764/ILSVRC2012_val_00000002.JPEG 0",
            "val/n02119789/ILSVRC2012_val_00000001.JPEG 2",
        ]
        assert _lines("lists/synsets.txt") == list(trees.WNIDS)
        assert _lines("lists/classes.txt") == ["tench, Tinca tinca", "n01443537", "kit fox"]
        assert (report.root_folder, report.skipped) == ("imagenet/", [])
        assert [entry.label for entry in read_image_list("lists/train.txt")] == [0, 0, 1, 2]

    @pytest.mark.parametrize("named", [True, False])
    def test_the_development_kit_says_the_classes_of_val(self, folder: Path, named: bool) -> None:
        pytest.importorskip("scipy")
        base = trees.imagenet(folder, flat=True)
        kit = trees.devkit(folder if named else base)
        report = caffecompat.list_imagenet("imagenet", "lists", devkit=kit if named else None)
        assert (_lines("lists/val.txt"), report.skipped) == (FLAT, [])
        assert _lines("lists/classes.txt") == ["tench, Tinca tinca", "goldfish", "kit fox"]

    def test_kaggles_archive(self, folder: Path) -> None:
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
        assert _lines("lists/val.txt") == [f"ILSVRC/Data/CLS-LOC/{line}" for line in FLAT]
        assert _lines("lists/classes.txt")[1] == "name of n01443537"

    def test_what_is_left_out_is_named(self, folder: Path) -> None:
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

    def test_pictures_of_val_that_do_not_fit(self, folder: Path) -> None:
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


Lister = Callable[..., ListReport]
ALL: dict[str, tuple[Callable[[Path], Path], Lister]] = {
    "voc": (trees.voc2012, caffecompat.list_voc),
    "voc-segmentation": (trees.voc2012, caffecompat.list_voc_segmentation),
    "sbd": (trees.sbd, caffecompat.list_sbd),
    "cityscapes": (trees.cityscapes, caffecompat.list_cityscapes),
    "coco": (trees.coco, caffecompat.list_coco),
    "imagenet": (trees.imagenet, caffecompat.list_imagenet),
}


@pytest.mark.parametrize("name", ALL)
class TestEvery:
    @pytest.fixture
    def made(self, name: str, folder: Path) -> tuple[Path, Lister]:
        if name == "sbd":
            pytest.importorskip("scipy")
        make, lister = ALL[name]
        return make(folder), lister

    def test_paths_may_be_absolute(self, made: tuple[Path, Lister], folder: Path) -> None:
        root, lister = made
        root = root.relative_to(folder)
        report = lister(root, "lists", relative=False)
        assert report.root_folder == ""
        for path in report.lists:
            for line in _lines(path):
                assert line.startswith(f"{folder}/{root}/") and Path(line.split()[0]).is_file()

    def test_blanks_in_the_names_of_folders(self, made: tuple[Path, Lister], folder: Path) -> None:
        root, lister = made
        root = root.rename(folder / "my data")
        report = lister("my data", "lists", relative=False)
        for path in report.lists:
            if lister is caffecompat.list_imagenet:
                assert all(Path(entry.path).is_file() for entry in read_image_list(path))
            else:
                assert all(
                    Path(entry.image).is_file() and Path(entry.label).is_file() for entry in read_pair_list(path)
                )

    def test_lists_that_are_there_are_not_written_over(self, made: tuple[Path, Lister]) -> None:
        root, lister = made
        first = lister(root, "lists")
        kept = {path: Path(path).read_text() for path in [*first.lists, *first.files]}
        Path("lists/train.txt").write_text("mine\n")
        with pytest.raises(CaffeCompatError, match=r"lists/train\.txt.*: there already; .* --force"):
            lister(root, "lists")
        assert _lines("lists/train.txt") == ["mine"]
        again = lister(root, "lists", force=True)
        assert {path: Path(path).read_text() for path in [*again.lists, *again.files]} == kept
        assert again.made == 0

    def test_a_wrong_folder_says_what_was_expected(self, name: str, folder: Path) -> None:
        lister = ALL[name][1]
        (folder / "other/things").mkdir(parents=True)
        (folder / "other/notes.txt").write_text("x")
        with pytest.raises(CaffeCompatError) as caught:
            lister("other", "lists")
        assert "other is not laid out as " in str(caught.value) and "\n  expected " in str(caught.value)
        assert str(caught.value).endswith("\n  found notes.txt, things/")
        for root, what in (("nowhere", "there is no such folder"), ("other/notes.txt", "it is a file")):
            with pytest.raises(CaffeCompatError, match=what):
                lister(root, "lists")
        assert not Path("lists").exists()

    def test_nothing_is_left_where_writing_fails(self, made: tuple[Path, Lister], folder: Path) -> None:
        root, lister = made
        before = {path for path in folder.rglob("*") if path.is_file()}
        Path("lists").write_text("a file")
        with pytest.raises(CaffeCompatError, match="lists"):
            lister(root, "lists")
        made_files = {path for path in folder.rglob("*") if path.is_file()} - before - {folder / "lists"}
        assert all(path.stat().st_size and path.suffix in (".png", ".json") for path in made_files)


def test_a_data_sets_own_list_is_not_written_over(folder: Path) -> None:
    pytest.importorskip("scipy")
    base = trees.sbd(folder)
    with pytest.raises(CaffeCompatError, match=r"train\.txt is not written over: it is read as"):
        caffecompat.list_sbd(base, base, force=True)
    assert _lines(f"{base}/train.txt") == ["2008_000002", "2007_000003"]


def test_names_that_no_list_can_hold(folder: Path) -> None:
    base = trees.imagenet(folder)
    trees.picture(base / "train/n01443537/a\nb.JPEG")
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert report.skipped == [
        r"'imagenet/train/n01443537/a\nb.JPEG': a list cannot hold a name with a quote or a line end"
    ]


def test_links_that_lead_nowhere_or_in_a_circle_are_left_out(folder: Path) -> None:
    base = trees.imagenet(folder)
    first = base / "train/n01440764"
    expected = caffecompat.list_imagenet("imagenet", "whole").lists["whole/train.txt"]
    (first / "itself").symlink_to("itself")
    (first / "lost.JPEG").symlink_to("/nowhere/lost.JPEG")
    (first / "round.JPEG").symlink_to("round.JPEG")
    (first / "up").symlink_to("..")
    (first / "here").symlink_to("../../train/n01440764")
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert report.lists["lists/train.txt"] == expected
    assert report.skipped == [
        "imagenet/train/n01440764/here: its name is not that of a picture (.jpeg .jpg .png)",
        "imagenet/train/n01440764/itself: its name is not that of a picture (.jpeg .jpg .png)",
        "imagenet/train/n01440764/lost.JPEG is a link that leads nowhere",
        "imagenet/train/n01440764/round.JPEG is a link that leads nowhere",
        "imagenet/train/n01440764/up: its name is not that of a picture (.jpeg .jpg .png)",
    ]
    voc = trees.voc2012(folder)
    (voc / "JPEGImages/2008_000001.jpg").unlink()
    (voc / "JPEGImages/2008_000001.jpg").symlink_to("2008_000001.jpg")
    skipped = caffecompat.list_voc("VOCdevkit", "voc").skipped
    assert len(skipped) == 2 and all(why.endswith("2008_000001.jpg is a link that leads nowhere") for why in skipped)


def test_linked_folders_are_followed(folder: Path) -> None:
    base = trees.imagenet(folder)
    expected = caffecompat.list_imagenet("imagenet", "whole").lists
    (base / "train/n01440764").rename(folder / "elsewhere")
    (base / "train/n01440764").symlink_to(folder / "elsewhere")
    report = caffecompat.list_imagenet("imagenet", "lists")
    assert list(report.lists.values()) == list(expected.values()) and not report.skipped


def test_sets_without_pictures_say_so(folder: Path) -> None:
    voc = trees.voc2012(folder)
    for path in voc.glob("ImageSets/*/*.txt"):
        path.write_text("\n")
    with pytest.raises(CaffeCompatError, match=r"no picture can be listed: .*Main/train\.txt.* name none$"):
        caffecompat.list_voc("VOCdevkit", "lists")
    assert not Path("lists").exists()


@pytest.mark.parametrize("data_set", ["voc_segmentation", "coco"])
def test_where_the_data_set_cannot_be_written_to_labels_go_elsewhere(folder: Path, data_set: str) -> None:
    if data_set == "coco":
        root, made = trees.coco(folder), "annotations/val2017"
    else:
        root, made = trees.voc2012(folder), "SegmentationClassRaw"
    lister = getattr(caffecompat, f"list_{data_set}")
    (root / made).write_text("a file, so that nobody can write into it")
    with pytest.raises(CaffeCompatError, match=f"{made}.*; --labels DIR puts what is made into another folder"):
        lister(root, "lists")
    assert not Path("lists").exists()
    assert lister(root, "lists", labels="made").made >= 3
