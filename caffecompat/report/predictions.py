"""What a net makes of the first pictures of its own test data, beside what it should."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caffecompat.data.contact_sheet import viewable
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.classification import Classifier
from caffecompat.evaluate.detector import Detector
from caffecompat.evaluate.scored_net import ScoredNet, own_records
from caffecompat.evaluate.segmenter import Segmenter, scores_to_classes
from caffecompat.formats.label_map import read_label_map
from caffecompat.formats.picture import encode_picture, resize_picture
from caffecompat.layers import class_of
from caffecompat.report.boxes import draw_detections
from caffecompat.report.overlay import overlay
from caffecompat.report.palette import Palette
from caffecompat.schema import NetDocument, pb
from caffecompat.schema.data_layers import reads_data

__all__ = ["Prediction", "picture_uri", "predict"]

_SIDE = 320  # pixels of the larger side on the page, at most
_SMALL = 64  # pictures below are enlarged by whole numbers
_BEST = 5
_SURE = 0.3  # score of boxes that are shown

Row = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Prediction:
    """Pictures of one record side by side, (H, W, 3) uint8 BGR with what each shows, and a line about them."""

    pictures: list[tuple[str, np.ndarray]]
    text: str = ""


def predict(document: NetDocument, weights: str, count: int, palette: Palette) -> list[Prediction]:
    """Run a net on the first records that its own data layers bring in phase TEST.

    Args:
        document: a net with data and labels.
        weights: its weights.
        palette: names and colors of the classes.

    Raises:
        CaffeCompatError: the net has no scores or no data, or its data cannot be read.
    """
    if not any(map(reads_data, document.message.layer)):
        raise CaffeCompatError("the net reads no data of its own in phase TEST")
    scored = _scored(document, weights)
    known = own_records(scored)
    count = min(count, known[0]) if known else count
    if isinstance(scored, Detector) and scored.label_map_file and not palette.names:
        titles = read_label_map(scored.label_map_file)
        palette = Palette(
            palette.colors, tuple(titles.title(label) for label in range(max(titles.names, default=0) + 1))
        )
    try:
        return [found for _, found in zip(range(count), _predictions(scored, palette), strict=False)]
    finally:
        scored.net.close()


def _scored(document: NetDocument, weights: str) -> ScoredNet:
    if any(class_of(layer.type).gives_detections for layer in document.message.layer):
        return Detector(document, weights)
    try:
        return Classifier(document, weights)
    except CaffeCompatError:
        return Segmenter(document, weights)


def _predictions(scored: ScoredNet, palette: Palette) -> Iterator[Prediction]:
    assert scored.labels is not None, "the net reads its own data"
    while True:
        batch = scored.net.next_batch()
        data = next((blob for blob, values in batch.items() if _is_picture(values)), None)
        if data is None:
            raise CaffeCompatError("the data of the net are no pictures")
        pictures = [_as_seen(np.asarray(each), _transform(scored, data)) for each in batch[data]]
        with torch.no_grad():
            tops = scored.net(batch)
        scores, labels = tops[scored.scores].float().cpu(), np.asarray(tops[scored.labels].cpu())
        if isinstance(scored, Detector):
            found, objects = scores.numpy().reshape(-1, 7), labels.reshape(-1, labels.shape[-1])
            for item, picture in enumerate(pictures):
                yield _boxes(picture, found[found[:, 0] == item], objects[objects[:, 0] == item], palette)
        elif isinstance(scored, Segmenter):
            truth = labels.reshape(len(pictures), *labels.shape[-2:])
            classes = scores_to_classes(scores, truth.shape[1:])
            for each in zip(pictures, truth.astype(np.uint8), classes, strict=True):
                yield _segments(*each, palette)
        else:
            for picture, row, label in zip(pictures, scores.flatten(1).numpy(), labels.reshape(len(pictures), -1)[:, 0],
                                           strict=True):  # fmt: skip
                yield _classes(picture, row, int(label), palette)


def _is_picture(values: object) -> bool:
    return getattr(values, "ndim", 0) == 4 and values.shape[1] in (1, 3)  # type: ignore[attr-defined]


def _transform(scored: ScoredNet, data: str) -> pb.TransformationParameter:
    return next(layer.param.transform_param for layer in scored.net.layers if data in layer.tops)


def _as_seen(values: np.ndarray, transform: pb.TransformationParameter) -> np.ndarray:
    """A net's input (C, H, W) as a picture (H, W, 3) again: scale and mean values undone, or else stretched."""
    picture = values.transpose(1, 2, 0).astype(np.float32)
    if transform.mean_value or (transform.HasField("scale") and not transform.mean_file):
        picture = picture / (transform.scale or 1) + np.array(transform.mean_value or [0], np.float32)
        picture = picture.round().clip(0, 255).astype(np.uint8)
    return viewable(picture)


def _segments(picture: np.ndarray, truth: np.ndarray, classes: np.ndarray, palette: Palette) -> Prediction:
    picture = resize_picture(picture, *truth.shape)
    counted = truth != 255
    right = float((classes == truth)[counted].mean()) if counted.any() else float("nan")
    wrong = np.where((counted & (classes != truth))[:, :, None], np.array([60, 60, 230], np.uint8), picture // 2)
    return Prediction(
        [("picture", picture), ("labels", overlay(picture, truth, palette, 0.75)),
         ("prediction", overlay(picture, classes, palette, 0.75)), ("wrong pixels", wrong)],
        f"{right:.1%} of the labeled pixels are right",
    )  # fmt: skip


def _boxes(picture: np.ndarray, found: np.ndarray, objects: np.ndarray, palette: Palette) -> Prediction:
    """Rows [image, class, score, x1, y1, x2, y2] and [image, class, instance, x1, y1, x2, y2, difficult]."""
    picture = _enlarged(picture)
    sure = found[(found[:, 1] >= 0) & (found[:, 2] >= _SURE)][:, 1:7]
    true = np.concatenate([objects[:, 1:2], np.ones((len(objects), 1)), objects[:, 3:7]], axis=1)
    return Prediction(
        [("objects", draw_detections(picture, true, palette.name, scores=False)),
         ("prediction", draw_detections(picture, sure, palette.name))],
        f"{len(objects)} objects, {len(sure)} found with a score of at least {_SURE:g}",
    )  # fmt: skip


def _classes(picture: np.ndarray, scores: np.ndarray, label: int, palette: Palette) -> Prediction:
    best: Sequence[int] = np.argsort(-scores, kind="stable")[:_BEST].tolist()
    found = ", ".join(f"{palette.name(at)} {scores[at]:.3f}" for at in best)
    verdict = "right" if best[0] == label else "wrong"
    return Prediction([("picture", picture)], f"{verdict}: {palette.name(label)}; net: {found}")


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture by a whole number larger, so that letters on it can be read."""
    height, width = picture.shape[:2]
    times = max(1, _SIDE // max(height, width))
    return resize_picture(picture, height * times, width * times, nearest=True)


def picture_uri(picture: np.ndarray) -> str:
    """A picture as the source of an img element: JPEG, or PNG where it is small, at most 320 pixels wide or high."""
    height, width = picture.shape[:2]
    largest = max(height, width)
    if largest > _SIDE:
        height, width = (max(1, round(side * _SIDE / largest)) for side in (height, width))
        picture = resize_picture(picture, height, width)
    elif largest < _SMALL:
        picture = _enlarged(picture)
    kind = "png" if largest < _SMALL else "jpg"
    encoded = encode_picture(picture, kind)
    assert encoded is not None
    return f"data:image/{'jpeg' if kind == 'jpg' else kind};base64,{base64.b64encode(encoded).decode()}"
