"""Enlarged databases: each record of a build several times, each time changed at random as a transform_param says."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from caffecompat import glog
from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.build import BadRecord, BuildError, Plan
from caffecompat.data.recipes import encoded_datum, raw_datum, record_keys
from caffecompat.data.source import AugmentError, Request
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.annotated_datum import AnnotatedDatum, decode_annotated_datum, encode_annotated_datum
from caffecompat.formats.database import key_text
from caffecompat.formats.datum import Datum, decode_datum, encode_datum
from caffecompat.schema import parse_block, parse_text, pb, write_text

__all__ = ["augmented_plan", "read_transform"]

# Without a file: mirrored or not, and SSD's distortions of colors.
_DEFAULT = """transform_param { mirror: true distort_param {
  brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5 contrast_upper: 1.5 %s } }"""
_DEFAULT_COLOR = "saturation_prob: 0.5 saturation_lower: 0.5 saturation_upper: 1.5 hue_prob: 0.5 hue_delta: 18"

_BLOCK = re.compile(r"\b(transform_param|annotated_data_param)\s*:?\s*[{<]")
_OF_A_LAYER = {"transform_param", "annotated_data_param", "name", "type", "top", "include"}

# What is done to floats, or where pictures are read: a net's own transform_param does it.
_NOT_STORED = ("scale", "mean_file", "std_value", "random_erase_param", "random_seed", "force_color", "force_gray")


def read_transform(path: str, layer_type: str, *, color: bool = True) -> pb.LayerParameter:
    """What a text file says is done to records at random.

    Args:
        path: a file with the fields of a transform_param, or with the block ``transform_param { ... }``, next to which
            may be ``annotated_data_param { batch_sampler { ... } }``; "" mirrors and distorts colors.
        layer_type: of the layers that read the records; settings that they do not obey are warned about.
        color: whether the pictures have colors, for what "" means.

    Raises:
        CaffeCompatError: the file cannot be read; PrototxtError names line and column of what is wrong in it.
    """
    layer = pb.LayerParameter(type=layer_type)
    if not path:
        return parse_text(_DEFAULT % (_DEFAULT_COLOR if color else ""), layer)
    text = read_text(path, "the transform_param")
    if _BLOCK.search(text):
        parse_text(text, layer, name=path)
    else:
        parse_block(text, layer, "transform_param", name=path)
    other = [field.name for field, _ in layer.ListFields() if field.name not in _OF_A_LAYER]
    if other:
        raise CaffeCompatError(f"{path}: expected transform_param and annotated_data_param, found {other[0]}")
    if not layer.transform_param.ListFields() and not layer.annotated_data_param.batch_sampler:
        raise CaffeCompatError(f"{path} says nothing; expected fields of transform_param, as in 'mirror: true'")
    given = {field.name for field, _ in layer.transform_param.ListFields()}
    for name in filter(given.__contains__, _NOT_STORED):
        glog.warning(f"{path}: {name} has no effect on the records; it belongs to the net's transform_param")
        layer.transform_param.ClearField(name)
    return layer


def augmented_plan(
    plan: Plan, count: int, transform: pb.LayerParameter, *, encoding: str = "auto", seed: int = 0
) -> Plan:
    """A plan of each record `count` times: all of them in their order, then all again, each changed at random.

    The keys count on; labels and boxes follow the pictures.

    Args:
        plan: of the records, whose pictures are stored raw.
        transform: of `read_transform`.
        encoding: of the new pictures; "auto" makes JPEG files of what was one by its name, and PNG of others.
        seed: the same one makes the same records.

    Raises:
        DataError: the transform_param makes no sense.
    """
    layer = pb.LayerParameter()
    layer.CopyFrom(transform)
    layer.name, layer.type = "transform", plan.layer_type  # whatever the file calls it
    if layer.annotated_data_param.batch_sampler and plan.layer_type != "AnnotatedData":
        raise BuildError("batch_sampler is for records with boxes; expected transform_param alone")
    augmentation = Augmentation(Request(layer, pb.TRAIN))
    change = {"AnnotatedData": _changed_boxes, "ImageLabelData": _changed_pair}.get(plan.layer_type, _changed)
    paths = [key.partition(b"_")[2].decode("utf-8", "surrogateescape") for key in plan.keys]

    def encode(index: int) -> Sequence[bytes]:
        at = index % len(plan.keys)
        chance = random.Random(f"{seed} {index}").getrandbits(64)
        stored = _Stored(paths[at], encoding)
        try:
            return change(plan.encode(at), lambda sample: augmentation.seeded(sample, chance), stored)
        except AugmentError as problem:
            raise BadRecord(f"{key_text(plan.keys[at])}: {problem}") from None

    fingerprint = repr((plan.fingerprint, count, write_text(layer), encoding, seed))
    return replace(plan, keys=record_keys(paths * count), encode=encode, fingerprint=fingerprint)


_Change = Callable[[Sample], Augmented]


class _Stored:
    """How a changed picture becomes a Datum."""

    def __init__(self, path: str, encoding: str) -> None:
        self._path = path
        kind = "jpg" if path.lower().endswith((".jpg", ".jpeg")) else "png"
        self._kind = kind if encoding == "auto" else encoding

    def picture(self, pixels: np.ndarray, like: Datum) -> Datum:
        """The record of (H, W, C), with the label of another."""
        label = -1 if like.label is None else like.label
        if self._kind == "raw":
            return raw_datum(pixels, label)
        return encoded_datum(np.ascontiguousarray(pixels), self._kind, label, self._path)

    def labels(self, numbers: np.ndarray) -> Datum:
        """The record of class numbers (H, W, 1), which no lossy encoding touches."""
        if self._kind == "raw":
            return raw_datum(numbers, 0)
        return encoded_datum(np.ascontiguousarray(numbers), "png", 0, self._path)


def _changed(values: Sequence[bytes], change: _Change, stored: _Stored) -> Sequence[bytes]:
    datum = decode_datum(values[0])
    made = change(Sample(datum.image()))
    return (encode_datum(stored.picture(Augmentation.picture(made), datum)),)


def _changed_pair(values: Sequence[bytes], change: _Change, stored: _Stored) -> Sequence[bytes]:
    image, label = (decode_datum(value) for value in values)
    made = change(Sample(image.image(), label.image()))
    pictures = stored.picture(Augmentation.picture(made), image), stored.labels(Augmentation.label(made))
    return tuple(map(encode_datum, pictures))


def _changed_boxes(values: Sequence[bytes], change: _Change, stored: _Stored) -> Sequence[bytes]:
    record = decode_annotated_datum(values[0])
    made = change(Sample(record.datum.image(), None, record.objects))
    assert made.objects is not None
    datum = stored.picture(Augmentation.picture(made), record.datum)
    return (encode_annotated_datum(AnnotatedDatum(datum, made.objects)),)
