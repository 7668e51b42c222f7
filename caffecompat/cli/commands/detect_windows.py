"""Score windows of pictures with a net that classifies them (R-CNN's way), as Caffe's detect.py does.

    caffecompat detect_windows windows.csv scores.csv --model_def deploy.prototxt --pretrained_model net.caffemodel \\
        --crop_mode list --mean_file mean.npy

INPUT is a .csv with a header of filename, xmin, ymin, xmax, ymax in any order, one window a line; or a .txt that lists
pictures, whose windows selective search proposes (its Python module must be installed). Each window is warped to the
net's input, with --context_pad pixels of its surroundings. OUTPUT is .csv: filename, ymin, xmin, ymax, xmax, class0,
class1, ...; or .h5 with the datasets filename, window and prediction.
"""

from __future__ import annotations

import argparse
import io
import time
from typing import Any

from caffecompat.cli.common.flags import NATURAL, UsageError, device_flags
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.transformer_flags import (
    channel_order,
    read_factors,
    read_means,
    set_mode,
    take_stated,
    transformer_flags,
)
from caffecompat.errors import CaffeCompatError

HELP = "scores of a classifying net for windows of pictures (R-CNN)"

_VERB = "caffecompat detect_windows"
_SIDES = ("ymin", "xmin", "ymax", "xmax")

Windows = dict[str, list[tuple[int, ...]]]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help=".csv of windows, or .txt of pictures")
    parser.add_argument("output", type=output(), metavar="OUTPUT", help=".csv or .h5 to write")
    parser.add_argument("--model", "--model-def", metavar="FILE", help="deploy prototxt (required)")
    parser.add_argument("--weights", "--pretrained-model", metavar="FILE", help="its weights (required)")
    parser.add_argument("--crop-mode", default="selective_search", metavar="MODE",
                        help="where windows come from: list (the .csv) or selective_search (default)")  # fmt: skip
    parser.add_argument("--context-pad", type=NATURAL, default=16, metavar="N",
                        help="pixels of surroundings on each side, in the input's scale (default 16)")  # fmt: skip
    transformer_flags(parser)
    missing_flag(parser)
    device_flags(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat import pycaffe
    from caffecompat.schema import open_net

    listed = args.crop_mode == "list"
    windows = _read_windows(args.input) if listed else {}
    pictures = [] if listed else _read_list(args.input)
    set_mode(args)
    take_stated(args, open_net(args.model))
    detector = pycaffe.Detector(
        args.model, args.weights, mean=read_means(args, 3), input_scale=read_factors(args, 3), raw_scale=args.raw_scale,
        channel_swap=channel_order(args), context_pad=args.context_pad,
    )  # fmt: skip
    check_loaded(detector._core.loaded, args.weights, args)
    begun = time.monotonic()
    try:
        found = detector.detect_windows(windows.items()) if listed else detector.detect_selective_search(pictures)
    except FileNotFoundError as error:
        raise CaffeCompatError(f"{args.input}: {error}") from None
    print(f"Processed {len(found)} windows in {time.monotonic() - begun:.3f} s.")
    _write(args.output, found)
    print(f"wrote {args.output}")
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("model", "weights"):
        if not getattr(args, name):
            raise UsageError(f"{_VERB}: needs --{name}")
    if args.crop_mode not in ("list", "selective_search"):
        raise UsageError(f"{_VERB}: --crop_mode {args.crop_mode}: expected list or selective_search")
    kind = ".csv" if args.crop_mode == "list" else ".txt"
    if not args.input.lower().endswith(kind):
        raise UsageError(f"{_VERB}: --crop_mode {args.crop_mode} reads a {kind} file, not {args.input}")
    if not args.output.lower().endswith((".csv", ".h5")):
        raise UsageError(f"{_VERB}: {args.output}: expected a name ending in .csv or .h5")


def _read_windows(path: str) -> Windows:
    """Windows (ymin, xmin, ymax, xmax) by picture, in the order of the file."""
    import csv

    windows: Windows = {}
    reader = csv.DictReader(io.StringIO(_text(path)), skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as problem:
        raise CaffeCompatError(f"{path}:{reader.line_num}: cannot be read as .csv: {problem}") from None
    columns = {name.strip() for name in reader.fieldnames or ()}
    lacking = [name for name in ("filename", *_SIDES) if name not in columns]
    if lacking:
        raise CaffeCompatError(f"{path}:1: no column {', '.join(lacking)}; expected filename, xmin, ymin, xmax, ymax")
    for line, row in rows:
        cells = {(name or "").strip(): value for name, value in row.items()}
        try:
            window = tuple(round(float(cells[side])) for side in _SIDES)
            if max(map(abs, window)) >= 1 << 31 or cells["filename"] is None:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            found = ", ".join(str(value) for value in row.values())
            raise CaffeCompatError(f"{path}:{line}: expected four numbers and a picture, found {found[:200]}") from None
        windows.setdefault(cells["filename"].strip(), []).append(window)
    return windows


def _read_list(path: str) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise CaffeCompatError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _write(path: str, found: list[dict[str, Any]]) -> None:
    import csv

    import numpy as np

    from caffecompat.formats.atomic import atomic_write

    scores = np.array([entry["prediction"].ravel() for entry in found], np.float32)
    with atomic_write(path) as file:
        if path.lower().endswith(".csv"):
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["filename", *_SIDES, *(f"class{i}" for i in range(scores.shape[1] if found else 0))])
            for entry, row in zip(found, scores, strict=True):
                writer.writerow(
                    [entry["filename"], *(int(side) for side in entry["window"]), *(f"{v:.9g}" for v in row)]
                )
            file.write(text.getvalue().encode())
            return
        import h5py

        content = io.BytesIO()
        with h5py.File(content, "w") as book:
            book["filename"] = [entry["filename"] for entry in found]
            book["window"] = np.array([entry["window"] for entry in found], np.int64)
            book["prediction"] = scores
        file.write(content.getvalue())
