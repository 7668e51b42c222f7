"""What a net consists of and costs: shapes, parameters, multiply-accumulates, memory, receptive fields."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.layers.layer import View
from caffecompat.net.layer import Value
from caffecompat.net.net import Net
from caffecompat.net.weights import LoadReport

__all__ = ["ELEMENTWISE", "Field", "LayerSummary", "NetSummary", "summarize_net"]

Shape = tuple[int, ...]

# Types whose products are one or a few for each value; deployment folds most of them into convolutions. What
# published tables call the MACs of a net is the rest: convolutions, deconvolutions, inner products, recurrent layers.
ELEMENTWISE = frozenset(
    {
        "Axpy",
        "BN",
        "BatchNorm",
        "BatchNormFixed",
        "Bias",
        "ChannelNorm",
        "DeephiResize",
        "Downsample",
        "FlowWarp",
        "Interp",
        "LRN",
        "MVN",
        "Normalize",
        "Resample",
        "Scale",
    }
)


@dataclass(frozen=True)
class Field:
    """What one value of a blob sees of the input, and how far its neighbor's view is shifted: (h, w) in pixels.

    `size` None is all of it.
    """

    size: tuple[int, int] | None = (1, 1)
    stride: tuple[float, float] = (1.0, 1.0)


@dataclass
class LayerSummary:
    """One layer.

    Attributes:
        bottoms, tops: (blob, shape).
        parameters: values of the blobs it owns; `shared` those of blobs that another layer owns.
        trained: how many of its own are learned (lr_mult above 0).
        zeros: how many of its own values are 0; 0 in a net without values.
        macs: multiply-accumulates of one forward pass of the batch.
        effective_macs: those whose weight is not 0: `macs` times the share of the weights (blobs of more than one
            axis; where there are none, all blobs) that are not 0.
        field: of its first top.
    """

    name: str
    type: str
    bottoms: list[tuple[str, Shape]]
    tops: list[tuple[str, Shape]]
    blobs: list[Shape]
    parameters: int
    shared: int
    trained: int
    zeros: int
    macs: int
    effective_macs: float
    field: Field | None


@dataclass
class NetSummary:
    """A net; counts of values, of which Caffe stores each in 4 bytes.

    Attributes:
        batch: first dimension of the first input.
        inputs: blobs that come from outside or from data layers.
        activations: values of all blobs, a blob worked on in place counted once.
        peak: the most values alive at once in a forward pass that keeps nothing it no longer needs.
        notes: what is not as the net would have it: data that is not here, Python layers without their code.
        loaded: what became of the weight file, where there is one.
    """

    name: str
    phase: int
    batch: int
    inputs: list[tuple[str, Shape]]
    outputs: list[tuple[str, Shape]]
    layers: list[LayerSummary] = field(default_factory=list)
    activations: int = 0
    peak: int = 0
    notes: list[str] = field(default_factory=list)
    loaded: LoadReport | None = None

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def trained(self) -> int:
        return sum(layer.trained for layer in self.layers)

    @property
    def zeros(self) -> int:
        return sum(layer.zeros for layer in self.layers)

    @property
    def macs(self) -> float:
        """Of one input: convolutions, deconvolutions, inner products and recurrent layers."""
        return sum(n for kind, n in self.macs_by_type.items() if kind not in ELEMENTWISE)

    @property
    def effective_macs(self) -> float:
        """Those of `macs` whose weight is not 0: what a device that passes over zeros computes."""
        layers = (layer for layer in self.layers if layer.type not in ELEMENTWISE)
        return sum(layer.effective_macs for layer in layers) / self.batch

    @property
    def elementwise(self) -> float:
        """Of one input: products of the types in `ELEMENTWISE`."""
        return sum(n for kind, n in self.macs_by_type.items() if kind in ELEMENTWISE)

    @property
    def macs_by_type(self) -> dict[str, float]:
        """Of one input, largest first."""
        counts: Counter[str] = Counter()
        for layer in self.layers:
            counts[layer.type] += layer.macs
        return {kind: count / self.batch for kind, count in counts.most_common() if count}


def summarize_net(net: Net) -> NetSummary:
    """Count everything in a net; no data is read and nothing computed."""
    sourced = [blob for layer in net.layers if layer.module is None for blob in layer.tops]
    shape = net.blob_shapes[sourced[0]] if sourced else ()
    summary = NetSummary(
        net.name,
        net.phase,
        max(1, shape[0]) if shape else 1,
        [(blob, net.blob_shapes[blob]) for blob in sourced],
        [(blob, net.blob_shapes[blob]) for blob in net.outputs],
    )
    fields: dict[Value, Field | None] = {}
    trained = {id(p.slot): p.lr_mult != 0 for p in net.params}
    for layer in net.layers:
        bottoms = layer.known_bottoms
        shapes = [net.value_shapes[value] for value in bottoms]
        tops = [net.value_shapes[value] for value in layer.top_values]
        seen = _field(layer.module, [fields.get(v) for v in bottoms], shapes, tops[0] if tops else ())
        fields.update(dict.fromkeys(layer.top_values, seen))
        own = [slot for slot in layer.slots if slot.owner is None]
        macs = layer.module.macs(shapes, tops) if layer.module is not None else 0
        summary.layers.append(
            LayerSummary(
                layer.name,
                layer.type,
                list(zip(layer.bottoms, shapes, strict=True)),
                list(zip(layer.tops, tops, strict=True)),
                [slot.shape for slot in layer.slots],
                sum(slot.parameter.numel() for slot in own),
                sum(slot.parameter.numel() for slot in layer.slots if slot.owner is not None),
                sum(slot.parameter.numel() for slot in own if trained.get(id(slot))),
                sum(_zeros(slot.parameter) for slot in own),
                macs,
                macs * (1 - _zero_share([slot.parameter for slot in layer.slots])),
                seen,
            )
        )
    summary.activations = sum(math.prod(s) for blob, s in net.blob_shapes.items())
    summary.peak = _peak(net)
    return summary


def _zeros(values: Tensor) -> int:
    return 0 if values.is_meta else values.numel() - int(torch.count_nonzero(values))


def _zero_share(blobs: Sequence[Tensor]) -> float:
    """How much of a layer's weights is 0: of the blobs of more than one axis, without these of all."""
    weights = [blob for blob in blobs if blob.dim() > 1] or blobs
    return sum(map(_zeros, weights)) / max(1, sum(blob.numel() for blob in weights))


def _peak(net: Net) -> int:
    """Values alive at once: a value lives from the layer that makes it to the last that reads it; outputs stay."""
    last: dict[Value, int] = {}
    for index, layer in enumerate(net.layers):
        last.update(dict.fromkeys(layer.known_bottoms, index))
        last.update({value: last.get(value, index) for value in layer.top_values})
    last.update(dict.fromkeys(net.graph.outputs, len(net.layers)))
    alive = most = 0
    for index, layer in enumerate(net.layers):
        in_place = {v.blob for v in layer.known_bottoms if last[v] == index}
        made = [v for v in layer.top_values if v.blob not in in_place]
        alive += sum(math.prod(net.value_shapes[v]) for v in made)
        most = max(most, alive)
        kept = {v.blob for v in layer.top_values if last[v] > index}
        gone = {v.blob: v for v in (*layer.known_bottoms, *layer.top_values) if last[v] == index}
        alive -= sum(math.prod(net.value_shapes[v]) for v in gone.values() if v.blob not in kept)
    return most


def _field(module: Layer | None, seen: Sequence[Field | None], shapes: Sequence[Shape], top: Shape) -> Field | None:
    """The field of a layer's first top from those of its bottoms; None where there are no pixels.

    Of several bottoms the widest view counts, and the first one's stride.
    """
    if module is None:
        return Field()
    if len(top) != 4:
        return None
    made = []
    for index, (before, shape) in enumerate(zip(seen, shapes, strict=True)):
        # What no gradient reaches tells places and sizes: a mask, a reference, labels.
        if before is not None and len(shape) == 4 and (module.needs_gradient(index) or len(shapes) == 1):
            view = module.view(shape, top)
            made += [_through(before, view)] if view is not None else []
    if not made:
        return None
    return Field(max((f.size for f in made), key=lambda s: math.inf if s is None else math.prod(s)), made[0].stride)


def _through(before: Field, view: View) -> Field:
    stride = (before.stride[0] * view.stride[0], before.stride[1] * view.stride[1])
    if before.size is None or view.span is None:
        return Field(None, stride)
    height, width = (
        round(size + (span - 1) * step) for size, span, step in zip(before.size, view.span, before.stride, strict=True)
    )
    return Field((height, width), stride)
