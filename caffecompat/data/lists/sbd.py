"""The Semantic Boundaries Dataset (Hariharan et al., ICCV 2011), alone and joined with Pascal VOC 2012."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from caffecompat.data.lists.label_files import label_png
from caffecompat.data.lists.listing import LayoutError, Listing, ListReport, OnProgress, OnSkip, Pair, Skipped
from caffecompat.data.lists.voc_segmentation import CLASS_NAMES, voc_pair
from caffecompat.data.voc_folders import voc_folders
from caffecompat.formats.mat_file import MatError, need_scipy, read_mat

__all__ = ["list_sbd"]

_PLACES = ("", "dataset", "benchmark_RELEASE/dataset", "benchmark/benchmark_RELEASE/dataset")
_INDICES = "cls_png"


def list_sbd(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    voc: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of the Semantic Boundaries Dataset: 'picture label-picture' lines, as ImageSegData reads them.

    The classes of pixels, GTcls.Segmentation of ``cls/*.mat``, become gray PNGs in cls_png. With Pascal VOC 2012 comes
    trainaug.txt: the pictures of SBD's train and val and of VOC's train, without those of VOC's val, in the order of
    their names (10,582 of the real sets). What VOC labels itself has VOC's labels, and pictures are VOC's where VOC has
    them.

    Args:
        root: the folder with img, cls, train.txt and val.txt (benchmark_RELEASE/dataset), or one that holds it.
        voc: the folder of VOC2012; by default it is looked for in `root`, and there is no trainaug.txt without.
        labels: folder for the label pictures; by default they lie in each data set.
        out, relative, force, on_progress, on_skip: as of `list_voc`.

    Raises:
        LayoutError, WriteError: as of `list_voc`.
        MatError: scipy is not installed.

    >>> import caffecompat
    >>> report = caffecompat.list_sbd("benchmark_RELEASE", "sbd_lists", voc="VOCdevkit/VOC2012")
    >>> {path: count for path, count in report.lists.items() if "aug" in path}
    {'sbd_lists/trainaug.txt': 4}
    """
    listing = Listing(
        root, out, labels=labels, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip
    )
    folder = next((path for path in (Path(root, place) for place in _PLACES) if _is_sbd(path)), None)
    if folder is None:
        raise LayoutError.of(listing.root, "SBD", "cls/, img/, train.txt and val.txt",
                             "dataset/ or benchmark_RELEASE/dataset/ that has these")  # fmt: skip
    year = _voc_folder(listing.root, voc)
    splits = [split for split in ("train", "val") if (folder / f"{split}.txt").is_file()]
    listing.refuse_existing((f"{split}.txt" for split in (*splits, *(["trainaug"] if year else []))), "classes.txt")
    names = {split: listing.names(folder / f"{split}.txt") for split in splits}
    pairs = [_pair(listing, f"{split}.txt", folder, *entry) for split in splits for entry in names[split]]
    if year is not None:
        pairs += _augmented(listing, folder, year, {name: line for split in splits for name, line in names[split]})
    if any(pair.convert is _class_png and not listing.has(pair.label) for pair in pairs):
        need_scipy()
    listing.add_pairs(pairs)
    return listing.write({"classes.txt": CLASS_NAMES})


def _is_sbd(folder: Path) -> bool:
    lists = any((folder / f"{split}.txt").is_file() for split in ("train", "val"))
    return lists and (folder / "cls").is_dir() and (folder / "img").is_dir()


def _voc_folder(root: str, voc: str | os.PathLike[str] | None) -> Path | None:
    """VOC2012's folder: the one that was named, or one in the root folder."""
    years = voc_folders(root if voc is None else voc, "SegmentationClass", "JPEGImages")
    years = [year for year in years if all((year / "ImageSets/Segmentation" / f"{split}.txt").is_file()
                                           for split in ("train", "val"))]  # fmt: skip
    if voc is not None and not years:
        raise LayoutError.of(
            os.fspath(voc), "Pascal VOC 2012 for segmentation",
            "JPEGImages/, SegmentationClass/ and train.txt and val.txt in ImageSets/Segmentation/",
        )  # fmt: skip
    return next((year for year in years if year.name == "VOC2012"), years[-1] if years else None)


def _pair(listing: Listing, target: str, folder: Path, name: str, line: str) -> Pair:
    return Pair(
        target,
        folder / "img" / f"{name}.jpg",
        listing.made_path(folder / _INDICES / f"{name}.png"),
        folder / "cls" / f"{name}.mat",
        _class_png,
        line,
    )


def _augmented(listing: Listing, folder: Path, year: Path, of_sbd: dict[str, str]) -> list[Pair]:
    """SBD's pictures and VOC's train without VOC's val, in the order of their names."""
    of_voc = dict(listing.names(year / "ImageSets/Segmentation/train.txt"))
    held_out = {name for name, _ in listing.names(year / "ImageSets/Segmentation/val.txt")}
    pairs = []
    for name in sorted((of_sbd.keys() | of_voc.keys()) - held_out):
        if name in of_voc:
            pairs.append(voc_pair(listing, "trainaug.txt", year, name, of_voc[name]))
            continue
        pair = _pair(listing, "trainaug.txt", folder, name, of_sbd[name])
        if f"{name}.jpg" in listing.files(year / "JPEGImages"):
            pair = pair._replace(picture=year / "JPEGImages" / f"{name}.jpg")
        pairs.append(pair)
    return pairs


def _class_png(path: Path) -> bytes:
    """A gray PNG of the classes of pixels in one of SBD's .mat files.

    Raises:
        Skipped: it cannot be read, or holds no such classes.
    """
    try:
        classes = read_mat(path, "GTcls", "Segmentation")
    except MatError as problem:
        raise Skipped(str(problem)) from None
    if classes.ndim != 2 or classes.dtype.kind not in "iuf" or not classes.size:
        raise Skipped(f"{path}: GTcls.Segmentation is no picture of class numbers: {classes.dtype} {classes.shape}")
    if classes.min() < 0 or classes.max() > 255:
        raise Skipped(f"{path}: GTcls.Segmentation has the value {classes.max()}; expected class numbers up to 255")
    return label_png(classes.astype(np.uint8)[:, :, None])
