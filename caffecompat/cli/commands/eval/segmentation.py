"""Score a segmentation net: IoU of each class, mIoU, pixel accuracy.

The net is a deploy or train_val prototxt, fed with the pictures of --list, --db or --images-db and --labels-db; without
these a train_val prototxt's TEST phase reads its own data (--iterations batches; all of it where that is known).

mIoU is the mean over the classes that are labeled or predicted somewhere (Xilinx Caffe, Cityscapes); a second
figure is over the classes that occur in the labels. Label 255 is ignored.

Where the scores are smaller or larger than the labels, --resize says what gives way: classes (the predicted classes
are brought to the labels' size by nearest, as Xilinx Caffe's SegmentPixelIOU does), scores (bilinearly, before the
best class is taken), or labels (by nearest, to the size of the scores).

--scales and --flip add up the probabilities of several views: the picture resized to --scales times the net's input
size (513 becomes 257, 385, 641, 897 for 0.5, 0.75, 1.25, 1.75; a multiple of 8, 16 or 32 stays one), and mirrored. The
sums have the labels' size. --fit pad does not resize the picture to the input's size, but pads it by the mean at the
right and bottom (DeepLab's 513x513), and scores the picture's own pixels; where the picture is larger than the input,
the net gets a larger input. The net must be able to work on these sizes.

With --model net.onnx onnxruntime computes the net; pictures are prepared as the file's metadata say, or as flags do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import COUNT, UsageError, split_commas
from caffecompat.cli.common.multi_scale_flags import multi_scale, multi_scale_flags
from caffecompat.cli.common.picture_flags import names_fitting_sizes, preprocess_of
from caffecompat.cli.common.progress import live_line
from caffecompat.cli.common.scored_net import load_weights, net_flags, onnx_flag, scored_net
from caffecompat.cli.common.snapshot_scores import (
    Row,
    check_weights,
    find_snapshots,
    plain,
    score_snapshots,
    score_text,
    weights_flags,
)

if TYPE_CHECKING:
    from caffecompat.evaluate import ConfusionMatrix, Segmenter
    from caffecompat.evaluate.segmentation import Pairs

HELP = "IoU per class, mIoU and pixel accuracy"

_VERB = "caffecompat eval segmentation"

Scorer = Callable[["Segmenter"], "ConfusionMatrix"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="FILE", help="deploy or train_val prototxt, or ONNX file (required)")
    weights_flags(parser, "miou")
    parser.add_argument("--list", metavar="FILE", help="lines 'picture label-picture'")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="put before the list's paths")
    parser.add_argument("--db", metavar="DIR", help="folder of an image and a label database ('lmdb build' makes them)")
    parser.add_argument("--images-db", metavar="DB", help="database of pictures (LMDB or LevelDB)")
    parser.add_argument("--labels-db", metavar="DB", help="database of label pictures with the same keys")
    parser.add_argument("--iterations", type=COUNT, metavar="N", help="pictures (or batches of a train_val) to score")
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line; or cityscapes, voc")
    parser.add_argument("--ignore", default="255", metavar="A,B", help="label values left out (default 255)")
    parser.add_argument("--resize", metavar="WHAT",
                        help="what adapts to the other size: classes (default), scores or labels")  # fmt: skip
    multi_scale_flags(parser)
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    onnx_flag(parser)
    net_flags(parser, "the table")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.evaluate import Segmenter
    from caffecompat.report.palette import read_names

    names = read_names(args.classes) if args.classes else None
    snapshots = find_snapshots(args)
    segmenter = scored_net(Segmenter, args, fed=bool(args.list or args.db or args.images_db), blob=args.blob)
    scorer, default_names = _scorer(args, segmenter)
    names = default_names if names is None else names
    if snapshots:
        _score_snapshots(args, segmenter, snapshots, scorer)
        return 0
    load_weights(segmenter, args.weights, args)
    matrix = scorer(segmenter)
    result = _result(matrix, names)
    print(
        json.dumps({"model": args.model, "weights": args.weights, **result}, indent=1) if args.json else _table(result)
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.model:
        raise UsageError(f"{_VERB}: needs --model")
    check_weights(args, _VERB)
    if bool(args.images_db) != bool(args.labels_db):
        raise UsageError(f"{_VERB}: --images-db and --labels-db go together")
    if sum(map(bool, (args.list, args.db, args.images_db))) > 1:
        raise UsageError(f"{_VERB}: take one of --list, --db, and --images-db with --labels-db")
    if args.resize not in (None, "classes", "scores", "labels"):
        raise UsageError(f"{_VERB}: --resize {args.resize}: expected classes, scores or labels")
    views = multi_scale(args)
    if views and args.resize not in (None, "scores"):
        raise UsageError(f"{_VERB}: --resize {args.resize}: with --scales, --flip or --fit probabilities are resized")
    if views and not (args.list or args.db or args.images_db):
        raise UsageError(f"{_VERB}: --scales, --flip and --fit pad need --list, --db or --images-db")


def _scorer(args: argparse.Namespace, segmenter: Segmenter) -> tuple[Scorer, tuple[str, ...]]:
    """What scores the net on the data that the flags name, and the class names that come with these data."""
    from caffecompat.data.dataset import class_names
    from caffecompat.evaluate.scored_net import own_pictures
    from caffecompat.evaluate.segmentation import evaluate_segmentation, open_pairs

    pairs: Pairs | None = None
    names: tuple[str, ...] = ()
    if args.list:
        pairs = open_pairs(args.list, args.root_folder)
    elif args.db:
        pairs = open_pairs((f"{args.db}/image", f"{args.db}/label"))
        names = tuple(class_names(args.db))
    elif args.images_db:
        pairs = open_pairs((args.images_db, args.labels_db))
    if pairs is None and segmenter.input_shape is not None:
        raise UsageError(
            f"{_VERB}: {args.model} is fed from outside; give --list FILE, --db DIR, or --images-db with --labels-db"
        )
    settings: dict[str, Any] = {
        "resize": args.resize,
        **multi_scale(args),
        "ignore": _ignored(args),
        "iterations": args.iterations,
    }
    if pairs is not None:
        settings["preprocess"] = preprocess_of(args, segmenter)
        total, counted = min(args.iterations or len(pairs), len(pairs)), "pictures"
    else:
        total, counted = own_pictures(segmenter, args.iterations)[1], "batches"

    def score(segmenter: Segmenter) -> ConfusionMatrix:
        with live_line(total, counted, args.progress) as update:
            return evaluate_segmentation(
                segmenter, data=pairs, on_progress=lambda done, matrix: update(done, f"mIoU {matrix.miou():.4f}"),
                **settings,
            )  # fmt: skip

    return score, names


def _ignored(args: argparse.Namespace) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in split_commas(args.ignore))
    except ValueError:
        raise UsageError(f"--ignore {args.ignore}: expected label values, as in 255 or 254,255") from None


def _result(matrix: ConfusionMatrix, names: tuple[str, ...]) -> Row:
    rows = zip(matrix.iou(), matrix.labeled.tolist(), matrix.predicted.tolist(), strict=True)
    return {
        "classes": [
            {
                "class": index,
                "name": names[index] if index < len(names) else str(index),
                "iou": plain(iou),
                "pixels": labeled,
                "predicted": predicted,
            }
            for index, (iou, labeled, predicted) in enumerate(rows)
        ],
        "miou": plain(matrix.miou()),
        "miou_labelled": plain(matrix.miou_labeled()),
        "pixel_accuracy": plain(matrix.pixel_accuracy()),
        "chance_miou": plain(matrix.chance_miou()),
        "pixels": int(matrix.counts.sum()) + matrix.outside,
        "pixels_of_no_class": matrix.outside,
    }


def _table(result: Row) -> str:
    rows = result["classes"]
    width = max(len("class"), *(len(row["name"]) for row in rows))
    lines = [f"{'class':<{width}}  {'IoU':>7}  {'pixels':>13}  {'predicted':>13}"]
    lines += [
        f"{r['name']:<{width}}  {score_text(r['iou']):>7}  {r['pixels']:>13,}  {r['predicted']:>13,}" for r in rows
    ]
    counted = sum(row["iou"] is not None for row in rows)
    occurring = sum(row["pixels"] > 0 for row in rows)
    return "\n".join([
        *lines,
        "",
        f"mIoU            {score_text(result['miou'])}  ({counted} classes labeled or predicted; Xilinx Caffe's rule)",
        f"mIoU, labeled   {score_text(result['miou_labelled'])}  ({occurring} classes that occur in the labels)",
        f"guessing, mIoU  {score_text(result['chance_miou'])}  (by the classes' frequencies, without looking)",
        f"pixel accuracy  {score_text(result['pixel_accuracy'])}  (of {result['pixels']:,} labeled pixels)",
    ])  # fmt: skip


def _score_snapshots(
    args: argparse.Namespace, segmenter: Segmenter, snapshots: Sequence[tuple[int, str]], scorer: Scorer
) -> None:
    def score(net: Segmenter) -> Row:
        result = _result(scorer(net), ())
        del result["classes"]
        return result

    def line(row: Row) -> str:
        scores = (score_text(row[name]) for name in ("miou", "miou_labelled", "pixel_accuracy"))
        return f"{row['iteration']:>9}  %7s  %8s  %7s" % tuple(scores)

    if not args.json:
        print(f"{'iteration':>9}  {'mIoU':>7}  {'labeled':>8}  {'pixels':>7}", flush=True)
    curves = {"mIoU": "miou", "pixel accuracy": "pixel_accuracy"}
    score_snapshots(args, segmenter, snapshots, score, line, curves=curves, file="miou", counted="pixels")
