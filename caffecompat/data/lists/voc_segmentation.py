"""Pascal VOC for segmentation: pictures and class numbers of their pixels."""

from __future__ import annotations

import os
from pathlib import Path

from caffecompat.data.lists.label_files import label_png, read_labels
from caffecompat.data.lists.listing import LayoutError, Listing, ListReport, OnProgress, OnSkip, Pair
from caffecompat.data.lists.voc import SPLITS, VOC_CLASSES
from caffecompat.data.voc_folders import voc_folders

__all__ = ["CLASS_NAMES", "list_voc_segmentation", "voc_pair"]

CLASS_NAMES = "".join(f"{name}\n" for name in ("background", *VOC_CLASSES))
_INDICES = "SegmentationClassRaw"  # as DeepLab's scripts call the folder


def list_voc_segmentation(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    labels: str | os.PathLike[str] | None = None,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of Pascal VOC for segmentation: 'picture label-picture' lines, as ImageSegData reads them.

    The splits are those of ImageSets/Segmentation. The palette pictures of SegmentationClass become gray ones whose
    values are the class numbers, 0 to 20 and 255 for borders, in SegmentationClassRaw; those that are there are kept.
    A split without any labels (VOC2012's test) becomes a list of pictures. classes.txt has the 21 names.

    Args:
        root: a year (VOC2012), or a folder of years (VOCdevkit).
        labels: folder for the label pictures; by default they lie next to SegmentationClass.
        out, relative, force, on_progress, on_skip: as of `list_voc`.

    Raises:
        LayoutError, WriteError: as of `list_voc`.

    >>> import caffecompat
    >>> report = caffecompat.list_voc_segmentation("VOCdevkit/VOC2012", "seg_lists")
    >>> (report.lists, report.made)
    ({'seg_lists/train.txt': 2, 'seg_lists/val.txt': 1, 'seg_lists/trainval.txt': 3}, 3)
    >>> open("seg_lists/val.txt").read()
    'JPEGImages/2007_000003.jpg SegmentationClassRaw/2007_000003.png\\n'
    """
    listing = Listing(
        root, out, labels=labels, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip
    )
    years = voc_folders(root, "SegmentationClass", "JPEGImages")
    splits = [(split, path) for split in SPLITS for year in years
              if (path := year / "ImageSets/Segmentation" / f"{split}.txt").is_file()]  # fmt: skip
    if not splits:
        raise LayoutError.of(
            listing.root, "Pascal VOC for segmentation",
            "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/train.txt",
            "folders of years (VOC2007/, VOC2012/) that have these",
        )  # fmt: skip
    listing.refuse_existing((f"{split}.txt" for split, _ in splits), "classes.txt")
    pairs: list[Pair] = []
    for split, path in splits:
        year = path.parents[2]
        names = listing.names(path)
        if any(f"{name}.png" in listing.files(year / "SegmentationClass") for name, _ in names):
            pairs += [voc_pair(listing, f"{split}.txt", year, name, line) for name, line in names]
        else:
            for name, line in names:
                listing.add_picture(f"{split}.txt", year / "JPEGImages" / f"{name}.jpg", line=line)
    listing.add_pairs(pairs)
    return listing.write({"classes.txt": CLASS_NAMES})


def voc_pair(listing: Listing, target: str, year: Path, name: str, line: str) -> Pair:
    """A picture of a year of VOC with its class numbers, for the list `target`."""
    return Pair(
        target,
        year / "JPEGImages" / f"{name}.jpg",
        listing.made_path(year / _INDICES / f"{name}.png"),
        year / "SegmentationClass" / f"{name}.png",
        _index_png,
        line,
    )


def _index_png(palette: Path) -> bytes:
    return label_png(read_labels(palette))
