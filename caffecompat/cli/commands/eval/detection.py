"""Score a detector, or a file of its results: mean average precision.

The net is a deploy prototxt, fed with the pictures of --list (lines 'picture annotation.xml', a Pascal VOC folder with
--voc-set, or COCO's instances .json) or --db (LMDB or LevelDB of annotated records); or a test prototxt, whose
AnnotatedData layer reads its own. --results scores what was saved before instead: COCO's .json, ILSVRC's .txt, or a
folder of VOC's .txt.

Printed are each class, the mean by Pascal VOC 2007 (11point), by VOC from 2010 on (MaxIntegral), by SSD's default
(Integral), and COCO's AP as pycocotools has it. Means are over the classes that have objects; where some have none,
SSD's mean, for which these count as 0, is printed as well. Difficult objects need not be found.

With --model net.onnx onnxruntime computes the net; pictures are prepared as the file's metadata say, or as flags do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from caffecompat.cli.common.flags import COUNT, UsageError, add_switch, finite
from caffecompat.cli.common.outputs import output
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
    from caffecompat.evaluate.detection import DetectionTally
    from caffecompat.evaluate.detection_sets import LabeledPictures
    from caffecompat.evaluate.detector import Detector
    from caffecompat.formats.label_map import LabelMap

HELP = "mAP (11point, MaxIntegral, Integral, COCO)"

_VERB = "caffecompat eval detection"
_RULES = (
    ("11point", "Pascal VOC 2007"),
    ("MaxIntegral", "Pascal VOC from 2010 on, ILSVRC"),
    ("Integral", "SSD's default"),
)

Scorer = Callable[["Detector"], "DetectionTally"]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="FILE", help="deploy or test prototxt, or ONNX file (or give --results)")
    weights_flags(parser, "map")
    parser.add_argument("--results", metavar="FILE|DIR", help="saved results to score instead of a net")
    parser.add_argument("--list", metavar="SOURCE", help="list of pictures and annotations, VOC folder, COCO .json")
    parser.add_argument("--voc-set", metavar="NAME", help="which list of a VOC folder (default test)")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="where the pictures of a list or of COCO lie")
    parser.add_argument("--db", metavar="DB", help="database of annotated records")
    parser.add_argument("--labelmap", default="", metavar="FILE", help="numbers and names of the classes")
    parser.add_argument(
        "--ap-version",
        default="11point",
        metavar="V",
        help="rule of the table: 11point (default), MaxIntegral, Integral or COCO",
    )
    parser.add_argument("--overlap", type=finite, metavar="T",
                        help="overlap that is a hit (default 0.5, or a test net's own)")  # fmt: skip
    add_switch(parser, "difficult", "difficult objects have to be found too")
    parser.add_argument("--iterations", type=COUNT, metavar="N", help="pictures (or batches of a test net) to score")
    parser.add_argument(
        "--save", type=output(), metavar="PATH", help="write the results: FILE.json as COCO's, or a folder as VOC's"
    )
    onnx_flag(parser)
    net_flags(parser, "the table")


@names_fitting_sizes
def run(args: argparse.Namespace) -> int:
    _take_old_set(args)
    _check(args)
    from caffecompat.formats.label_map import LabelMap, read_label_map

    snapshots = find_snapshots(args)
    pictures = _pictures(args)
    names = pictures.label_map if pictures is not None else LabelMap()
    if args.labelmap:
        names = read_label_map(args.labelmap)
    if args.results:
        from caffecompat.evaluate.detection import evaluate_detection

        return _report(args, evaluate_detection(results=args.results, data=pictures), names, pictures)
    detector, scorer = _detector(args, pictures)
    if not names.names and detector.label_map_file:
        names = read_label_map(detector.label_map_file)
    if snapshots:
        _score_snapshots(args, detector, snapshots, scorer)
        return 0
    load_weights(detector, args.weights, args)
    return _report(args, scorer(detector), names, pictures)


def _take_old_set(args: argparse.Namespace) -> None:
    """``--set NAME`` without a value is an older spelling of ``--voc-set NAME``."""
    lists = [setting for setting in args.settings if "=" not in setting]
    args.settings = [setting for setting in args.settings if "=" in setting]
    if lists and args.voc_set is None:
        args.voc_set = lists[-1]


def _check(args: argparse.Namespace) -> None:
    from caffecompat.layers.detection_scores import AP_VERSIONS, COCO

    if bool(args.model) == bool(args.results):
        raise UsageError(f"{_VERB}: needs --model, or --results to score what was saved")
    if args.model:
        check_weights(args, _VERB)
    if args.list and args.db:
        raise UsageError(f"{_VERB}: take one of --list and --db")
    if args.results and not (args.list or args.db):
        raise UsageError(f"{_VERB}: --results needs the truth: --list or --db")
    if args.ap_version not in (*AP_VERSIONS, COCO):
        raise UsageError(f"{_VERB}: --ap-version {args.ap_version}: expected {', '.join(AP_VERSIONS)} or {COCO}")
    if args.overlap is not None and not 0 < args.overlap <= 1:
        raise UsageError(f"{_VERB}: --overlap {args.overlap:g}: above 0, at most 1")


def _pictures(args: argparse.Namespace) -> LabeledPictures | None:
    if not (args.list or args.db):
        return None
    from caffecompat.evaluate.detection_sets import open_detection_set

    return open_detection_set(
        source=args.list or "",
        database=args.db or "",
        root=args.root_folder,
        which=args.voc_set or "test",
        label_map=args.labelmap,
    )


def _detector(args: argparse.Namespace, pictures: LabeledPictures | None) -> tuple[Detector, Scorer]:
    from caffecompat.evaluate.detection import evaluate_detection
    from caffecompat.evaluate.detector import Detector
    from caffecompat.evaluate.scored_net import own_pictures

    detector = scored_net(Detector, args, fed=pictures is not None)
    settings: dict[str, Any] = {"iterations": args.iterations}
    if pictures is not None:
        settings["preprocess"] = preprocess_of(args, detector)
        total = min(args.iterations or len(pictures), len(pictures))
    elif detector.input_shape is not None:
        raise UsageError(f"{_VERB}: {args.model} is fed from outside; give --list or --db")
    else:
        total, _ = own_pictures(detector, args.iterations)
        if args.overlap is None and detector.evaluation is not None:
            args.overlap = detector.evaluation.overlap_threshold

    def score(detector: Detector) -> DetectionTally:
        with live_line(total, "pictures", args.progress) as update:
            return evaluate_detection(detector, data=pictures, on_progress=lambda done: update(done, ""), **settings)

    return detector, score


def _result(args: argparse.Namespace, tally: DetectionTally) -> Row:
    """All scores; average precision of a class without objects is None."""
    from caffecompat.layers.detection_scores import COCO

    overlap = 0.5 if args.overlap is None else args.overlap
    scores = tally.scores(overlap, difficult_counts=args.difficult)
    by_rule = {rule: scores.average_precisions(rule) for rule, _ in _RULES}
    present = [label for label, count in scores.objects.items() if count]
    coco = tally.coco()
    by_class = dict(zip(coco.labels.tolist(), coco.precision.mean(1).tolist(), strict=True))
    return {
        "pictures": tally.pictures,
        "overlap": round(overlap, 6),
        "mAP": {rule: plain(scores.mean_of_present(rule)) for rule in by_rule},
        "mAP_all_classes": {rule: plain(scores.mean(rule)) for rule in by_rule},
        "coco": {"AP": plain(coco.ap), "AP50": plain(coco.ap50), "AP75": plain(coco.ap75)},
        "classes": [
            {
                "class": label,
                "objects": scores.objects[label],
                "detections": sum(int((rows[:, 1] == label).sum()) for rows in tally.found),
                **{rule: values[label] or 0.0 if label in present else None for rule, values in by_rule.items()},
                COCO: plain(by_class[label]),
            }
            for label in scores.objects
        ],
    }


def _report(args: argparse.Namespace, tally: DetectionTally, names: LabelMap, pictures: LabeledPictures | None) -> int:
    result = _result(args, tally)
    for row in result["classes"]:
        row["name"] = names.title(row["class"])
    if args.save:
        result["saved"] = _save(args.save, tally, names, pictures)
    if args.json:
        what = {"results": args.results} if args.results else {"model": args.model, "weights": args.weights}
        print(json.dumps({**what, **result}, indent=1))
    else:
        print(_table(result, args.ap_version))
    return 0


def _save(path: str, tally: DetectionTally, names: LabelMap, pictures: LabeledPictures | None) -> list[str]:
    import os

    from caffecompat.formats.detections import Detection, write_detections

    coco = path.endswith(".json")
    directory, prefix = (os.path.dirname(path), os.path.basename(path)[:-5]) if coco else (path, "")
    os.makedirs(directory or ".", exist_ok=True)
    calls = {label: names.names.get(label, str(label)) for label in tally.classes}
    found = [
        Detection(_picture_name(pictures, number), calls[int(row[1])], float(row[2]), tuple(row[3:].tolist()))
        for number, rows in enumerate(tally.in_pixels(tally.found)[1:])
        for row in rows
    ]
    numbers = {name: label for label, name in calls.items()}
    return write_detections(directory, prefix, "COCO" if coco else "VOC", found, numbers, background=-1)


def _picture_name(pictures: LabeledPictures | None, number: int) -> str:
    return next(pictures.names(number)) if pictures is not None else str(number)


def _table(result: Row, rule: str) -> str:
    rows = result["classes"]
    width = max(len("class"), *(len(row["name"]) for row in rows))
    lines = [f"{'class':<{width}}  {'AP':>7}  {'objects':>8}  {'detections':>10}"]
    lines += [
        f"{r['name']:<{width}}  {score_text(r[rule]):>7}  {r['objects']:>8,}  {r['detections']:>10,}" for r in rows
    ]
    counted = sum(row["objects"] > 0 for row in rows)
    lines.append("")
    for name, whose in _RULES:
        lines.append(f"mAP, {name:<11}  {score_text(result['mAP'][name])}  ({whose})")
    if counted < len(rows) and rule in result["mAP_all_classes"]:
        lines.append(
            f"SSD's mean        {score_text(result['mAP_all_classes'][rule])}  ({rule}, over all {len(rows)} classes)"
        )
    ap, ap50, ap75 = (score_text(result["coco"][name]) for name in ("AP", "AP50", "AP75"))
    lines.append(f"COCO's AP         {ap}  (AP50 {ap50}, AP75 {ap75})")
    lines.append(f"{counted} classes with objects, {result['pictures']:,} pictures, overlap {result['overlap']:g}")
    return "\n".join([*lines, *(f"wrote {path}" for path in result.get("saved", []))])


def _score_snapshots(
    args: argparse.Namespace, detector: Detector, snapshots: Sequence[tuple[int, str]], scorer: Scorer
) -> None:
    def score(net: Detector) -> Row:
        result = _result(args, scorer(net))
        return {"mAP": result["mAP"].get(args.ap_version, result["coco"]["AP"]), "coco": result["coco"]}

    def line(row: Row) -> str:
        scores = f"mAP {score_text(row['mAP'])}  COCO's AP {score_text(row['coco']['AP'])}"
        return f"iteration {row['iteration']:>8}  {scores}"

    score_snapshots(args, detector, snapshots, score, line, curves={f"mAP, {args.ap_version}": "mAP"}, file="map")
