"""Crops that find their offset by themselves: from how the pixels of two blobs lie over those of a third.

FCN's Caffe (longjon's "future" branch) and HED's have this as Crop without crop_param, RCF's as AutoCrop
(auto_crop_layer.cpp, coords.hpp). From each bottom the way back leads over first bottoms, until both meet in one blob;
along it, a convolution or pooling with kernel k (dilated), stride s and pad p makes pixel x of its bottom pixel
(x + p - (k - 1) / 2) / s of its top, a deconvolution does the reverse, and layers that work pixel by pixel change
nothing. The offset is where pixel 0 of the second bottom lies in the first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork
from caffecompat.layers import class_of
from caffecompat.layers.convolution import BaseConvolution, Deconvolution, Im2col
from caffecompat.layers.crop import AutoCrop, Crop
from caffecompat.layers.pooling import Pooling
from caffecompat.net.graph import Graph, build_graph
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.problems import Problem
from caffecompat.schema import pb

__all__ = ["align_crops", "crop_discrepancies", "state_offsets"]

_SIDES = "hw"


@dataclass(frozen=True)
class _Line:
    """Where pixel x of one blob lies in another, along one axis: scale x + shift."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)

    def after(self, first: _Line) -> _Line:
        """First `first`, then this."""
        return _Line(self.scale * first.scale, self.scale * first.shift + self.shift)

    def reverse(self) -> _Line:
        return _Line(1 / self.scale, -self.shift / self.scale)


_Lines = tuple[_Line, ...]  # along height and width


def _finds_its_offset(layer: pb.LayerParameter, fork: Fork) -> bool:
    cls = class_of(layer.type)
    return cls is AutoCrop or (
        cls is Crop and fork is Fork.HED and not layer.HasField("crop_param") and len(layer.bottom) == 2
    )


def align_crops(graph: Graph, fork: Fork) -> list[Problem]:
    """Give the crops of a graph that find their offset by themselves a crop_param that says it.

    These layers get a copy of their message; the message of the net stays as it is.

    Returns:
        what is wrong with crops for which there is no offset.
    """
    problems = []
    for layer in graph.layers:
        if _finds_its_offset(layer.param, fork) and None not in layer.bottom_values and len(layer.bottom_values) == 2:
            try:
                offsets = _offsets(graph, layer)
            except CaffeCompatError as problem:
                problems.append(Problem(layer.index, str(problem)))
                continue
            param = type(layer.param)()
            param.CopyFrom(layer.param)
            param.crop_param.axis = 2
            param.crop_param.offset[:] = offsets
            layer.param = param
    return problems


def crop_discrepancies(graph: Graph) -> dict[int, str]:
    """What to say of crops without crop_param that cut elsewhere in FCN's and HED's Caffe, by the layer's index."""
    discrepancies = {}
    for layer in graph.layers:
        if (
            _finds_its_offset(layer.param, Fork.HED)
            and class_of(layer.type) is Crop
            and None not in layer.bottom_values
        ):
            with suppress(CaffeCompatError):
                offsets = _offsets(graph, layer)
                if any(offsets):
                    written = " ".join(f"offset: {offset}" for offset in offsets)
                    discrepancies[layer.index] = (
                        f"cuts from offset 0, as BVLC's Caffe does without crop_param; where FCN's and HED's cut is "
                        f"crop_param {{ {written} }}: write that, or name their Caffe (--fork hed)"
                    )
    return discrepancies


def state_offsets(message: pb.NetParameter, fork: Fork) -> list[str]:
    """Turn crops of a filtered net that find their offset by themselves into BVLC's Crop, which says it, in place.

    Returns:
        the names of these layers; those without any offset stay as they are.
    """
    stated = []
    graph = build_graph(message)
    unaligned = {problem.layer for problem in align_crops(graph, fork)}
    for layer, param in zip(graph.layers, message.layer, strict=True):
        if _finds_its_offset(param, fork) and layer.index not in unaligned and layer.param.HasField("crop_param"):
            param.type = "Crop"
            param.crop_param.CopyFrom(layer.param.crop_param)
            stated.append(layer.name)
    return stated


def _offsets(graph: Graph, layer: NetLayer) -> tuple[int, ...]:
    first, second = layer.bottom_values
    assert first is not None and second is not None
    to_first, to_second = _meeting(graph, first, second)
    offsets = []
    for side, one, other in zip(_SIDES, to_first, to_second, strict=True):
        line = other.after(one.reverse())
        if line.scale != 1:
            raise CaffeCompatError(
                f"cannot find the offset: a pixel of {first.blob!r} is {line.scale} of {second.blob!r} along {side}"
            )
        if line.shift > 0 or line.shift.denominator != 1:
            why = "negative" if line.shift > 0 else "no whole number"
            raise CaffeCompatError(f"cannot crop {first.blob!r} to {second.blob!r}: the offset is {why}, {-line.shift}")
        offsets.append(-int(line.shift))
    return tuple(offsets)


def _meeting(graph: Graph, first: Value, second: Value) -> tuple[_Lines, _Lines]:
    """Where the pixels of the blob that both values come from lie in each of them."""
    ways = dict(_way_back(graph, first))
    for value, to_second in _way_back(graph, second):
        if value not in ways:
            continue
        to_first = ways[value]
        if to_first is not None and to_second is not None:
            return to_first, to_second
        raise CaffeCompatError(
            f"cannot find the offset: between {value.blob!r} and {(second if to_first else first).blob!r} is a layer "
            f"that does not keep the order of pixels; say it in a Crop layer's crop_param"
        )
    raise CaffeCompatError(
        f"cannot find the offset: {first.blob!r} and {second.blob!r} do not come from one blob (by way of first "
        f"bottoms); say it in a Crop layer's crop_param"
    )


def _way_back(graph: Graph, start: Value) -> list[tuple[Value, _Lines | None]]:
    """The value itself and those that it comes from over first bottoms, each with where its pixels lie in `start`.

    None where a layer in between keeps no order of pixels.
    """
    way: list[tuple[Value, _Lines | None]] = []
    value: Value | None = start
    lines: _Lines | None = (_Line(), _Line())
    while value is not None:
        way.append((value, lines))
        maker = graph.layers[value.maker]
        value = maker.bottom_values[0] if maker.bottom_values else None
        step = _step(maker.param)
        lines = None if lines is None or step is None else tuple(a.after(b) for a, b in zip(lines, step, strict=True))
    return way


def _step(param: pb.LayerParameter) -> _Lines | None:
    """Where a pixel of a layer's first bottom lies in its top."""
    in_place = bool(param.bottom and param.top and param.bottom[0] == param.top[0])
    cls = class_of(param.type)
    if in_place or cls.keeps_pixels:
        return _Line(), _Line()
    if issubclass(cls, BaseConvolution | Im2col):
        return _windows(param.convolution_param, issubclass(cls, Deconvolution))
    if issubclass(cls, Pooling) and not param.pooling_param.global_pooling:
        return _windows(param.pooling_param, False)
    if issubclass(cls, Crop) and param.crop_param.axis % 4 >= 2:
        return _cropped(param.crop_param)
    return None


def _windows(p: pb.ConvolutionParameter | pb.PoolingParameter, enlarges: bool) -> _Lines:
    lines = []
    for at, side in enumerate(_SIDES):
        kernel, stride, pad = (_setting(p, name, at, side) for name in ("kernel_size", "stride", "pad"))
        dilation = _setting(p, "dilation", at, side) if hasattr(p, "dilation") else 1
        center = Fraction(dilation * (kernel - 1), 2) - pad  # of the first window
        line = _Line(Fraction(stride), center)
        lines.append(line if enlarges else line.reverse())
    return tuple(lines)


def _setting(p: pb.ConvolutionParameter | pb.PoolingParameter, name: str, at: int, side: str) -> int:
    """A setting of a window along one axis: given once, once an axis, or with the axis in its name."""
    own = f"{name.removesuffix('_size')}_{side}"
    if own in p.DESCRIPTOR.fields_by_name and p.HasField(own):
        return int(getattr(p, own))
    given = getattr(p, name)
    if isinstance(given, int):
        return given or 1 if name == "stride" else given
    values = list(given)
    if not values:
        return 0 if name == "pad" else 1
    return int(values[at if len(values) > 1 else 0])


def _cropped(p: pb.CropParameter) -> _Lines:
    """A crop's offsets, given once or once an axis from `axis` on."""
    given = [*p.offset] or [0]
    axes = 4 - p.axis % 4
    values = given * axes if len(given) == 1 else given
    skipped = 2 - axes  # height is not cut where axis is 3
    return tuple(_Line(shift=Fraction(-(values[at - skipped] if at >= skipped else 0))) for at in range(2))
