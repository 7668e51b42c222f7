"""Cityscapes: pictures and fine labels with the 19 classes that are trained."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from caffecompat.data.lists.label_files import label_png, read_labels
from caffecompat.data.lists.listing import LayoutError, Listing, ListReport, OnProgress, OnSkip, Pair, Skipped

__all__ = ["list_cityscapes"]

_PICTURE, _LABEL, _IDS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"
_LARGEST_ID = 33

# Name and id of the classes 0 to 18 (cityscapesScripts, labels.py); the other ids are not trained: 255.
_CLASSES = (
    ("road", 7), ("sidewalk", 8), ("building", 11), ("wall", 12), ("fence", 13), ("pole", 17), ("traffic light", 19),
    ("traffic sign", 20), ("vegetation", 21), ("terrain", 22), ("sky", 23), ("person", 24), ("rider", 25), ("car", 26),
    ("truck", 27), ("bus", 28), ("train", 31), ("motorcycle", 32), ("bicycle", 33),
)  # fmt: skip
_TRAIN_IDS = np.full(256, 255, np.uint8)
_TRAIN_IDS[[number for _, number in _CLASSES]] = np.arange(len(_CLASSES))


def list_cityscapes(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    labels: str | os.PathLike[str] | None = None,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of Cityscapes: 'picture label-picture' lines, as ImageSegData reads them.

    The splits are the folders of leftImg8bit (train, val, test), their pictures in the order of cities and names. Of
    ``*_gtFine_labelIds.png`` come ``*_gtFine_labelTrainIds.png``, whose values are 0 to 18 and 255 for what is not
    trained; those that are there are kept. A split without labels becomes a list of pictures. classes.txt has the 19
    names.

    Args:
        root: the folder with leftImg8bit and gtFine.
        labels: folder for the label pictures; by default they lie next to the labelIds.
        out, relative, force, on_progress, on_skip: as of `list_voc`.

    Raises:
        LayoutError, WriteError: as of `list_voc`.

    >>> import caffecompat
    >>> caffecompat.list_cityscapes("cityscapes", "city_lists").lists
    {'city_lists/train.txt': 2, 'city_lists/val.txt': 1}
    >>> open("city_lists/val.txt").read().split()[1]
    'gtFine/val/bonn/bonn_000000_000019_gtFine_labelTrainIds.png'
    """
    listing = Listing(
        root, out, labels=labels, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip
    )
    base = Path(root)
    splits = [split for split in ("train", "val", "test") if (base / "leftImg8bit" / split).is_dir()]
    if not splits or not (base / "gtFine").is_dir():
        raise LayoutError.of(listing.root, "Cityscapes", "leftImg8bit/train/CITY/*_leftImg8bit.png and "
                             "gtFine/train/CITY/*_gtFine_labelIds.png")  # fmt: skip
    listing.refuse_existing((f"{split}.txt" for split in splits), "classes.txt")
    pairs: list[Pair] = []
    for split in splits:
        frames = _frames(listing, base / "leftImg8bit" / split)
        cities = [base / "gtFine" / split / city for city in dict.fromkeys(city for city, _ in frames)]
        if any(name.endswith((_IDS, _LABEL)) for city in cities for name in listing.files(city)):
            pairs += [_pair(listing, base, split, city, frame) for city, frame in frames]
        else:
            for city, frame in frames:
                listing.add_picture(f"{split}.txt", base / "leftImg8bit" / split / city / f"{frame}{_PICTURE}")
    listing.add_pairs(pairs)
    return listing.write({"classes.txt": "".join(f"{name}\n" for name, _ in _CLASSES)})


def _frames(listing: Listing, folder: Path) -> list[tuple[str, str]]:
    """City and beginning of the names of a split's pictures, in order; other files are reported."""
    frames = []
    for city in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for name in listing.files(city):
            if name.endswith(_PICTURE):
                frames.append((city.name, name.removesuffix(_PICTURE)))
            else:
                listing.skip(f"{city / name}: its name does not end in {_PICTURE}")
    return frames


def _pair(listing: Listing, base: Path, split: str, city: str, frame: str) -> Pair:
    folder = base / "gtFine" / split / city
    there = folder / f"{frame}{_LABEL}"
    return Pair(
        f"{split}.txt",
        base / "leftImg8bit" / split / city / f"{frame}{_PICTURE}",
        there if listing.has(there) else listing.made_path(there),
        folder / f"{frame}{_IDS}",
        _train_ids,
    )


def _train_ids(path: Path) -> bytes:
    """A gray PNG of the trained classes of a picture of label ids.

    Raises:
        Skipped: it cannot be read, or has values that are no label ids.
    """
    ids = read_labels(path)
    wrong = ids[(ids > _LARGEST_ID) & (ids != 255)]
    if wrong.size:
        raise Skipped(f"{path} has the value {wrong.max()}; Cityscapes' label ids are 0 to {_LARGEST_ID}")
    return label_png(_TRAIN_IDS[ids])
