"""ImageNet's classification set (ILSVRC 2012): pictures and classes in the order of their WordNet ids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from caffecompat.data.lists.listing import (
    LayoutError,
    Listing,
    ListReport,
    OnProgress,
    OnSkip,
    Skipped,
    is_folder,
    why_empty,
)  # fmt: skip
from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.mat_file import has_scipy, read_mat_table
from caffecompat.wording import few

__all__ = ["list_imagenet"]

_PLACES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # of train and val; the latter are those of Kaggle's archive
_WNID = re.compile(r"n\d{8}")
_ENDINGS = (".jpeg", ".jpg", ".png")
_DEVKITS = ("ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12/ILSVRC2012_devkit_t12", "devkit", "")
_TRUTH, _META = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"
_NAMES = ("synset_words.txt", "LOC_synset_mapping.txt", "words.txt")


def list_imagenet(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] = ".",
    *,
    devkit: str | os.PathLike[str] | None = None,
    relative: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
    on_skip: OnSkip = lambda why: None,
) -> ListReport:
    """Write lists of ImageNet: 'picture class' lines, as ImageData and convert_imageset read them.

    Classes count from 0 in the order of the WordNet ids (n01440764, ...), as in Caffe's own lists; synsets.txt has the
    ids, and classes.txt the names where a file of them is there (synset_words.txt, LOC_synset_mapping.txt, words.txt).
    Lists are sorted by class and name. The pictures of val lie in folders of classes, or all in one: then the
    development kit, or Kaggle's LOC_val_solution.csv, says their classes.

    Args:
        root: the folder with train and val, or Kaggle's with ILSVRC.
        devkit: the folder ILSVRC2012_devkit_t12; by default it is looked for in `root`.
        out, relative, force, on_progress, on_skip: as of `list_voc`; progress counts folders of classes.

    Raises:
        LayoutError, WriteError: as of `list_voc`.
        MatError: the development kit is needed, and it cannot be read or scipy is not installed.

    >>> import caffecompat
    >>> caffecompat.list_imagenet("imagenet", "imagenet_lists").lists
    {'imagenet_lists/train.txt': 4, 'imagenet_lists/val.txt': 2}
    >>> open("imagenet_lists/val.txt").readline()
    'val/n01440764/ILSVRC2012_val_00000002.JPEG 0\\n'
    """
    listing = Listing(root, out, relative=relative, force=force, on_progress=on_progress, on_skip=on_skip)
    base = next((path for path in (Path(root, place) for place in _PLACES) if _classes(path / "train")), None)
    if base is None:
        raise LayoutError.of(listing.root, "ImageNet", "train/nXXXXXXXX/*.JPEG (and val/)",
                             "Kaggle's ILSVRC/Data/CLS-LOC/train/nXXXXXXXX/*.JPEG")  # fmt: skip
    wnids = _classes(base / "train")
    listing.refuse_existing(("train.txt", "val.txt"), "synsets.txt", "classes.txt")
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    _add_folders(listing, "train.txt", base / "train", numbers)
    if _classes(base / "val"):
        _add_folders(listing, "val.txt", base / "val", numbers)
    elif (base / "val").is_dir():
        _add_flat(listing, base / "val", numbers, None if devkit is None else os.fspath(devkit))
    extras = {"synsets.txt": "".join(f"{wnid}\n" for wnid in wnids)}
    names = _class_names(listing, devkit)
    if names:
        extras["classes.txt"] = "".join(f"{names.get(wnid, wnid)}\n" for wnid in wnids)
    return listing.write(extras)


def _classes(folder: Path) -> list[str]:
    """The WordNet ids that folders are called by, sorted."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _WNID.fullmatch(entry.name) and is_folder(entry))


def _add_folders(listing: Listing, target: str, folder: Path, numbers: Mapping[str, int]) -> None:
    """Add the pictures in folders of classes."""
    wnids = _classes(folder)
    for other in sorted(entry.name for entry in os.scandir(folder) if entry.name not in set(wnids)):
        listing.skip(f"{folder / other}: expected folders of classes, nXXXXXXXX")
    found = ordered_map(lambda wnid: list(_files(folder / wnid)), wnids)
    for done, (wnid, files) in enumerate(zip(wnids, found, strict=True), 1):
        if wnid not in numbers:
            listing.skip(f"{folder / wnid}: train has no such class; its {len(files)} files are left out")
        else:
            for path, size in files:
                _add(listing, target, path, size, numbers[wnid])
        listing.progress(done, len(wnids))


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[tuple[str, int]]:
    """The files below a folder and their sizes in bytes, in the order of their paths.

    A link to one of the folders `above` counts as an empty file: it would be followed without end.
    """
    real = Path(os.path.realpath(folder))
    above |= {real, *real.parents}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_folder(entry):
                if entry.is_symlink() and Path(os.path.realpath(entry.path)) in above:
                    yield entry.path, 0
                else:
                    yield from _files(Path(entry.path), above)
            else:
                yield entry.path, entry.stat().st_size if os.path.exists(entry.path) else 0


def _add(listing: Listing, target: str, path: str, size: int, number: int) -> None:
    try:
        if not path.lower().endswith(_ENDINGS):
            raise Skipped(f"{path}: its name is not that of a picture ({' '.join(_ENDINGS)})")
        if not size:
            raise Skipped(f"{path} {why_empty(path)}")
        listing.add(target, path, number)
    except Skipped as why:
        listing.skip(str(why))


def _add_flat(listing: Listing, folder: Path, numbers: Mapping[str, int], devkit: str | None) -> None:
    """Add the pictures of val that lie in one folder, in the order of their names."""
    known = _val_classes(listing, devkit)
    if known is None:
        listing.skip(
            f"{folder}: its pictures lie in no folders of classes, and nothing says their classes; expected "
            f"ILSVRC2012_devkit_t12 (name it with --devkit) or LOC_val_solution.csv in {listing.root}"
        )
        return
    files = list(_files(folder))
    absent = sorted(known.keys() - {Path(path).stem for path, _ in files})
    if absent:
        listing.skip(f"{folder}: {len(absent)} of {len(known)} pictures are not there: {few(absent)}")
    for path, size in files:
        wnid = known.get(Path(path).stem)
        if wnid is None and path.lower().endswith(_ENDINGS):
            listing.skip(f"{path}: the development kit does not say its class")
        elif wnid is not None and wnid not in numbers:
            listing.skip(f"{path}: train has no class {wnid}")
        else:
            _add(listing, "val.txt", path, size, numbers.get(wnid or "", 0))


def _val_classes(listing: Listing, devkit: str | None) -> dict[str, str] | None:
    """WordNet ids by the names of val's pictures without ending; None where nothing says them."""
    solution = Path(listing.root, "LOC_val_solution.csv")
    kit = _devkit(listing, devkit)
    if kit is None:
        return _solution(solution) if solution.is_file() else None
    wnids = {int(number): str(wnid) for number, wnid in read_mat_table(kit / _META, "synsets", "ILSVRC2012_ID", "WNID")}
    classes = {}
    for number, line in enumerate(read_text(kit / _TRUTH, "the classes of val").split("\n"), 1):
        if not line.strip():
            continue
        if not line.strip().isdecimal() or int(line) not in wnids:
            raise CaffeCompatError(f"{kit / _TRUTH}:{number}: expected a number of a class in meta.mat, found {line!r}")
        classes[f"ILSVRC2012_val_{number:08}"] = wnids[int(line)]
    return classes


def _devkit(listing: Listing, given: str | None) -> Path | None:
    """The development kit's folder: the one that was named, or one in the root folder."""
    places = [Path(given)] if given is not None else [Path(listing.root, name) for name in _DEVKITS]
    found = next((place for place in places if (place / _TRUTH).is_file()), None)
    if given is not None and found is None:
        raise LayoutError.of(given, "ImageNet's development kit", f"{_TRUTH} and {_META}")
    return found


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's lines 'ILSVRC2012_val_00000001,n03995372 85 1 499 272' after a line of titles."""
    lines = read_text(path, "the classes of val").split("\n")[1:]
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    for number, words in enumerate(rows, 2):
        if len(words) < 2 or not _WNID.fullmatch(words[1]):
            raise CaffeCompatError(f"{path}:{number}: expected 'picture,nXXXXXXXX ...'")
    return {words[0]: words[1] for words in rows}


def _class_names(listing: Listing, devkit: str | os.PathLike[str] | None) -> dict[str, str]:
    """Names by WordNet id from the first file of names in the root folder or the development kit; {} without."""
    kit = _devkit(listing, None if devkit is None else os.fspath(devkit))
    folders = [Path(listing.root), *([kit / "data"] if kit else [])]
    path = next((folder / name for folder in folders for name in _NAMES if (folder / name).is_file()), None)
    if path is not None:
        rows = [line.split(None, 1) for line in read_text(path, "the names of classes").split("\n")]
        return {row[0]: row[1].strip() for row in rows if len(row) == 2}
    if kit is None or not (kit / _META).is_file() or not has_scipy():
        return {}
    return {str(wnid): str(words) for wnid, words in read_mat_table(kit / _META, "synsets", "WNID", "words")}
