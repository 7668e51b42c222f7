"""Sizes of a list's pictures, for the detection layers that give boxes in pixels (SSD's name_size_file)."""

from __future__ import annotations

import os
from collections.abc import Callable

from caffecompat.data.parallel import ordered_map
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.atomic import atomic_write, protects
from caffecompat.formats.image_list import ListedPair, read_pair_list
from caffecompat.formats.picture import PictureError, decode_picture
from caffecompat.formats.picture_header import picture_header

__all__ = ["get_image_size"]

PathLike = str | os.PathLike[str]


@protects("list_path", "name_id_file")
def get_image_size(
    root: PathLike,
    list_path: PathLike,
    out: PathLike,
    *,
    name_id_file: PathLike | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[tuple[str, int, int]]:
    """Write the sizes of a list's pictures as 'name height width' lines, as SSD's get_image_size does.

    Args:
        root: folder of the list's paths.
        list_path: lines 'image label' or 'image annotation-file'.
        out: file to write.
        name_id_file: lines 'name id'; ids are written instead of names then.
        on_progress: called with how many pictures are done.

    Returns:
        (name, height, width) in pixels of each picture; the name is the file's without folder and ending, or its id.

    Raises:
        CaffeCompatError: the list or a picture cannot be read, or a name has no id.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.get_image_size("", "boxes.txt", "sizes.txt")
    [('0', 8, 8), ('1', 8, 8)]
    """
    where = os.fspath(list_path)
    ids = _ids(os.fspath(name_id_file)) if name_id_file else None

    def measure(entry: ListedPair) -> tuple[str, int, int]:
        path = os.path.join(root, entry.image)
        name = os.path.splitext(os.path.basename(path))[0]
        if ids is not None and name not in ids:
            raise CaffeCompatError(f"{where}:{entry.line}: {name} is not in {name_id_file}")
        return (name if ids is None else ids[name], *_size(path, f"{where}:{entry.line}"))

    sizes = []
    for size in ordered_map(measure, read_pair_list(where)):
        sizes.append(size)
        on_progress(len(sizes))
    lines = [f"{name} {height} {width}\n" for name, height, width in sizes]
    with atomic_write(out) as file:
        file.write("".join(lines).encode("utf-8", "surrogateescape"))
    return sizes


def _size(path: str, where: str) -> tuple[int, int]:
    """(height, width), from the file's header where that says it."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CaffeCompatError(f"{where}: cannot read {path}: {error.strerror}") from None
    kind, shape = picture_header(data)
    # A JPEG may say that it lies on its side, which the decoder obeys: only its own word counts.
    if kind == "png" and shape is not None:
        return shape[1], shape[2]
    try:
        picture = decode_picture(data)
    except PictureError as problem:
        raise CaffeCompatError(f"{where}: {path}: {problem}") from None
    if picture is None:
        raise CaffeCompatError(f"{where}: {path} is not a picture that OpenCV can decode ({len(data)} bytes)")
    return picture.shape[0], picture.shape[1]


def _ids(path: str) -> dict[str, str]:
    ids: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "the names").split("\n"), 1):
        words = line.split()
        if words and (len(words) != 2 or not words[1].isdecimal() or words[0] in ids):
            raise CaffeCompatError(f"{path}:{number}: expected 'name id', each name once, found {line!r}")
        if words:
            ids[words[0]] = words[1]
    return ids
