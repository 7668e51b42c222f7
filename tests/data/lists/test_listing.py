"""What holds for the lists of every data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import caffecompat
from caffecompat.data.lists.listing import ListReport
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.image_list import read_image_list, read_pair_list
from tests import data_set_trees as trees
from tests.data.lists.reading import lines_of

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
            for line in lines_of(path):
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
        assert lines_of("lists/train.txt") == ["mine"]
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
    assert lines_of(f"{base}/train.txt") == ["2008_000002", "2007_000003"]


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
