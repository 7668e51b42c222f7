"""What goes into a database: picture files and labels made into Datum records, as plans for `write_database`."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from caffecompat.data.build import BadRecord, BuildError, Plan
from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.files import read_bytes
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.formats.image_list import ListedImage, ListedPair
from caffecompat.formats.picture import PictureError, decode_picture, encode_picture, resize_picture
from caffecompat.formats.picture_header import is_cut_off

__all__ = [
    "ENCODINGS",
    "ImageOptions",
    "caffe_plan",
    "class_folder_entries",
    "encoded_datum",
    "has_type",
    "image_plan",
    "load_picture",
    "load_whole_picture",
    "located",
    "missing_files",
    "pair_plan",
    "picture_datum",
    "raw_datum",
    "record_keys",
]

ENCODINGS = ("auto", "png", "jpg", "raw")
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_LONGEST_KEY = 511  # LMDB's limit


@dataclass(frozen=True)
class ImageOptions:
    """How pictures become records.

    Attributes:
        color: three channels, or one.
        height, width: size to resize to (bilinear; labels nearest); 0 keeps each picture's own.
        encoding: "raw" pixels; "png" or "jpg" files; "auto": the file's own bytes where nothing changes them,
            else a file of the same kind (JPEG) or PNG.
    """

    color: bool = True
    height: int = 0
    width: int = 0
    encoding: str = "auto"

    def __post_init__(self) -> None:
        if bool(self.height) != bool(self.width):
            raise BuildError("resizing needs both a height and a width")
        if self.encoding not in ENCODINGS:
            raise BuildError(f"unknown encoding {self.encoding!r}; expected one of {', '.join(ENCODINGS)}")


def caffe_plan(
    root: str,
    entries: Sequence[ListedImage],
    *,
    color: bool = True,
    height: int = 0,
    width: int = 0,
    encoded: bool = False,
    encode_type: str = "",
    backend: str = "lmdb",
    check_size: bool = False,
) -> Plan:
    """What Caffe's convert_imageset writes, byte for byte (BVLC; `root` is put before each path as it is).

    With `encoded` the file's own bytes are kept where its name ends in the wanted type, nothing resizes
    it and (Caffe's odd rule) its decoding gives the wanted number of channels, which is always so:
    a color file stays one even when gray is asked for.
    """

    def make(entry: ListedImage) -> Datum:
        path = root + entry.path
        kind = encode_type or (entry.path.rpartition(".")[2].lower() if encoded else "")
        file, picture = load_picture(path, color)
        if height > 0 and width > 0:
            picture = resize_picture(picture, height, width)
        if not kind:
            return raw_datum(picture, entry.label)
        if height <= 0 and width <= 0 and has_type(path, kind):
            return Datum(data=file, label=entry.label, encoded=True)
        return encoded_datum(picture, kind, entry.label, path)

    expected = _first_size(make, entries) if check_size else None

    def encode(index: int) -> Sequence[bytes]:
        datum = make(entries[index])
        if expected is not None and len(datum.data or b"") != expected:
            raise BuildError(
                f"Incorrect data field size {len(datum.data or b'')}: {root}{entries[index].path} differs from "
                f"the first image, whose record holds {expected} bytes (--check_size)"
            )
        return (encode_datum(datum),)

    options = (root, color, height, width, encoded, encode_type)
    return Plan(record_keys([entry.path for entry in entries]), encode, repr((options, list(entries))), backend=backend)


def image_plan(
    entries: Sequence[ListedImage],
    where: str,
    options: ImageOptions,
    *,
    root: str = "",
    backend: str = "lmdb",
    classes: Sequence[str] = (),
) -> Plan:
    """One record a picture with its class as the label.

    Args:
        where: the list's name, for messages ("train.txt:12: ..."); "" if the lines are not the user's.
        root: folder that relative paths start from.
        classes: names of the classes 0, 1, ...; kept in the database's folder as classes.txt.
    """

    def encode(index: int) -> Sequence[bytes]:
        entry = entries[index]
        try:
            return (encode_datum(_image_datum(os.path.join(root, entry.path), entry.label, options)),)
        except BadRecord as bad:
            raise located(bad, where, entry.line) from None

    return Plan(
        record_keys([entry.path for entry in entries]),
        encode,
        repr((asdict(options), root, list(entries), list(classes))),
        backend=backend,
        extras=_class_file(classes),
    )


def pair_plan(
    entries: Sequence[ListedPair],
    where: str,
    options: ImageOptions,
    *,
    root: str = "",
    backend: str = "lmdb",
    classes: Sequence[str] = (),
) -> Plan:
    """Two databases of the same keys, ``image`` and ``label``: pictures, and their class numbers a pixel.

    Label pictures are stored as one-channel PNG (raw pixels with encoding "raw"), never lossy, resized by nearest.
    The arguments are those of `image_plan`.
    """

    def encode(index: int) -> Sequence[bytes]:
        entry = entries[index]
        try:
            return _encode_pair(os.path.join(root, entry.image), os.path.join(root, entry.label), options)
        except BadRecord as bad:
            raise located(bad, where, entry.line) from None

    return Plan(
        record_keys([entry.image for entry in entries]),
        encode,
        repr((asdict(options), root, list(entries), list(classes))),
        parts=("image", "label"),
        layer_type="ImageLabelData",
        backend=backend,
        extras=_class_file(classes),
    )


def _class_file(classes: Sequence[str]) -> dict[str, str]:
    return {"classes.txt": "".join(f"{name}\n" for name in classes)} if classes else {}


def class_folder_entries(
    folder: str | os.PathLike[str], *, shuffle_seed: int | None = 0
) -> tuple[list[ListedImage], list[str]]:
    """The pictures in ``folder/<class>/...`` with the class folders, sorted by name, counted from 0.

    Args:
        shuffle_seed: Data layers read in the database's order, so the classes are mixed; None keeps them sorted.

    Returns:
        (entries with paths relative to `folder`, class names).
    """
    base = Path(folder)
    if not base.is_dir():
        raise BuildError(f"no folder {base}")
    classes = sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    entries = []
    for label, name in enumerate(classes):
        found = sorted(path for path in (base / name).rglob("*") if path.suffix.lower() in _PICTURES)
        if not found:
            raise BuildError(f"the class folder {base / name} holds no pictures ({', '.join(_PICTURES)})")
        entries += [ListedImage(path.relative_to(base).as_posix(), label, 0) for path in found]
    if not entries:
        raise BuildError(f"{base} holds no class folders; expected {base}/<class>/<picture>")
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(entries)
    return entries, classes


def missing_files(paths: Sequence[tuple[str, int]], where: str, root: str = "") -> list[str]:
    """Those of (path, line) that are not there, as "list:line: path does not exist"."""
    return [
        _line(where, line) + f"{os.path.join(root, path)} does not exist"
        for path, line in paths
        if not os.path.isfile(os.path.join(root, path))
    ]


def record_keys(paths: Sequence[str]) -> list[bytes]:
    """Caffe's keys, "%08d_path"; of a path too long for LMDB the end is kept, the number keeps keys distinct."""
    keys = []
    for index, path in enumerate(paths):
        number = b"%08d_" % index
        keys.append(number + os.fsencode(path)[-(_LONGEST_KEY - len(number)) :])
    return keys


def load_picture(path: str, color: bool) -> tuple[bytes, np.ndarray]:
    """A file's bytes and its picture (H, W, C).

    Raises:
        BadRecord: it cannot be read or decoded, or states too many pixels.
    """
    file = read_bytes(path, BadRecord)
    try:
        picture = decode_picture(file, color)
    except PictureError as problem:
        raise BadRecord(f"{path}: {problem}") from None
    if picture is None:
        why = "is cut off" if is_cut_off(file) else "is not a picture that OpenCV can decode"
        raise BadRecord(f"{path} {why} ({len(file)} bytes)")
    return file, picture


def has_type(path: str, kind: str) -> bool:
    """Whether the file's name ends as files of that kind do."""
    extension = path.rpartition(".")[2].lower()
    return extension == kind.lower() or (kind.lower() == "jpg" and extension == "jpeg")


def raw_datum(picture: np.ndarray, label: int) -> Datum:
    """A record of pixels, with the fields Caffe sets."""
    datum = Datum.from_array(picture.transpose(2, 0, 1), label)
    datum.encoded = False
    return datum


def encoded_datum(picture: np.ndarray, kind: str, label: int, path: str) -> Datum:
    """A record of a file of that kind, made of the picture; `path` is for messages."""
    data = encode_picture(picture, kind)
    if data is None:
        raise BadRecord(f"{path}: OpenCV cannot encode pictures as {kind!r}; say which kind (png, jpg, ...)")
    return Datum(data=data, label=label, encoded=True)


def load_whole_picture(path: str, color: bool) -> tuple[bytes, np.ndarray]:
    """As `load_picture`, but half a picture is none (Caffe's convert_imageset takes it)."""
    file, picture = load_picture(path, color)
    if is_cut_off(file):
        raise BadRecord(f"{path} is cut off ({len(file)} bytes)")
    return file, picture


def _image_datum(path: str, label: int, options: ImageOptions) -> Datum:
    file, picture = load_whole_picture(path, options.color)
    return picture_datum(file, picture, label, options, path)


def picture_datum(file: bytes, picture: np.ndarray, label: int, options: ImageOptions, path: str) -> Datum:
    """A record of the picture as the options want it, of the file's own bytes where nothing changes them."""
    changed = not options.color
    if options.height and picture.shape[:2] != (options.height, options.width):
        picture, changed = resize_picture(picture, options.height, options.width), True
    if options.encoding == "raw":
        return raw_datum(picture, label)
    own = "jpg" if file[:2] == b"\xff\xd8" else "png" if file[:4] == b"\x89PNG" else ""
    kind = options.encoding if options.encoding != "auto" else own or "png"
    # A PNG may hold gray, alpha, a palette or 16 bits: only what decodes to the wanted 8 bits a channel may stay.
    if kind == own and not changed and (own == "jpg" or _plain_png(file, 2)):
        return Datum(data=file, label=label, encoded=True)
    return encoded_datum(picture, kind, label, path)


def _plain_png(file: bytes, color_type: int) -> bool:
    """Whether a PNG has eight bits a channel and the given color type (0 gray, 2 RGB)."""
    return file[:4] == b"\x89PNG" and len(file) > 26 and file[24] == 8 and file[25] == color_type


def _encode_pair(image_path: str, label_path: str, options: ImageOptions) -> tuple[bytes, bytes]:
    file, picture = load_whole_picture(image_path, options.color)
    label_file = read_bytes(label_path, BadRecord)
    if is_cut_off(label_file):
        raise BadRecord(f"{label_path} is cut off ({len(label_file)} bytes)")
    try:
        labels = decode_labels(label_file)
    except LabelError as error:
        raise BadRecord(f"{label_path}: {error}") from None
    if labels.shape[:2] != picture.shape[:2]:
        raise BadRecord(
            f"{image_path} is {picture.shape[1]}x{picture.shape[0]} and its labels {label_path} are "
            f"{labels.shape[1]}x{labels.shape[0]} (width x height)"
        )
    image = picture_datum(file, picture, 0, options, image_path)
    changed = bool(options.height) and labels.shape[:2] != (options.height, options.width)
    if changed:
        labels = resize_picture(labels, options.height, options.width, nearest=True)
    if options.encoding == "raw":
        label = raw_datum(labels, 0)
    elif not changed and _plain_png(label_file, 0):
        label = Datum(data=label_file, label=0, encoded=True)
    else:
        label = encoded_datum(labels, "png", 0, label_path)
    return encode_datum(image), encode_datum(label)


def _first_size(make: Callable[[ListedImage], Datum], entries: Sequence[ListedImage]) -> int | None:
    """Bytes in the record of the first entry that can be read; Caffe's --check_size holds all others to it."""
    for entry in entries:
        with contextlib.suppress(BadRecord):
            return len(make(entry).data or b"")
    return None


def _line(where: str, line: int) -> str:
    return f"{where}:{line}: " if where and line else ""


def located(bad: BadRecord, where: str, line: int) -> BadRecord:
    """The same with the line of the list in front."""
    return BadRecord(_line(where, line) + str(bad))
