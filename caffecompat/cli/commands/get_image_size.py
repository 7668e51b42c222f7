"""Write the sizes of a list's images as 'name height width' lines, as SSD's get_image_size does.

    caffecompat get_image_size VOCdevkit/ test.txt test_name_size.txt

The name is the file's without folder and ending, or its id from --name_id_file ('name id' lines). The detection layers
read such files (name_size_file) to give boxes in pixels.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.progress import live_line, progress_flag

HELP = "write the sizes of a list's images (SSD)"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER", help="folder of the list's paths")
    parser.add_argument("list", metavar="LISTFILE", help="text file of lines 'image label' or 'image annotation-file'")
    parser.add_argument("out", type=output(), metavar="OUTFILE", help="file to write")
    parser.add_argument("--name-id-file", metavar="FILE", help="lines 'name id': write ids instead of names")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    from caffecompat.data.image_sizes import get_image_size
    from caffecompat.formats.image_list import read_pair_list

    total = len(read_pair_list(args.list))
    glog.info(f"A total of {total} images.", "get_image_size.cpp:70")
    with live_line(total, "images", args.progress) as update:

        def on_progress(done: int) -> None:
            update(done, "")
            if done % 1000 == 0 or done == total:
                glog.info(f"Processed {done} files.", "get_image_size.cpp:115")

        get_image_size(args.root, args.list, args.out, name_id_file=args.name_id_file, on_progress=on_progress)
    return 0
