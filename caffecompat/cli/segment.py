"""Run a segmentation net on pictures: overlays, label pictures, the share of each class.

    caffecompat segment --model deploy.prototxt --weights net.caffemodel photos/ --out segmented \\
        --mean 73,82,72 --scale 0.022 --palette cityscapes

Each picture gives OUT/<name>.png: the class colours over the picture, with a legend below. --raw adds
<name>_classes.png (the number of each pixel's class), --colors adds <name>_colors.png (the colours alone).
A picture that cannot be read is named at the end (exit status 2); the others are done.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.flags import UsageError, add_switch, device_flags, split_commas
from caffecompat.cli.picture_flags import preprocess_flags, preprocess_of, size_of
from caffecompat.cli.progress import live_line, progress_flag
from caffecompat.errors import CaffeCompatError

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.report.palette import Palette

HELP = "run a segmentation net on pictures or folders: overlays, classes"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", metavar="PICTURE|FOLDER", help="pictures, and folders of them")
    parser.add_argument("--model", metavar="FILE", help="deploy prototxt (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (required)")
    parser.add_argument("--out", metavar="DIR", help="folder to write to (required); made if absent")
    parser.add_argument("--palette", metavar="NAME|FILE",
                        help="cityscapes, voc, or a file: 'R G B name' lines, or a picture of colours")  # fmt: skip
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line")
    parser.add_argument("--alpha", type=float, default=0.5, metavar="A", help="0 the picture, 1 the colours (0.5)")
    add_switch(parser, "legend", "names of the classes below each overlay", default=True)
    add_switch(parser, "raw", "also write class numbers")
    add_switch(parser, "colors", "also write the colours without the picture")
    parser.add_argument(
        "--at", default="picture", metavar="SIZE", help="write in the size of: picture (default) or net"
    )
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    parser.add_argument("--level", type=int, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    import os

    from caffecompat.cli.devices import choose_device
    from caffecompat.cli.picture_files import find_pictures, grey, read_picture_file
    from caffecompat.evaluate import Segmenter
    from caffecompat.report.palette import load_palette, read_names

    files = find_pictures(args.pictures)
    device, _ = choose_device(args.gpu, args.device)
    segmenter = Segmenter(
        args.model, args.weights, blob=args.blob, device=device, size=size_of(args),
        level=args.level, stages=split_commas(args.stage),
    )  # fmt: skip
    if segmenter.input_shape is None:
        raise UsageError(f"caffecompat segment: {args.model} reads its own data; give a deploy prototxt")
    if segmenter.missing:
        glog.warning(f"{args.weights} has no weights for: {', '.join(segmenter.missing)}; they stay at initial values")
    palette = load_palette(args.palette, read_names(args.classes) if args.classes else (), segmenter.classes)
    preprocess = preprocess_of(args)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with live_line(len(files), "pictures", args.progress) as update:
        for count, (path, name) in enumerate(files, 1):
            try:
                picture = read_picture_file(path)
                classes = segmenter.classify(picture if segmenter.color else grey(picture), preprocess)
            except CaffeCompatError as problem:
                failed.append({"picture": path, "error": str(problem)})
                glog.error(str(problem))
            else:
                written = _write(args, os.path.join(args.out, name), picture, classes, palette)
                done.append({"picture": path, **_shares(classes, palette), "files": written})
                if not args.json:
                    print(_line(done[-1]), flush=True)
            update(count, "")
    if args.json:
        print(json.dumps({"model": args.model, "weights": args.weights, "pictures": done, "failed": failed}, indent=1))
    if failed:
        names = "\n".join(f"  {entry['picture']}" for entry in failed)
        raise CaffeCompatError(f"{len(failed)} of {len(files)} pictures could not be done:\n{names}")
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("model", "weights", "out"):
        if not getattr(args, name):
            raise UsageError(f"caffecompat segment: needs --{name}")
    if not 0 <= args.alpha <= 1:
        raise UsageError(f"caffecompat segment: --alpha {args.alpha}: 0 to 1")
    if args.at not in ("picture", "net"):
        raise UsageError(f"caffecompat segment: --at {args.at}: expected picture or net")


def _write(
    args: argparse.Namespace, stem: str, picture: np.ndarray, classes: np.ndarray, palette: Palette
) -> list[str]:
    """Write what the flags ask for; returns the paths."""
    import os

    import numpy as np

    from caffecompat.cli.picture_files import save_png
    from caffecompat.formats.picture import resize_picture
    from caffecompat.report.overlay import legend, overlay

    if args.at == "net":
        picture = resize_picture(picture, *classes.shape)
    else:
        classes = resize_picture(classes[:, :, None], *picture.shape[:2], nearest=True)[:, :, 0]
    drawn = overlay(picture, classes, palette, args.alpha)
    if args.legend:
        drawn = np.vstack([drawn, legend(palette, np.unique(classes).tolist(), drawn.shape[1])])
    outputs = {f"{stem}.png": drawn}
    if args.raw:
        outputs[f"{stem}_classes.png"] = classes
    if args.colors:
        outputs[f"{stem}_colors.png"] = palette.paint(classes)
    os.makedirs(os.path.dirname(stem), exist_ok=True)
    for path, content in outputs.items():
        save_png(path, content)
    return list(outputs)


def _shares(classes: np.ndarray, palette: Palette) -> dict[str, Any]:
    """Size of the map of classes, and the percentage of each that occurs, largest first."""
    import numpy as np

    counts = np.bincount(classes.ravel())
    order = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
    percent = {palette.name(index): round(100 * float(counts[index]) / classes.size, 3) for index in order}
    return {"width": classes.shape[1], "height": classes.shape[0], "percent": percent}


def _line(entry: dict[str, Any]) -> str:
    shares = ", ".join(f"{name} {value:.1f}%" for name, value in entry["percent"].items() if value >= 0.05)
    return f"{entry['picture']}: {shares} -> {entry['files'][0]}"
