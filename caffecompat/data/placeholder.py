"""Shapes of data layers whose data is not here, for looking at a net without them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from google.protobuf.message import Message

from caffecompat.arguments import as_count, as_size
from caffecompat.data.source import DataError, Shape, Source, make_source
from caffecompat.forks import Fork
from caffecompat.schema import pb
from caffecompat.schema.data_layers import Labels, data_layer

__all__ = ["Placeholder", "Placeholders", "placeholder"]

_BOXES = 8  # AnnotatedData's label is (1, 1, boxes of the batch, 8); shapes need no more than one box


class Placeholder(Source):
    """Shapes without batches."""

    def __init__(self, shapes: list[Shape]) -> None:
        self.top_shapes = shapes

    def next(self) -> tuple[np.ndarray, ...]:
        raise DataError("this data layer's data was not found; there are only the shapes that the prototxt gives")


class Placeholders:
    """Makes sources as `make_source` does, and placeholders where the data cannot be opened.

    Args:
        size: (height, width) of all pictures instead of what data and prototxt say; then no data is opened.
        channels: of all pictures; what says nothing else has 3 (records of a database may have 1).

    Attributes:
        notes: a line for each placeholder made.
    """

    def __init__(self, size: tuple[int, int] | None = None, channels: int | None = None) -> None:
        self.size, self.channels = as_size(size), as_count(channels, "channels")
        self.notes: list[str] = []

    def __call__(
        self, layer: pb.LayerParameter, phase: int, fork: Fork, relative_to: str | os.PathLike[str] | None
    ) -> Source:
        reason = ""
        if self.size is None and self.channels is None:
            try:
                return make_source(layer, phase, fork, relative_to)
            except DataError as error:
                reason = str(error)
        try:
            source = placeholder(layer, self.size, self.channels)
        except DataError as error:
            raise DataError(f"{reason}; without data: {error}" if reason else str(error)) from None
        shapes = ", ".join(
            f"{top} {'x'.join(map(str, s))}" for top, s in zip(layer.top, source.top_shapes, strict=True)
        )
        why = reason or f'layer "{layer.name}" ({layer.type}): not opened'
        self.notes.append(f"{why}; taken from the prototxt: {shapes}")
        return source


def placeholder(layer: pb.LayerParameter, size: tuple[int, int] | None = None, channels: int | None = None) -> Source:
    """The shapes that a data layer's parameters give.

    Raises:
        DataError: they do not give the size of the pictures, or the type is one whose shapes only the data knows.
    """
    kind = data_layer(layer.type)
    if kind is None or kind.shapes_from_data:
        raise DataError(f"the shapes of {layer.type} are known from its data alone")
    if kind.states_shapes:
        return make_source(layer, 1)
    if kind.fed:
        return make_source(_of_one_picture(layer, size, channels), 1)
    param = getattr(layer, kind.settings)
    batch = getattr(param, "batch_size", 0) or (layer.data_param.batch_size if layer.HasField("data_param") else 0)
    height, width = size or _size(layer, param)
    picture: Shape = (max(1, batch), channels or _channels(layer, param), height, width)
    return Placeholder([picture, *_other_tops(layer, param, picture, kind.labels)])


def _of_one_picture(layer: pb.LayerParameter, size: tuple[int, int] | None, channels: int | None) -> Any:
    """A MemoryData layer with what it lacks: a batch of 1, and the size and channels that the caller gives."""
    complete = type(layer)()
    complete.CopyFrom(layer)
    param = complete.memory_data_param
    param.batch_size = param.batch_size or 1
    param.channels = channels or param.channels or 3
    param.height, param.width = size or (param.height, param.width)
    return complete


def _size(layer: pb.LayerParameter, param: Message) -> tuple[int, int]:
    """(height, width) of what is in the batch: the crop, or else what pictures are resized to."""
    transform = layer.transform_param
    for message, height, width in (
        (transform, "crop_size", "crop_size"),
        (transform, "crop_h", "crop_w"),
        (transform, "crop_height", "crop_width"),
        (param, "crop_size", "crop_size"),
        (param, "crop_height", "crop_width"),
        (transform.resize_param, "height", "width"),
        (param, "new_height", "new_width"),
    ):
        size = getattr(message, height, 0), getattr(message, width, 0)
        if all(size):
            return size
    raise DataError(
        "nothing in the layer states the size of its pictures (no crop_size, new_height, resize_param); "
        "give --size WIDTHxHEIGHT"
    )


def _channels(layer: pb.LayerParameter, param: Message) -> int:
    return 1 if layer.transform_param.force_gray or not getattr(param, "is_color", True) else 3


def _other_tops(layer: pb.LayerParameter, param: Message, picture: Shape, labels: Labels) -> list[Shape]:
    tops = len(layer.top)
    if tops < 2:
        return []
    batch, _, height, width = picture
    if labels is Labels.BOXES:
        return [(1, 1, 1, _BOXES)]
    if labels is Labels.PICTURES:
        divide = max(1, getattr(param, "label_divide_factor", 1))
        label: Shape = (batch, 1, height // divide, width // divide)
        return [label, (batch, 1, 1, 2)][: tops - 1]
    return [(batch,)] * (tops - 1)
