"""What is true of each type of data layer: layers without bottoms, whose tops come from files or from the caller.

Their sources are the data room's (`caffecompat.data.source.register_source`); what a net, an export or a picture of it
must know of a type without its data is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["DataLayer", "Labels", "batch_sizes", "data_layer", "data_layer_types", "is_input", "reads_data"]


class Labels(Enum):
    """What the tops of a data layer after its first hold."""

    NUMBERS = "one number an item, (N)"
    PICTURES = "a picture for each picture, (N, 1, H, W)"
    BOXES = "the objects of the batch, (1, 1, K, 8)"
    BY_NAME = "whatever their names say: tops have no order"


@dataclass(frozen=True)
class DataLayer:
    """A type of data layer.

    Attributes:
        settings: the field of LayerParameter that holds its batch_size or shape, its source, its new_height.
        fed: whether the caller of the net gives its tops: always for Input, for MemoryData where a net has no sources.
        states_shapes: whether its settings state the shapes of its tops in full, so that its source opens nothing.
        shapes_from_data: whether the shapes of its tops are known from its data alone.
        prepares: whether its first top are pictures that its transform_param prepares.
        as_stored: whether it reads picture files, and leaves them as large as they are without a new_height.
        crops: whether a crop_size takes a part of each picture (the windows of WindowData are resized to it).
        labels: what its other tops hold.
    """

    settings: str
    fed: bool = False
    states_shapes: bool = False
    shapes_from_data: bool = False
    prepares: bool = True
    as_stored: bool = False
    crops: bool = True
    labels: Labels = Labels.NUMBERS


_TYPES = {
    "AnnotatedData": DataLayer("data_param", labels=Labels.BOXES),
    "Data": DataLayer("data_param"),
    "DenseImageData": DataLayer("dense_image_data_param", as_stored=True, labels=Labels.PICTURES),
    "DummyData": DataLayer("dummy_data_param", states_shapes=True, prepares=False, labels=Labels.BY_NAME),
    "HDF5Data": DataLayer("hdf5_data_param", shapes_from_data=True, prepares=False, labels=Labels.BY_NAME),
    "ImageData": DataLayer("image_data_param", as_stored=True),
    "ImageLabelData": DataLayer("image_label_data_param", labels=Labels.PICTURES),
    "ImageLabelListData": DataLayer("image_label_data_param", labels=Labels.PICTURES),
    "ImageLabelmapData": DataLayer("image_data_param", as_stored=True, labels=Labels.PICTURES),
    "ImageSegData": DataLayer("image_data_param", as_stored=True, labels=Labels.PICTURES),
    "Input": DataLayer("input_param", fed=True, states_shapes=True, prepares=False, labels=Labels.BY_NAME),
    "MemoryData": DataLayer("memory_data_param", fed=True, prepares=False, labels=Labels.BY_NAME),
    "VideoData": DataLayer("data_param"),
    "WindowData": DataLayer("window_data_param", crops=False),
}


def data_layer(layer_type: str) -> DataLayer | None:
    """What is true of a type; None where it is no data layer's."""
    return _TYPES.get(layer_type)


def data_layer_types() -> Sequence[str]:
    """All types of data layers, sorted."""
    return sorted(_TYPES)


def is_input(layer: Any) -> bool:
    """Whether a LayerParameter is an Input: its tops are always the caller's."""
    return bool(layer.type == "Input")


def reads_data(layer: Any) -> bool:
    """Whether a LayerParameter is a data layer's that needs a source: its tops are not the caller's."""
    kind = data_layer(layer.type)
    return kind is not None and not kind.fed


def batch_sizes(layer: Any) -> list[tuple[str, int]]:
    """The batch sizes that a data layer's settings state, and in which words: a batch_size, or a shape's first dim."""
    found = []
    kind = data_layer(layer.type)
    names = {kind.settings, "data_param"} if kind is not None else set()
    for field, value in layer.ListFields():
        if field.name not in names:
            continue
        size = getattr(value, "batch_size", 0)
        if isinstance(size, int) and size > 0:
            found.append(("batch_size", size))
        shapes = getattr(value, "shape", ())
        found += [("the first dim", shape.dim[0]) for shape in shapes[:1] if shape.dim]
    return found
