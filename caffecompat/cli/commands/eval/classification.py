"""Score a net that classifies pictures: top-1, top-5, each class, the confusion matrix.

The net is a deploy or train_val prototxt, fed with the pictures of --list (lines 'path label') or --db (LMDB or
LevelDB); without these a train_val prototxt's TEST phase reads its own data.

Pictures are treated as Caffe's data layers do in TEST phase: a list's are resized to --resize, if given, and the
center of the net's input size is cut out; without --resize they are resized to the input. Then mean and scale.
--short-side 256 --crop 224 --interp bicubic is how most nets of ImageNet are scored, also out of a database; without
these flags a short_side that the net's transform_param has counts.
Accuracy is that of Caffe's Accuracy layer.

With --model net.onnx onnxruntime computes the net; pictures are prepared as the file's metadata say, or as flags do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import COUNT, UsageError, split_commas
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import (
    flags_preprocess,
    names_fitting_sizes,
    parse_size,
    preprocess_of,
    states_preprocess,
)
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
    from caffecompat.data.preprocess import Preprocess
    from caffecompat.evaluate.classification import Classifier
    from caffecompat.evaluate.top_k import TopK

HELP = "top-1, top-5, confusion matrix"

_VERB = "caffecompat eval classification"
_LONG_TABLE, _WIDE_MATRIX = 50, 20

Scorer = Callable[["Classifier"], "TopK"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="FILE", help="deploy or train_val prototxt, or ONNX file (required)")
    weights_flags(parser, "top1")
    parser.add_argument("--list", metavar="FILE", help="lines 'path label'")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="put before the list's paths as it is")
    parser.add_argument("--db", metavar="DB", help="LMDB or LevelDB of labeled pictures")
    parser.add_argument("--resize", metavar="WxH", help="resize a list's pictures to this, then cut the center")
    parser.add_argument("--short-side", type=COUNT, metavar="N", help="resize so that the shorter side is N, then cut")
    parser.add_argument(
        "--crop", type=COUNT, metavar="N", help="cut NxN out of the center; the net's input becomes that"
    )
    parser.add_argument("--interp", metavar="HOW", help="how to resize: bilinear (default), bicubic, area")
    parser.add_argument("--mean-file", default="", metavar="FILE", help="mean picture (binaryproto), pixel by pixel")
    parser.add_argument("--iterations", type=COUNT, metavar="N", help="batches to score (default: all pictures once)")
    parser.add_argument("--batch", type=COUNT, metavar="N", help="pictures a batch instead of the prototxt's number")
    parser.add_argument("--top", default="1,5", metavar="A,B", help="which k to count (default 1,5)")
    parser.add_argument("--classes", metavar="FILE", help="class names, one a line (synset_words.txt)")
    parser.add_argument(
        "--confusion", type=output("a table"), metavar="FILE", help="write the confusion matrix as CSV, rows are labels"
    )
    parser.add_argument("--blob", metavar="NAME", help="blob of the scores, where it is not plain which")
    onnx_flag(parser)
    net_flags(parser, "the table")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _check(args)
    from caffecompat.evaluate.classification import Classifier
    from caffecompat.report.palette import read_names

    names = read_names(args.classes) if args.classes else ()
    snapshots = find_snapshots(args)
    classifier = scored_net(Classifier, args, fed=bool(args.list or args.db), blob=args.blob)
    scorer = _scorer(args, classifier)
    if snapshots:
        _score_snapshots(args, classifier, snapshots, scorer)
        return 0
    load_weights(classifier, args.weights, args)
    result = scorer(classifier)
    if args.confusion:
        _write_confusion(args.confusion, result)
    names = names or _database_names(args.db)
    if args.json:
        print(json.dumps({"model": args.model, "weights": args.weights, **_as_json(result, names)}, indent=1))
    else:
        print(_table(result, names))
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.model:
        raise UsageError(f"{_VERB}: needs --model")
    check_weights(args, _VERB)
    if args.list and args.db:
        raise UsageError(f"{_VERB}: take one of --list and --db")
    _check_sizes(args)
    _ks(args)


def _check_sizes(args: argparse.Namespace) -> None:
    """Whether --short-side, --crop and --interp go together; --crop becomes --size."""
    from caffecompat.evaluate.labeled_pictures import INTERPOLATIONS

    if args.interp is not None and args.interp not in INTERPOLATIONS:
        raise UsageError(f"{_VERB}: --interp {args.interp}: expected {', '.join(INTERPOLATIONS)}")
    given = [f"--{name.replace('_', '-')}" for name in ("short_side", "crop", "interp") if getattr(args, name)]
    if given and not (args.list or args.db):
        raise UsageError(f"{_VERB}: {given[0]} needs --list or --db; a net's own data layer has its transform_param")
    if args.short_side and (args.resize or args.mean_file):
        raise UsageError(f"{_VERB}: --short-side leaves pictures in several sizes: without --resize and --mean-file")
    if args.interp and args.db and not args.short_side:
        raise UsageError(f"{_VERB}: --interp needs --short-side; pictures of a database are not resized")
    if args.crop:
        if not (args.short_side or args.resize):
            raise UsageError(f"{_VERB}: --crop needs --short-side or --resize")
        square = f"{args.crop}x{args.crop}"
        if args.size not in (None, square):
            raise UsageError(f"{_VERB}: --size {args.size} and --crop {args.crop} are two sizes of the input")
        args.size = square


def _ks(args: argparse.Namespace) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({1, *(int(part) for part in split_commas(args.top))}))
    except ValueError:
        ks = (0,)
    if min(ks) < 1:
        raise UsageError(f"{_VERB}: --top {args.top}: expected numbers, as in 1,5")
    return ks


def _scorer(args: argparse.Namespace, classifier: Classifier) -> Scorer:
    from caffecompat.evaluate.classification import evaluate_classification
    from caffecompat.evaluate.labeled_pictures import open_labeled
    from caffecompat.evaluate.scored_net import own_pictures

    settings: dict[str, Any] = {"ks": _ks(args), "iterations": args.iterations, "batch": args.batch}
    if classifier.input_shape is None:
        total, _ = own_pictures(classifier, args.iterations)
    elif args.list or args.db:
        stated = args.mean_file or states_preprocess(args)
        pictures = settings["data"] = open_labeled(
            classifier, args.list or args.db, args.root_folder, database=bool(args.db),
            resize=parse_size(args.resize, "resize"), short_side=args.short_side, interp=args.interp,
            mean_file=args.mean_file, preprocess=_given(args, classifier) if stated else None,
        )  # fmt: skip
        batch = args.batch or classifier.input_shape[0]
        total = min(args.iterations * batch, pictures.count) if args.iterations else pictures.count
    else:
        raise UsageError(f"{_VERB}: {args.model} is fed from outside; give --list FILE or --db DB")

    def score(classifier: Classifier) -> TopK:
        with live_line(total, "pictures", args.progress) as update:
            return evaluate_classification(
                classifier, on_progress=lambda done, result: update(done, f"top-1 {result.accuracy():.4f}"), **settings
            )

    return score


def _given(args: argparse.Namespace, classifier: Classifier) -> Preprocess:
    """What the flags say; a warning where the prototxt says something else."""
    return flags_preprocess(args) if args.mean_file else preprocess_of(args, classifier)


def _database_names(database: str | None) -> tuple[str, ...]:
    from caffecompat.data.dataset import class_names

    return tuple(class_names(database)) if database else ()


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def _accuracies(result: TopK) -> dict[str, float | None]:
    return {f"top{k}": plain(result.accuracy(k)) for k in result.ks}


def _as_json(result: TopK, names: tuple[str, ...]) -> Row:
    rows = zip(result.counts.sum(1), result.recall(), result.counts.sum(0), result.precision(), strict=True)
    return {
        "pictures": result.total,
        "pictures_of_no_class": result.outside,
        **_accuracies(result),
        "classes": [
            {"class": i, "name": _name(names, i), "pictures": int(labeled), "recall": plain(recall),
             "predicted": int(predicted), "precision": plain(precision)}
            for i, (labeled, recall, predicted, precision) in enumerate(rows)
        ],
        "confusion": result.counts.tolist(),
    }  # fmt: skip


def _table(result: TopK, names: tuple[str, ...]) -> str:
    lines = []
    if result.classes <= _LONG_TABLE:
        width = max(len("class"), *(len(_name(names, i)) for i in range(result.classes)))
        lines.append(f"{'class':<{width}}  {'pictures':>9}  {'right':>7}  {'predicted':>9}  {'precision':>9}")
        rows = zip(result.counts.sum(1), result.recall(), result.counts.sum(0), result.precision(), strict=True)
        for index, (labeled, recall, predicted, precision) in enumerate(rows):
            lines.append(
                f"{_name(names, index):<{width}}  {labeled:>9,}  {score_text(plain(recall)):>7}  {predicted:>9,}  "
                f"{score_text(plain(precision)):>9}"
            )
        lines.append("")
    if result.classes <= _WIDE_MATRIX:
        lines += [*_matrix(result), ""]
    confusions = result.confusions()
    if confusions:
        lines.append("most frequent mistakes:")
        lines += [f"  {_name(names, a)} taken for {_name(names, b)}: {count:,}" for a, b, count in confusions]
        lines.append("")
    lines += [f"top-{k:<4} {result.accuracy(k):.4f}  ({result.hits[i]:,} of {result.total:,} pictures)"
              for i, k in enumerate(result.ks)]  # fmt: skip
    return "\n".join(lines)


def _matrix(result: TopK) -> list[str]:
    """Rows are labels, columns what they were taken for."""
    width = max(len(str(result.counts.max())), len(str(result.classes))) + 1
    head = "label \\ taken for "
    lines = [head + "".join(f"{i:>{width}}" for i in range(result.classes))]
    return [
        *lines,
        *(f"{i:>{len(head)}}" + "".join(f"{n:>{width}}" for n in row) for i, row in enumerate(result.counts)),
    ]


def _write_confusion(path: str, result: TopK) -> None:
    from caffecompat.formats.atomic import atomic_write

    with atomic_write(path) as file:
        file.write("".join(",".join(map(str, row)) + "\n" for row in result.counts.tolist()).encode())


def _score_snapshots(
    args: argparse.Namespace, classifier: Classifier, snapshots: Sequence[tuple[int, str]], scorer: Scorer
) -> None:
    ks = _ks(args)

    def score(net: Classifier) -> Row:
        result = scorer(net)
        return {**_accuracies(result), "pictures": result.total}

    def line(row: Row) -> str:
        shown = "  ".join(f"top-{k} {score_text(row[f'top{k}'])}" for k in ks)
        return f"iteration {row['iteration']:>8}  {shown}"

    curves = {f"top-{k}": f"top{k}" for k in ks}
    score_snapshots(args, classifier, snapshots, score, line, curves=curves, file="top1", counted="pictures")
