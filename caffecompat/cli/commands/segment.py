"""Run a segmentation net on pictures, folders and videos: overlays, label pictures, the share of each class.

    caffecompat segment --model deploy.prototxt --weights net.caffemodel photos/ --out segmented \\
        --mean 73,82,72 --scale 0.022 --palette cityscapes

Each picture gives OUT/<name>.png: the class colors over the picture, with a legend below. --raw adds
<name>_classes.png (the number of each pixel's class), --colors adds <name>_colors.png (the colors alone).
A video gives OUT/<name>.mp4, of whose frames --frames-every takes each Nth, and with --raw or --colors
OUT/<name>/<frame>_classes.png and so on; its legend has all classes. --scales, --flip and --fit show the net each
picture several times, as 'eval segmentation' does.
A picture that cannot be read is named at the end (exit status 2); the others are done.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, finite
from caffecompat.cli.common.multi_scale_flags import multi_scale, multi_scale_flags
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import names_fitting_sizes, preprocess_of
from caffecompat.cli.common.scored_net import fed_net, is_onnx, net_flags, onnx_flag

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.cli.common.file_loop import Entry
    from caffecompat.data.preprocess import Preprocess
    from caffecompat.evaluate import Segmenter
    from caffecompat.report.palette import Palette

HELP = "run a segmentation net on pictures, folders or videos: overlays, classes"

_VERB = "caffecompat segment"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", metavar="PICTURE|FOLDER|VIDEO", help="pictures, videos, folders of them")
    parser.add_argument("--model", metavar="FILE", help="deploy prototxt, or ONNX file (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required, but for an ONNX file)")
    parser.add_argument("--out", type=output(), metavar="DIR", help="folder to write to (required); made if absent")
    parser.add_argument("--palette", metavar="NAME|FILE",
                        help="cityscapes, voc, or a file: 'R G B name' lines, or a picture of colors")  # fmt: skip
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line")
    parser.add_argument("--alpha", type=finite, default=0.5, metavar="A", help="0 the picture, 1 the colors (0.5)")
    add_switch(parser, "legend", "names of the classes below each overlay", default=True)
    add_switch(parser, "raw", "also write class numbers")
    add_switch(parser, "colors", "also write the colors without the picture")
    parser.add_argument(
        "--at", default="picture", metavar="SIZE", help="write in the size of: picture (default) or net"
    )
    multi_scale_flags(parser)
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    parser.add_argument("--frames-every", type=COUNT, default=1, metavar="N", help="take each Nth frame of a video (1)")
    onnx_flag(parser)
    net_flags(parser, "lines")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.cli.common.file_loop import check_out, do_files, find_files
    from caffecompat.evaluate import Segmenter
    from caffecompat.report.palette import load_palette, read_names

    files = find_files(args.pictures)
    check_out(_VERB, args, files, ("", *(["_classes"] if args.raw else []), *(["_colors"] if args.colors else [])))
    segmenter = fed_net(Segmenter, args, blob=args.blob)
    palette = load_palette(args.palette, read_names(args.classes) if args.classes else (), segmenter.classes)
    do_files(args, files, _Work(args, segmenter, palette, preprocess_of(args, segmenter)))
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("model", "weights", "out"):
        if not getattr(args, name) and not (name == "weights" and is_onnx(args.model)):
            raise UsageError(f"{_VERB}: needs --{name}")
    if not 0 <= args.alpha <= 1:
        raise UsageError(f"{_VERB}: --alpha {args.alpha}: 0 to 1")
    if args.at not in ("picture", "net"):
        raise UsageError(f"{_VERB}: --at {args.at}: expected picture or net")
    if multi_scale(args) and args.at == "net":
        raise UsageError(f"{_VERB}: --at net: with --scales, --flip or --fit pad classes have the picture's size")


class _Work:
    """What is done with each file."""

    def __init__(
        self, args: argparse.Namespace, segmenter: Segmenter, palette: Palette, preprocess: Preprocess
    ) -> None:
        self.args, self.segmenter, self.palette, self.preprocess = args, segmenter, palette, preprocess

    def picture(self, path: str, name: str) -> Entry:
        """Classify, draw and report."""
        import os

        from caffecompat.formats.picture_file import read_picture_file

        picture = read_picture_file(path)
        classes = self._classes(picture)
        overlay, more = self._drawn(picture, classes, sorted(set(classes.ravel().tolist())))
        files = self._save(os.path.join(self.args.out, name), {"": overlay, **more})
        entry = {"picture": path, **_shares(classes, self.palette), "files": files}
        if not self.args.json:
            print(f"{path}: {_line(entry)} -> {files[0]}", flush=True)
        return entry

    def video(self, path: str, name: str) -> Entry:
        """The same for the frames of a video; the written one keeps its speed."""
        import os

        from caffecompat.cli.common.videos import VideoOut
        from caffecompat.data.video_frames import Video

        video = Video(path, self.args.frames_every)
        stem = os.path.join(self.args.out, name)
        entry: Entry = {"picture": path, "frames": [], "files": [f"{stem}.mp4"]}
        with VideoOut(entry["files"][0], video.rate) as out:
            for number, frame in video:
                classes = self._classes(frame)
                overlay, more = self._drawn(frame, classes, range(self.segmenter.classes))
                out.write(overlay)
                entry["files"] += self._save(os.path.join(stem, f"{number:06d}"), more)
                entry["frames"].append({"frame": number, **_shares(classes, self.palette)})
                if not self.args.json:
                    print(f"{path}, frame {number}: {_line(entry['frames'][-1])}", flush=True)
        if not self.args.json:
            print(f"{path}: {len(entry['frames'])} frames -> {entry['files'][0]}", flush=True)
        return entry

    def _classes(self, picture: np.ndarray) -> np.ndarray:
        from caffecompat.evaluate.pictures import segment

        views = multi_scale(self.args)
        at = "picture" if views else "net"
        return segment(self.segmenter, None, picture, preprocess=self.preprocess, at=at, **views)[0]

    def _drawn(
        self, picture: np.ndarray, classes: np.ndarray, named: Sequence[int]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The overlay with a legend of the classes `named`, and what else the flags ask for, by the end of its name."""
        import numpy as np

        from caffecompat.formats.picture import resize_picture
        from caffecompat.report.overlay import legend, overlay

        if self.args.at == "net":
            picture = resize_picture(picture, *classes.shape)
        else:
            classes = resize_picture(classes[:, :, None], *picture.shape[:2], nearest=True)[:, :, 0]
        drawn = overlay(picture, classes, self.palette, self.args.alpha)
        if self.args.legend:
            drawn = np.vstack([drawn, legend(self.palette, list(named), drawn.shape[1])])
        more = {}
        if self.args.raw:
            more["_classes"] = classes
        if self.args.colors:
            more["_colors"] = self.palette.paint(classes)
        return drawn, more

    def _save(self, stem: str, pictures: Mapping[str, np.ndarray]) -> list[str]:
        import os

        from caffecompat.cli.common.picture_files import save_png

        if pictures:
            os.makedirs(os.path.dirname(stem), exist_ok=True)
        for end, picture in pictures.items():
            save_png(f"{stem}{end}.png", picture)
        return [f"{stem}{end}.png" for end in pictures]


def _shares(classes: np.ndarray, palette: Palette) -> Entry:
    """Size of the map of classes, and the percentage of each that occurs, largest first."""
    import numpy as np

    counts = np.bincount(classes.ravel())
    order = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
    percent = {palette.name(index): round(100 * float(counts[index]) / classes.size, 3) for index in order}
    return {"width": classes.shape[1], "height": classes.shape[0], "percent": percent}


def _line(entry: Entry) -> str:
    return ", ".join(f"{name} {value:.1f}%" for name, value in entry["percent"].items() if value >= 0.05)
