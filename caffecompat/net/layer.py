"""A layer of a net: its place in the graph, what computes or feeds it, and how Caffe runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from caffecompat.forks import Fork
from caffecompat.layers import Layer, Precision
from caffecompat.net.inputs import BytePictures
from caffecompat.net.params import BlobSlot
from caffecompat.schema import pb
from caffecompat.schema.data_layers import is_input

__all__ = ["MakeSource", "NetLayer", "Shape", "Source", "Split", "Step", "Value"]


Shape = tuple[int, ...]


class Source(Protocol):
    """What feeds a data layer's tops: ``next`` gives one batch, ``describe`` names the record that filled a row.

    See :class:`caffecompat.data.Source`.
    """

    top_shapes: list[Shape]
    records: int | None
    constant_tops: Mapping[int, float]

    def next(self) -> tuple[np.ndarray, ...]: ...

    def next_pixels(self) -> tuple[np.ndarray | BytePictures, ...]: ...

    def skip(self) -> None: ...

    def describe(self, row: int) -> str: ...

    def close(self) -> None: ...


MakeSource = Callable[["pb.LayerParameter", int, Fork, str | None], Source]


@dataclass(frozen=True)
class Value:
    """What a layer puts under a blob's name.

    ``conv1`` as the convolution makes it and ``conv1`` as the ReLU working in
    place makes it are versions 0 and 1 of one blob.

    Attributes:
        maker: index of the layer that makes it.
        slot: which of that layer's tops it is.
    """

    blob: str
    version: int
    maker: int
    slot: int


@dataclass(eq=False)
class NetLayer:
    """A layer of a net: its module computes, its source reads, or (neither) its tops are fed.

    A copy of a layer has no source: threads and databases belong to one net.

    Attributes:
        index: its position among the net's layers.
        param: its LayerParameter.
        bottoms, tops: their blobs' names.
        bottom_values: what it reads; None for a bottom that no layer makes.
        top_values: what it makes.
        module: what computes; None for a layer whose tops are read or fed.
        source: what reads its tops.
        fed_shapes: shapes of the tops of a layer without a module.
        loss_weights: weight in the objective of each top; none where it has no module.
        slots: its parameter blobs, in Caffe's order.
        child: the name that `module` has among the net's children.
        precision: how it computes in a net where some layers do so in 16 bits; None in others.
        half_type: the type that has these 16 bits, where `precision` is HALF.
        split_bottoms: its bottoms as Caffe runs it: of a blob that a :class:`Split` hands on, that one's top.
        split_loss_weights: its loss weights as Caffe runs it: none where a :class:`Split` has taken them over.
        bottom_needs, needs_backward: Caffe's ``bottom_need_backward`` and ``layer_need_backward``.
    """

    index: int
    param: pb.LayerParameter
    bottoms: list[str] = field(init=False)
    tops: list[str] = field(init=False)
    bottom_values: list[Value | None] = field(default_factory=list)
    top_values: list[Value] = field(default_factory=list)
    module: Layer | None = None
    source: Source | None = None
    fed_shapes: Sequence[Shape] = ()
    loss_weights: list[float] = field(default_factory=list)
    slots: list[BlobSlot] = field(default_factory=list)
    child: str = ""
    precision: Precision | None = None
    half_type: torch.dtype | None = None
    split_bottoms: list[str] = field(default_factory=list)
    split_loss_weights: list[float] = field(default_factory=list)
    bottom_needs: list[bool] = field(default_factory=list)
    needs_backward: bool = False

    def __post_init__(self) -> None:
        self.bottoms = list(self.param.bottom)
        self.tops = list(self.param.top)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"source": None}

    @property
    def name(self) -> str:
        return str(self.param.name)

    @property
    def type(self) -> str:
        return str(self.param.type)

    @property
    def is_input(self) -> bool:
        """Whether it is an Input: its tops are always the caller's."""
        return is_input(self.param)

    def close(self) -> None:
        """Stop its source."""
        if self.source is not None:
            self.source.close()

    @property
    def known_bottoms(self) -> list[Value]:
        """The values that it reads; in a net that was built these are all."""
        return [value for value in self.bottom_values if value is not None]


@dataclass(eq=False)
class Split:
    """Caffe's Split layer: hands a top that is read more than once to each reader. A view of the layer that makes it.

    It has no part in the computation, but in Caffe's order of layers (see :class:`NetLayer` for the attributes
    that both have).

    Attributes:
        maker: the layer that makes the top.
        slot: which of its tops it is.
        loss_weight: weight in the objective that the prototxt gives that top; it moves to the first top here.
    """

    maker: NetLayer
    slot: int
    readers: int
    loss_weight: float = 0.0
    bottom_needs: list[bool] = field(default_factory=list)
    needs_backward: bool = False

    type = "Split"
    is_input = False
    module = None
    source = None

    @property
    def name(self) -> str:
        return f"{self.blob}_{self.maker.name}_{self.slot}_split"

    @property
    def blob(self) -> str:
        """The blob that it hands on."""
        return self.maker.tops[self.slot]

    @property
    def tops(self) -> list[str]:
        return [f"{self.name}_{i}" for i in range(self.readers)]

    @property
    def split_bottoms(self) -> list[str]:
        return [self.blob]

    @property
    def split_loss_weights(self) -> list[float]:
        return [self.loss_weight] + [0.0] * (self.readers - 1) if self.loss_weight else []

    @property
    def top_values(self) -> list[Value]:
        """Of each top: all are the one value that is handed on."""
        return [self.maker.top_values[self.slot]] * self.readers


Step = NetLayer | Split  # an entry in Caffe's order of layers
