"""Find objects in pictures, folders and videos with an SSD: boxes with class and score.

    caffecompat detect --model deploy.prototxt --weights ssd.caffemodel photos/ --out found \\
        --mean 104,117,123 --labelmap labelmap_voc.prototxt --threshold 0.5

Each picture gives OUT/<name>.png with the boxes drawn; a video gives OUT/<name>.mp4, of whose frames --frames-every
takes each Nth. Without --out nothing is drawn. --json prints every box, in pixels.
A picture that cannot be read is named at the end (exit status 2); the others are done.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from caffecompat.cli.common.flags import COUNT, UsageError, finite
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import names_fitting_sizes, preprocess_of
from caffecompat.cli.common.scored_net import fed_net, is_onnx, net_flags, onnx_flag

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.cli.common.file_loop import Entry
    from caffecompat.data.preprocess import Preprocess
    from caffecompat.evaluate.detector import Detector
    from caffecompat.formats.label_map import LabelMap

HELP = "find objects in pictures, folders or videos: boxes, classes, scores"

_VERB = "caffecompat detect"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", metavar="PICTURE|FOLDER|VIDEO", help="pictures, videos, folders of them")
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="deploy prototxt with a layer that makes boxes: DetectionOutput or YOLO's (required)",
    )
    parser.add_argument("--weights", metavar="FILE", help="its weights (required, but for an ONNX file)")
    parser.add_argument(
        "--out", type=output(), metavar="DIR", help="folder for the pictures with boxes; made if absent"
    )
    parser.add_argument("--labelmap", metavar="FILE", help="label map of the classes' names, or names, one a line")
    parser.add_argument("--threshold", type=finite, default=0.5, metavar="T", help="least score that counts (0.5)")
    parser.add_argument("--frames-every", type=COUNT, default=1, metavar="N", help="take each Nth frame of a video (1)")
    onnx_flag(parser)
    net_flags(parser, "lines")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.cli.common.file_loop import check_out, do_files, find_files
    from caffecompat.evaluate.detector import Detector

    files = find_files(args.pictures)
    check_out(_VERB, args, files)
    detector = fed_net(Detector, args)
    names = _names(args.labelmap or detector.label_map_file)
    do_files(args, files, _Work(args, detector, names, preprocess_of(args, detector)))
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("model", "weights"):
        if not getattr(args, name) and not (name == "weights" and is_onnx(args.model)):
            raise UsageError(f"{_VERB}: needs --{name}")
    if not 0 <= args.threshold <= 1:
        raise UsageError(f"{_VERB}: --threshold {args.threshold:g}: 0 to 1")


def _names(path: str) -> LabelMap:
    """A label map's classes, or a file's lines as the classes 0, 1, ..."""
    from caffecompat.formats.label_map import LabelMap, LabelMapError, read_label_map
    from caffecompat.report.palette import read_names
    from caffecompat.schema import PrototxtError

    if not path:
        return LabelMap()
    try:
        return read_label_map(path)
    except (LabelMapError, PrototxtError):
        if path.endswith((".prototxt", ".pbtxt")):
            raise
    names = dict(enumerate(read_names(path)))
    return LabelMap(names, names)


class _Work:
    """What is done with each file."""

    def __init__(self, args: argparse.Namespace, detector: Detector, names: LabelMap, preprocess: Preprocess) -> None:
        self.args, self.detector, self.names, self.preprocess = args, detector, names, preprocess

    def picture(self, path: str, name: str) -> Entry:
        """Find, draw and report."""
        from caffecompat.cli.common.picture_files import save_png
        from caffecompat.formats.picture_file import read_picture_file

        picture = read_picture_file(path)
        rows = self._find(picture)
        entry: Entry = {"picture": path, **self._as_json(picture, rows)}
        if self.args.out:
            entry["file"] = self._target(name, ".png")
            save_png(entry["file"], self._drawn(picture, rows))
        self._report(path, entry, entry["detections"])
        return entry

    def video(self, path: str, name: str) -> Entry:
        """The same for the frames of a video; the written one keeps its speed."""
        from caffecompat.cli.common.videos import VideoOut
        from caffecompat.data.video_frames import Video

        video = Video(path, self.args.frames_every)
        entry: Entry = {"picture": path, "frames": []}
        if self.args.out:
            entry["file"] = self._target(name, ".mp4")
        with VideoOut(entry.get("file", ""), video.rate) as out:
            for number, frame in video:
                rows = self._find(frame)
                entry["frames"].append({"frame": number, **self._as_json(frame, rows)})
                if self.args.out:
                    out.write(self._drawn(frame, rows))
                self._report(f"{path}, frame {number}", {}, entry["frames"][-1]["detections"])
        if self.args.out and not self.args.json:
            print(f"{path}: {len(entry['frames'])} frames -> {entry['file']}", flush=True)
        return entry

    def _find(self, picture: np.ndarray) -> np.ndarray:
        from caffecompat.evaluate.pictures import detect

        return detect(self.detector, None, picture, preprocess=self.preprocess, threshold=self.args.threshold)[0]

    def _drawn(self, picture: np.ndarray, rows: np.ndarray) -> np.ndarray:
        from caffecompat.report.boxes import draw_detections

        return draw_detections(picture, rows, self.names.title)

    def _target(self, name: str, ending: str) -> str:
        import os

        path = os.path.join(self.args.out, name + ending)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return path

    def _as_json(self, picture: np.ndarray, rows: np.ndarray) -> Entry:
        height, width = picture.shape[:2]
        return {
            "width": width,
            "height": height,
            "detections": [
                {
                    "class": int(label),
                    "name": self.names.title(int(label)),
                    "score": round(score, 5),
                    "box": [round(side * extent, 2) for side, extent in zip(box, (width, height) * 2, strict=True)],
                }
                for label, score, *box in rows.tolist()
            ],
        }

    def _report(self, what: str, entry: Entry, found: list[Entry]) -> None:
        if self.args.json:
            return
        shown = ", ".join(f"{one['name']} {one['score']:.2f}" for one in found) or "nothing found"
        print(f"{what}: {shown}" + (f" -> {entry['file']}" if "file" in entry else ""), flush=True)
