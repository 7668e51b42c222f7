"""What a detector's boxes are worth: mean average precision as SSD, Pascal VOC and COCO compute it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch

from caffecompat.arguments import as_count
from caffecompat.data.annotated_recipes import is_voc_folder
from caffecompat.data.dataset import is_dataset
from caffecompat.data.parallel import ordered_map
from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.inference.inference_net import Engine
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.detection_sets import DetectionSetError, LabeledPicture, LabeledPictures, open_detection_set
from caffecompat.evaluate.detector import Detector
from caffecompat.evaluate.fed_model import scored_model
from caffecompat.evaluate.scored_net import own_pictures
from caffecompat.forks import ForkName
from caffecompat.formats.detections import Detection, read_detections
from caffecompat.layers.coco_scores import CocoScores, coco_scores
from caffecompat.layers.detection_pixels import pixel_areas, pixel_overlaps
from caffecompat.layers.detection_scores import COCO, DetectionScores, judge
from caffecompat.net.precision import Amp
from caffecompat.net.weights import WeightPaths
from caffecompat.schema import NetSource
from caffecompat.threads import loader_threads
from caffecompat.wording import few

__all__ = [
    "DetectionTally",
    "evaluate_detection",
    "open_pictures",
    "score_detections",
    "score_detector",
    "score_own_detections",
]

PathLike = str | os.PathLike[str]

Size = tuple[int, int]


class DetectionTally:
    """Detections and objects of a data set, picture by picture.

    Args:
        classes: numbers of the classes, without the background.

    Attributes:
        found: (K, 7) rows [picture, class, score, xmin, ymin, xmax, ymax] in units of the picture, of each picture.
        there: (G, 8) rows [picture, class, instance, xmin, ymin, xmax, ymax, difficult], of each picture.
        sizes: (height, width) of each picture; None where nobody knows.
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = list(classes)
        self.found: list[np.ndarray] = []
        self.there: list[np.ndarray] = []
        self.sizes: list[Size | None] = []

    def add(self, found: np.ndarray, objects: np.ndarray, size: Size | None) -> None:
        """Add a picture: rows [class, score, box], and rows [class, instance, box, difficult]."""
        number = len(self.sizes)
        self.found.append(np.insert(found, 0, number, axis=1))
        self.there.append(np.insert(objects, 0, number, axis=1))
        self.sizes.append(size)

    @property
    def pictures(self) -> int:
        return len(self.sizes)

    def scores(self, threshold: float = 0.5, *, difficult_counts: bool = False) -> DetectionScores:
        """Hits and misses as SSD's DetectionEvaluate and Pascal VOC tell them apart.

        Where the picture's size is known, boxes are compared in pixels, one from 3 to 5 being 3 wide.
        """
        scores = DetectionScores()
        there = _together(self.there, 8)
        counted = there if difficult_counts else there[there[:, 7] == 0]
        counts = [[-1, label, (counted[:, 1] == label).sum(), -1, -1] for label in self.classes]
        scores.add(np.array(counts, np.float32).reshape(-1, 5))
        for found, objects, size in zip(self.found, self.there, self.sizes, strict=True):
            overlaps = _overlaps(found[:, 3:], objects[:, 3:7], size)
            scores.add(judge(found, objects, overlaps, threshold, difficult_counts=difficult_counts))
        return scores

    def mean_average_precision(
        self, version: str = "11point", threshold: float = 0.5, *, difficult_counts: bool = False
    ) -> float:
        """Mean over the classes that have objects, 0 to 1; nan where none has any.

        Args:
            version: "11point" (Pascal VOC 2007), "MaxIntegral" (VOC from 2010 on, ILSVRC), "Integral" (SSD's) or
                "COCO" (`coco`, whatever the other arguments).
            threshold: overlap from which on a detection is a hit.
            difficult_counts: difficult objects have to be found too.

        Raises:
            ValueError: there is no such version.
        """
        if version == COCO:
            return self.coco().ap
        return self.scores(threshold, difficult_counts=difficult_counts).mean_of_present(version)

    def coco(self) -> CocoScores:
        """As pycocotools; difficult objects are crowds."""
        found, there = (np.concatenate(self.in_pixels(rows)) for rows in (self.found, self.there))
        return coco_scores(found, there, np.array(self.classes))

    def in_pixels(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`found` or `there` with boxes in pixels, float64; unchanged where a size is not known."""
        result = [np.zeros((0, 8 if rows is self.there else 7))]
        for one, size in zip(rows, self.sizes, strict=True):
            scaled = one.astype(np.float64)
            if size is not None:
                scaled[:, 3:7] *= np.tile(size[::-1], 2)
            result.append(scaled)
        return result


def _together(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, columns)), *rows])


def _overlaps(found: np.ndarray, objects: np.ndarray, size: Size | None) -> np.ndarray:
    if size is None:
        return pixel_overlaps(found, None, objects, None)
    scale = np.array([size[1], size[0]] * 2, np.float32)
    a, b = found * scale, objects * scale
    return pixel_overlaps(a, pixel_areas(a), b, pixel_areas(b))


def open_pictures(
    data: LabeledPictures | PathLike, root: str = "", which: str = "test", label_map: str = ""
) -> LabeledPictures:
    """Pictures and objects, given in any way that `evaluate_detection` takes.

    Raises:
        CaffeCompatError: there is no such data set.
    """
    if isinstance(data, LabeledPictures):
        return data
    path = os.fspath(data)
    if is_dataset(path) and not is_voc_folder(path):
        return open_detection_set(database=path, label_map=label_map)
    return open_detection_set(source=path, root=root, which=which, label_map=label_map)


def evaluate_detection(
    model: NetSource | Detector | None = None,
    weights: WeightPaths | None = None,
    data: LabeledPictures | PathLike | None = None,
    *,
    results: PathLike | None = None,
    root: str = "",
    which: str = "test",
    label_map: str = "",
    iterations: int | None = None,
    preprocess: Preprocess | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
    rgb: bool | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> DetectionTally:
    """Run a detector over a data set, or take its saved results: what mean average precision is computed from.

    Args:
        model: path of a deploy or test prototxt whose net ends in DetectionOutput or in YOLO's, or a net that was read;
            or of an ONNX file that gives such rows, computed by onnxruntime.
        weights: a weight file, or a list of them; None leaves initial values.
        data: a list of lines "picture annotation.xml", a Pascal VOC folder, COCO's instances (.json), or a database of
            AnnotatedDatums. None: what the AnnotatedData layer of the net's own TEST phase reads.
        results: instead of a net, what one found before: COCO's .json, ILSVRC's .txt, or a folder of VOC's .txt.
        root: folder of the pictures of a list or of COCO.
        which: the list of a VOC folder, ImageSets/Main/WHICH.txt.
        label_map: file with numbers and names of the annotations' classes.
        iterations: pictures to score, of the net's own data batches; None is all.
        preprocess: how pixels become inputs; by default what the prototxt's Input layer states.
        size: (height, width) of the net's input in pixels instead of the prototxt's.
        device: where to compute.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.
        amp: "bf16" or "fp16": layers compute in 16 bits, as of :class:`caffecompat.Net`.
        engine: what computes: "torch", "onnxruntime" (on CPUs), or "auto", the default: the one expected to be faster.
        rgb: of an ONNX file that does not say it: whether its channels are R, G, B.
        on_progress: called with how many pictures are done.

    Returns:
        Detections and objects picture by picture, boxes in units of the picture (0 to 1), with
        `mean_average_precision()` by the rules of VOC and SSD, 0 to 1, and `coco()`.

    Raises:
        CaffeCompatError: the net, its weights, the results or the data cannot be read, or do not fit each other.

    >>> import caffecompat
    >>> tally = caffecompat.evaluate_detection("detect.prototxt", "detect.caffemodel", "boxes.txt")
    >>> (tally.pictures, tally.mean_average_precision(), tally.found[0].shape)
    (2, 1.0, (1, 7))
    >>> caffecompat.evaluate_detection(results="found.json", data="boxes.txt").mean_average_precision()
    1.0
    """
    if (model is None) == (results is None):
        raise CaffeCompatError("give what to score: a net or results, not both")
    if results is not None:
        if data is None:
            raise CaffeCompatError("results need the data that they are of, with the true boxes")
        return score_detections(read_detections(os.fspath(results)), open_pictures(data, root, which, label_map))
    assert model is not None
    iterations = as_count(iterations, "iterations")
    detector = scored_model(
        Detector, model, weights, fed=data is not None, size=size, device=device, allow_missing=allow_missing,
        fork=fork, amp=amp, engine=engine, rgb=rgb,
    )  # fmt: skip
    if data is not None:
        pictures = open_pictures(data, root, which, label_map)
        detector.know_classes(pictures.label_map)
        chosen = preprocess or detector.choose_preprocess()
        return score_detector(detector, pictures, chosen, limit=iterations, on_progress=on_progress)
    if detector.input_shape is not None:
        raise DetectionSetError(f"{detector.path} is fed from outside: give the data to score it on")
    return score_own_detections(detector, own_pictures(detector, iterations)[0], on_progress)


def score_detector(
    detector: Detector,
    pictures: LabeledPictures,
    preprocess: Preprocess,
    *,
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> DetectionTally:
    """Run a net fed from outside over a data set, reading ahead in other threads.

    Raises:
        CaffeCompatError: a picture or its annotations cannot be read, or have classes that the net does not.
    """

    def read(index: int) -> tuple[LabeledPicture, np.ndarray]:
        labeled = pictures.load(index, color=detector.color)
        _check_classes(labeled, detector.labels_known)
        assert labeled.picture is not None
        return labeled, detector.prepare(labeled.picture, preprocess)

    tally = DetectionTally(detector.labels_known)
    count = len(pictures) if limit is None else min(limit, len(pictures))
    reading = ordered_map(read, range(count), loader_threads())
    while batch := list(islice(reading, detector.batch)):
        found = detector.detect_batch(np.concatenate([prepared for _, prepared in batch]))
        for (labeled, _), rows in zip(batch, found, strict=True):
            tally.add(_clipped(rows), labeled.objects, labeled.size)
        on_progress(tally.pictures)
    return tally


def _clipped(rows: np.ndarray) -> np.ndarray:
    """Boxes cut off at the picture's edges."""
    rows[:, 2:] = rows[:, 2:].clip(0, 1)
    return rows


def _check_classes(labeled: LabeledPicture, classes: Sequence[int]) -> None:
    unknown = sorted(set(labeled.objects[:, 0].astype(int).tolist()) - set(classes))
    if unknown:
        raise DetectionSetError(
            f"{labeled.name} has objects of class {unknown[0]}; the net finds classes {classes[0]} to {classes[-1]}. "
            "Is the label map that of the net (--labelmap)?"
        )


def score_own_detections(
    detector: Detector, count: int, on_progress: Callable[[int], None] = lambda done: None
) -> DetectionTally:
    """Score a net on the first `count` pictures that its own TEST-phase data layers bring."""
    tally = DetectionTally(detector.labels_known)
    sizes = detector.own_sizes()
    while tally.pictures < count:
        for found, objects in detector.next_pictures()[: count - tally.pictures]:
            known = sizes[tally.pictures % len(sizes)] if sizes else None
            tally.add(_clipped(found), objects, known)
        on_progress(tally.pictures)
    return tally


def score_detections(results: Sequence[Detection], pictures: LabeledPictures) -> DetectionTally:
    """Score a file of results.

    Pictures are identified by the file's name, its path or (COCO) number, classes by name, category or number.

    Raises:
        CaffeCompatError: results name pictures or classes that the data set does not have.
    """
    classes = pictures.label_map
    labels = sorted(label for label in classes.names if label) or None
    by_picture: dict[str, list[Detection]] = {}
    for detection in results:
        by_picture.setdefault(detection.image, []).append(detection)
    number_of = _class_finder(pictures)
    rows, objects, sizes = [], [], []
    for index in range(len(pictures)):
        labeled = pictures.load(index, picture=False)
        mine = next((by_picture.pop(n) for n in _spellings(pictures, index) if n in by_picture), [])
        scale = np.array([labeled.size[1], labeled.size[0]] * 2, np.float64)
        boxes = np.array([d.box for d in mine]).reshape(-1, 4) / scale
        heads = np.array([[number_of(d.label), d.score] for d in mine]).reshape(-1, 2)
        rows.append(np.concatenate([heads, boxes], 1))
        objects.append(labeled.objects)
        sizes.append(labeled.size)
    if by_picture:
        some = ", ".join(list(by_picture)[:5])
        raise CaffeCompatError(
            f"the results are of {len(by_picture)} pictures that the data set does not have ({some}, ...); it has "
            f"{', '.join(next(pictures.names(index)) for index in range(min(3, len(pictures))))}, ..."
        )
    if labels is None:
        labels = sorted({int(label) for part in objects for label in part[:, 0]})
    tally = DetectionTally(labels)
    for found, there, size in zip(rows, objects, sizes, strict=True):
        tally.add(found, there, size)
    return tally


def _spellings(pictures: LabeledPictures, index: int) -> list[str]:
    names = list(pictures.names(index))
    # COCO's numbers lose the zeros that fill up file names.
    return names + [str(int(name)) for name in names if name.isdecimal()]


def _class_finder(pictures: LabeledPictures) -> Callable[[str], int]:
    """From what results call a class to its number."""
    label_map = pictures.label_map
    numbers = {**{title: label for label, title in label_map.display.items()}, **label_map.labels}
    by_length = sorted(numbers, key=len, reverse=True)

    def find(text: str) -> int:
        if text in numbers:
            return numbers[text]
        if re.fullmatch("[0-9]{1,9}", text) and (not numbers or int(text) in label_map.names):
            return int(text)
        # VOC's files are called after a prefix and the class: comp4_det_test_dog.txt.
        ends = next((name for name in by_length if text.endswith(name)), None)
        if ends is None:
            raise CaffeCompatError(
                f"the results have the class {text!r}, which the label map has not: {few(list(numbers), 12)}"
                if numbers
                else f"the results call a class {text!r}; give its number with --labelmap"
            )
        return numbers[ends]

    return find
