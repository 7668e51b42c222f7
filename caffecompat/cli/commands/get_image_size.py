"""Write the sizes of a list's images as 'name height width' lines, as SSD's get_image_size does.

    caffecompat get_image_size VOCdevkit/ test.txt test_name_size.txt

The name is the file's without folder and ending, or its id from --name_id_file ('name id' lines). The detection layers
read such files (name_size_file) to give boxes in pixels.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.progress import live_line, progress_flag
from caffecompat.files import read_text

HELP = "write the sizes of a list's images (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER", help="folder of the list's paths")
    parser.add_argument("list", metavar="LISTFILE", help="text file of lines 'image label' or 'image annotation-file'")
    parser.add_argument("out", type=output(), metavar="OUTFILE", help="file to write")
    parser.add_argument("--name-id-file", metavar="FILE", help="lines 'name id': write ids instead of names")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    import os

    from caffecompat.data.parallel import ordered_map
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.formats.image_list import ListedPair, read_pair_list

    entries = read_pair_list(args.list)
    glog.info(f"A total of {len(entries)} images.", "get_image_size.cpp:70")
    ids = _ids(args.name_id_file) if args.name_id_file else None

    def line_of(entry: ListedPair) -> str:
        path = os.path.join(args.root, entry.image)
        name = os.path.splitext(os.path.basename(path))[0]
        if ids is not None and name not in ids:
            raise UsageError(f"{args.list}:{entry.line}: {name} is not in {args.name_id_file}")
        height, width = _size(path, f"{args.list}:{entry.line}")
        return f"{name if ids is None else ids[name]} {height} {width}\n"

    lines = []
    with live_line(len(entries), "images", args.progress) as update:
        for line in ordered_map(line_of, entries):
            lines.append(line)
            update(len(lines), "")
            if len(lines) % 1000 == 0 or len(lines) == len(entries):
                glog.info(f"Processed {len(lines)} files.", "get_image_size.cpp:115")
    with atomic_write(args.out) as out:
        out.write("".join(lines).encode("utf-8", "surrogateescape"))
    return 0


def _size(path: str, where: str) -> tuple[int, int]:
    """(height, width), from the file's header where that says it."""
    from caffecompat.formats.picture import decode_picture, picture_header

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"{where}: cannot read {path}: {error.strerror}") from None
    kind, shape = picture_header(data)
    # A JPEG may say that it lies on its side, which the decoder obeys: only its own word counts.
    if kind == "png" and shape is not None:
        return shape[1], shape[2]
    picture = decode_picture(data)
    if picture is None:
        raise UsageError(f"{where}: {path} is not a picture that OpenCV can decode ({len(data)} bytes)")
    return picture.shape[0], picture.shape[1]


def _ids(path: str) -> dict[str, str]:
    ids: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "the names", UsageError).split("\n"), 1):
        words = line.split()
        if words and (len(words) != 2 or not words[1].isdecimal() or words[0] in ids):
            raise UsageError(f"{path}:{number}: expected 'name id', each name once, found {line!r}")
        if words:
            ids[words[0]] = words[1]
    return ids
