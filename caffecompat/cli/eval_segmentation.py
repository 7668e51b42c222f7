"""Score a segmentation net: IoU of each class, mIoU, pixel accuracy.

The net is a deploy prototxt, fed with the pictures of --list, --db or --images-db and --labels-db; or a train_val
prototxt, whose TEST phase reads its own data (--iterations batches; all of it where that is known).

mIoU is the mean over the classes that are labelled or predicted somewhere (Xilinx Caffe, Cityscapes); a second
figure is over the classes that occur in the labels. Label 255 is ignored.

Where the scores are smaller or larger than the labels, --resize says what gives way: classes (the predicted classes
are brought to the labels' size by nearest, as Xilinx Caffe's SegmentPixelIOU does), scores (bilinearly, before the
best class is taken), or labels (by nearest, to the size of the scores).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.flags import UsageError, device_flags, split_commas
from caffecompat.cli.picture_flags import preprocess_flags, preprocess_of, size_of
from caffecompat.cli.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.evaluate import ConfusionMatrix, Segmenter
    from caffecompat.evaluate.segmentation import Pairs

HELP = "IoU per class, mIoU and pixel accuracy"

Scorer = Callable[["Segmenter"], "ConfusionMatrix"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="FILE", help="deploy or train_val prototxt (required)")
    parser.add_argument("--weights", metavar="FILE", help="its weights (this or --snapshots)")
    parser.add_argument("--snapshots", metavar="PREFIX", help="score every PREFIX_iter_N.caffemodel and draw the curve")
    parser.add_argument("--plot", metavar="FILE", help="where the curve goes: .png, .svg (default PREFIX_miou.png)")
    parser.add_argument("--list", metavar="FILE", help="lines 'picture label-picture'")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="put before the list's paths")
    parser.add_argument("--db", metavar="DIR", help="folder of an image and a label database ('lmdb build' makes them)")
    parser.add_argument("--images-db", metavar="DB", help="database of pictures (LMDB or LevelDB)")
    parser.add_argument("--labels-db", metavar="DB", help="database of label pictures with the same keys")
    parser.add_argument("--iterations", type=int, metavar="N", help="pictures (or batches of a train_val) to score")
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line; or cityscapes, voc")
    parser.add_argument("--ignore", default="255", metavar="A,B", help="label values left out (default 255)")
    parser.add_argument("--resize", default="classes", metavar="WHAT",
                        help="what adapts to the other size: classes, scores or labels (see above)")  # fmt: skip
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    parser.add_argument("--level", type=int, metavar="N", help="NetState level")
    parser.add_argument("--stage", default="", metavar="A,B", help="NetState stages")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    preprocess_flags(parser)
    device_flags(parser)
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.cli.devices import choose_device
    from caffecompat.evaluate import Segmenter
    from caffecompat.report.palette import read_names
    from caffecompat.report.plots import require_matplotlib

    names = read_names(args.classes) if args.classes else None
    if args.plot:
        require_matplotlib(args.plot)
    snapshots = _snapshots(args.snapshots) if args.snapshots else []
    device, _ = choose_device(args.gpu, args.device)
    segmenter = Segmenter(
        args.model, blob=args.blob, device=device, size=size_of(args), level=args.level, stages=split_commas(args.stage)
    )
    scorer, default_names = _scorer(args, segmenter)
    names = default_names if names is None else names
    if snapshots:
        return _score_snapshots(args, segmenter, snapshots, scorer)
    _load(segmenter, args.weights)
    matrix = scorer(segmenter)
    result = _result(matrix, names)
    print(
        json.dumps({"model": args.model, "weights": args.weights, **result}, indent=1) if args.json else _table(result)
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    verb = "caffecompat eval segmentation"
    if not args.model:
        raise UsageError(f"{verb}: needs --model")
    if bool(args.weights) == bool(args.snapshots):
        raise UsageError(f"{verb}: needs --weights FILE, or --snapshots PREFIX to score all of a training's")
    if bool(args.images_db) != bool(args.labels_db):
        raise UsageError(f"{verb}: --images-db and --labels-db go together")
    if sum(map(bool, (args.list, args.db, args.images_db))) > 1:
        raise UsageError(f"{verb}: take one of --list, --db, and --images-db with --labels-db")
    if args.resize not in ("classes", "scores", "labels"):
        raise UsageError(f"{verb}: --resize {args.resize}: expected classes, scores or labels")
    if args.iterations is not None and args.iterations < 1:
        raise UsageError(f"{verb}: --iterations {args.iterations}: at least 1")
    if args.plot and not args.snapshots:
        raise UsageError(f"{verb}: --plot draws the curve of --snapshots")


def _snapshots(prefix: str) -> list[tuple[int, str]]:
    from caffecompat.solver.snapshot import weight_snapshots

    found = weight_snapshots(prefix)
    if not found:
        raise UsageError(f"--snapshots {prefix}: there is no {prefix}_iter_N.caffemodel")
    return found


def _scorer(args: argparse.Namespace, segmenter: Segmenter) -> tuple[Scorer, tuple[str, ...]]:
    """What scores the net on the data that the flags name, and the class names that come with these data."""
    from caffecompat.data.dataset import class_names
    from caffecompat.evaluate.segmentation import DatabasePairs, ListPairs

    pairs: Pairs | None = None
    names: tuple[str, ...] = ()
    if args.list:
        pairs = ListPairs(args.list, args.root_folder)
    elif args.db:
        pairs = DatabasePairs(f"{args.db}/image", f"{args.db}/label")
        names = tuple(class_names(args.db))
    elif args.images_db:
        pairs = DatabasePairs(args.images_db, args.labels_db)
    if pairs is None and segmenter.input_shape is not None:
        raise UsageError(
            f"caffecompat eval segmentation: {args.model} is fed from outside; "
            "give --list FILE, --db DIR, or --images-db with --labels-db"
        )
    if pairs is not None and segmenter.input_shape is None:
        raise UsageError(
            f"caffecompat eval segmentation: {args.model} reads its own data; "
            "leave out --list and the databases, or give a deploy prototxt"
        )
    return (_pair_scorer(args, pairs) if pairs is not None else _own_scorer(args, segmenter)), names


def _pair_scorer(args: argparse.Namespace, pairs: Pairs) -> Scorer:
    from caffecompat.evaluate.segmentation import score_pairs

    preprocess, ignore = preprocess_of(args), _ignored(args)

    def score(segmenter: Segmenter) -> ConfusionMatrix:
        with live_line(min(args.iterations or len(pairs), len(pairs)), "pictures", args.progress) as update:
            return score_pairs(
                segmenter, pairs, preprocess, resize=args.resize, ignore=ignore, limit=args.iterations,
                on_progress=lambda done, matrix: update(done, f"mIoU {matrix.miou():.4f}"),
            )  # fmt: skip

    return score


def _own_scorer(args: argparse.Namespace, segmenter: Segmenter) -> Scorer:
    from caffecompat.evaluate.segmentation import own_records, score_own_data

    ignore, known = _ignored(args), own_records(segmenter)
    if not known and not args.iterations:
        raise UsageError(f"caffecompat eval segmentation: give --iterations: how many batches of {args.model}'s data")
    batches = args.iterations or -(-known[0] // known[1])  # type: ignore[index]
    records = known[0] if known and not args.iterations else None

    def score(segmenter: Segmenter) -> ConfusionMatrix:
        with live_line(batches, "batches", args.progress) as update:
            return score_own_data(
                segmenter, batches, records=records, resize=args.resize, ignore=ignore,
                on_progress=lambda done, matrix: update(done, f"mIoU {matrix.miou():.4f}"),
            )  # fmt: skip

    return score


def _ignored(args: argparse.Namespace) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in split_commas(args.ignore))
    except ValueError:
        raise UsageError(f"--ignore {args.ignore}: expected label values, as in 255 or 254,255") from None


def _load(segmenter: Segmenter, weights: str) -> None:
    segmenter.load(weights)
    if segmenter.missing:
        glog.warning(f"{weights} has no weights for: {', '.join(segmenter.missing)}; they stay at initial values")


def _result(matrix: ConfusionMatrix, names: tuple[str, ...]) -> dict[str, Any]:
    rows = zip(matrix.iou(), matrix.labelled.tolist(), matrix.predicted.tolist(), strict=True)
    return {
        "classes": [
            {
                "class": index,
                "name": names[index] if index < len(names) else str(index),
                "iou": _plain(iou),
                "pixels": labelled,
                "predicted": predicted,
            }
            for index, (iou, labelled, predicted) in enumerate(rows)
        ],
        "miou": _plain(matrix.miou()),
        "miou_labelled": _plain(matrix.miou_labelled()),
        "pixel_accuracy": _plain(matrix.pixel_accuracy()),
        "chance_miou": _plain(matrix.chance_miou()),
        "pixels": int(matrix.counts.sum()),
    }


def _plain(value: float) -> float | None:
    """JSON knows no nan."""
    return None if value != value else float(value)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(result: dict[str, Any]) -> str:
    rows = result["classes"]
    width = max(len("class"), *(len(row["name"]) for row in rows))
    lines = [f"{'class':<{width}}  {'IoU':>7}  {'pixels':>13}  {'predicted':>13}"]
    lines += [f"{r['name']:<{width}}  {_score(r['iou']):>7}  {r['pixels']:>13,}  {r['predicted']:>13,}" for r in rows]
    counted = sum(row["iou"] is not None for row in rows)
    occurring = sum(row["pixels"] > 0 for row in rows)
    return "\n".join([
        *lines,
        "",
        f"mIoU            {_score(result['miou'])}  ({counted} classes labelled or predicted; Xilinx Caffe's rule)",
        f"mIoU, labelled  {_score(result['miou_labelled'])}  ({occurring} classes that occur in the labels)",
        f"guessing, mIoU  {_score(result['chance_miou'])}  (by the classes' frequencies, without looking)",
        f"pixel accuracy  {_score(result['pixel_accuracy'])}  (of {result['pixels']:,} labelled pixels)",
    ])  # fmt: skip


def _score_snapshots(
    args: argparse.Namespace, segmenter: Segmenter, snapshots: list[tuple[int, str]], scorer: Scorer
) -> int:
    from caffecompat.report.plots import PlotError, score_curve

    rows: list[dict[str, Any]] = []
    if not args.json:
        print(f"{'iteration':>9}  {'mIoU':>7}  {'labelled':>8}  {'pixels':>7}", flush=True)
    for iteration, path in snapshots:
        _load(segmenter, path)
        result = _result(scorer(segmenter), ())
        del result["classes"]
        rows.append({"iteration": iteration, "weights": path, **result})
        if not args.json:
            scores = (_score(result[name]) for name in ("miou", "miou_labelled", "pixel_accuracy"))
            print(f"{iteration:>9}  %7s  %8s  %7s" % tuple(scores), flush=True)
    best = max(rows, key=lambda row: row["miou"] or 0)
    out = args.plot or f"{args.snapshots}_miou.png"
    curves = {
        label: [(row["iteration"], row[name]) for row in rows if row[name] is not None]
        for label, name in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"))
    }
    try:
        score_curve(out, curves, f"{args.model}, {best['pixels']:,} pixels")
    except PlotError as problem:
        if args.plot:
            raise
        glog.warning(f"no curve drawn: {problem}")
        out = None
    if args.json:
        print(json.dumps({"model": args.model, "snapshots": rows, "best": best, "plot": out}, indent=1))
    else:
        print(f"best: {_score(best['miou'])} at iteration {best['iteration']} ({best['weights']})")
        if out:
            print(f"wrote {out}")
    return 0
