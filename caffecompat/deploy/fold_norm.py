"""Batch normalization and Scale folded into the convolutions, deconvolutions and inner products around them.

At inference each of these layers is y = a x + b with constants a and b a channel, so the layer before it can have a in
its weights and b in its bias, and so can the layer after it unless it pads with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from caffecompat.deploy.batch_statistics import use_running_statistics
from caffecompat.deploy.fold_weights import (
    Affine,
    cannot_scale_inputs,
    channel_affine,
    scale_inputs,
    scale_outputs,
)
from caffecompat.deploy.targets.registry import TARGETS, Target
from caffecompat.layers.concat import Concat
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.net import Net
from caffecompat.schema import pb

__all__ = ["Folded", "fold_norms", "norms_as_convolutions"]


@dataclass
class Folded:
    """A net without the layers that could be folded.

    Attributes:
        message: its NetParameter.
        blobs: parameter blobs by layer name, float32.
        folded: (layer, a layer that took it in); after a Concat, or before several layers, a pair for each.
        gone: the folded layers by index in the net; layers without parameters may share a name.
        ahead: those of the folded layers that stood before what took them in.
        left: layers that stay though they normalize or scale, each with the reason.
    """

    message: pb.NetParameter
    blobs: dict[str, list[np.ndarray]]
    folded: list[tuple[str, str]] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    ahead: set[str] = field(default_factory=set)
    left: list[tuple[str, str]] = field(default_factory=list)


def fold_norms(net: Net, *, running_statistics: bool = False, around: bool = False, target: str = "") -> Folded:
    """Fold what can be folded of a TEST net whose weights are loaded; the net itself stays as it is.

    Blobs keep their names: the weighted layer's top takes the name that the folded layer's top had. After a Concat it
    is the Concat's top that does; what it joins has other numbers from then on.

    Args:
        running_statistics: also fold a normalization whose prototxt asks for the batch's own statistics in TEST
            (`use_global_stats: false`), by its stored ones, and let the others use theirs; that changes the numbers.
        around: fold not only into the one layer right before, but also into all those that a Concat joins, and
            else into the layers after.
        target: "dpu" or "tidl", whose net is not to get worse: what runs better there as it is stays, with the reason.
    """
    message = type(net.message)()
    message.CopyFrom(net.message)
    folding = _Folding(net, net.blobs_by_layer(), list(message.layer), running_statistics, around, TARGETS.get(target))
    folding.run()
    kept = [layer for index, layer in enumerate(message.layer) if index not in folding.gone]
    gone = {name for name, _ in folding.result}
    del message.layer[:]
    message.layer.extend(kept)
    if running_statistics:
        use_running_statistics(message)
    return Folded(
        message,
        {name: blobs for name, blobs in folding.blobs.items() if name not in gone},
        folding.result,
        folding.gone,
        folding.ahead,
        list(folding.left.items()),
    )


def norms_as_convolutions(net: Net) -> Folded:
    """Make each normalization and scale of (N, C, H, W) a depthwise 1x1 convolution with bias.

    Of several one after another the first one, which the others can then be folded into; `folded` names those that
    changed, each with itself.
    """
    message = type(net.message)()
    message.CopyFrom(net.message)
    made = Folded(message, net.blobs_by_layer())
    shared, ends = _shared_layers(net), set()
    for layer in net.layers:
        if not _is_affine(layer) or len(layer.bottom_values) != 1:
            continue
        bottom = layer.bottom_values[0]
        assert bottom is not None
        shape = net.value_shapes[bottom]
        affine = channel_affine(layer, made.blobs, shape)
        if isinstance(affine, str) or len(shape) != 4 or len(layer.top_values) != 1 or layer.name in shared:
            continue
        if bottom in ends:
            ends.add(layer.top_values[0])
            continue
        ends.add(layer.top_values[0])
        param = message.layer[layer.index]
        kept = type(param)(name=param.name, type="Convolution", bottom=param.bottom, top=param.top)
        settings = kept.convolution_param
        settings.num_output = settings.group = shape[1]
        settings.kernel_size.append(1)
        param.CopyFrom(kept)
        a, b = affine
        made.blobs[layer.name] = [a.astype(np.float32).reshape(-1, 1, 1, 1), b.astype(np.float32)]
        made.folded.append((layer.name, layer.name))
    return made


class _Folding:
    def __init__(
        self,
        net: Net,
        blobs: dict[str, list[np.ndarray]],
        params: list[pb.LayerParameter],
        running_statistics: bool,
        around: bool,
        target: Target | None,
    ) -> None:
        self.net, self.blobs, self.params = net, blobs, params
        self.running_statistics, self.around, self.target = running_statistics, around, target
        self.result: list[tuple[str, str]] = []
        self.gone: set[int] = set()  # by index: layers without parameters may have a folded layer's name
        self.ahead: set[str] = set()
        self.left: dict[str, str] = {}
        self.readers: dict[Value, list[int]] = {}
        for layer in net.layers:
            for value in layer.bottom_values:
                if value is not None:
                    self.readers.setdefault(value, []).append(layer.index)
        self.shared = _shared_layers(net)
        self.origin: dict[Value, Value] = {}  # the value that became what a folded layer's top was

    def run(self) -> None:
        norms = [layer for layer in self.net.layers if _is_affine(layer) and len(layer.bottom_values) == 1]
        for layer in norms:
            reason = self._fold_back(layer)
            if reason:
                self.left[layer.name] = reason
        if self.around:
            for layer in reversed(norms):
                if layer.name in self.left:
                    self._fold_ahead(layer)

    def _affine(self, layer: NetLayer) -> Affine | str:
        (bottom,) = layer.bottom_values
        assert bottom is not None
        if layer.name in self.shared:
            return f"the parameters of {layer.name!r} are shared with another layer"
        return channel_affine(layer, self.blobs, self.net.value_shapes[bottom], self.running_statistics)

    # ------------------------------------------------------------------------------ into what comes before

    def _fold_back(self, layer: NetLayer) -> str:
        """Fold a layer into what makes its bottom; returns why not, "" if done."""
        (bottom,) = layer.bottom_values
        affine = self._affine(layer)
        if isinstance(affine, str):
            return affine
        assert bottom is not None
        takers = self._makers(bottom, layer.index)
        if isinstance(takers, str):
            return takers
        before = self.net.layers[self.origin.get(bottom, bottom).maker]
        worse = self.target.worse_if_folded(self.net, self.blobs, before, layer.top_values[0]) if self.target else ""
        if worse:
            return worse
        start = 0
        for taker, count in takers:
            part = slice(start, start + count)
            scale_outputs(taker, self.blobs, (affine[0][part], affine[1][part]), self.params[taker.index])
            self.result.append((layer.name, taker.name))
            start += count
        self.gone.add(layer.index)
        origin = self.origin.get(bottom, bottom)
        self.origin[layer.top_values[0]] = origin
        self.params[origin.maker].top[0] = layer.top_values[0].blob
        return ""

    def _makers(self, value: Value, reader: int) -> list[tuple[NetLayer, int]] | str:
        """The weighted layers whose outputs, so many each, make up a value that one layer alone reads; or why not."""
        origin = self.origin.get(value, value)
        maker = self.net.layers[origin.maker]
        joins = isinstance(maker.module, Concat) and self.around
        if not joins and (not _has_weights(maker) or len(maker.tops) != 1):
            stays = " stays, too" if maker.name in self.left else " has no weights to take it"
            return f"{maker.name!r} ({maker.type}) before it{stays}"
        others = list(self.readers[value])
        others.remove(reader)
        if others:
            names = ", ".join(dict.fromkeys(repr(self.net.layers[i].name) for i in others))
            return f"{names} also read(s) {value.blob!r}, what {maker.name!r} makes"
        if not joins:
            return self._one_maker(maker, self.net.value_shapes[value])
        assert isinstance(maker.module, Concat)
        if maker.module.axis != 1:
            return f"{maker.name!r} (Concat) before it joins along another axis than the channels"
        found: list[tuple[NetLayer, int]] = []
        for bottom in maker.bottom_values:
            assert bottom is not None
            part = self._makers(bottom, maker.index)
            if isinstance(part, str):
                return f"{maker.name!r} (Concat) before it joins {bottom.blob!r}, which cannot take its part: {part}"
            found += part
        return found

    def _one_maker(self, maker: NetLayer, shape: tuple[int, ...]) -> list[tuple[NetLayer, int]] | str:
        if maker.name in self.shared:
            return f"the parameters of {maker.name!r} are shared with another layer"
        if getattr(maker.module, "axis", 1) != 1:
            return f"the outputs of {maker.name!r} are not on axis 1"
        return [(maker, shape[1])]

    # ----------------------------------------------------------------------------- into what comes after

    def _fold_ahead(self, layer: NetLayer) -> None:
        """Fold a layer into all that read its top; the reason why not is added to why it could not be folded back."""
        (bottom,), top = layer.bottom_values, layer.top_values[0]
        affine = self._affine(layer)
        if isinstance(affine, str):
            return  # that is the reason already
        assert bottom is not None
        readers = [self.net.layers[i] for i in dict.fromkeys(self.readers.get(top, []))]
        reason = self._cannot_go_ahead(readers, affine, bottom, layer.index)
        if reason:
            self.left[layer.name] += f"; {reason}"
            return
        for reader in readers:
            scale_inputs(reader, self.blobs, affine, self.params[reader.index])
            self.result.append((layer.name, reader.name))
            names = self.params[reader.index].bottom
            names[:] = [bottom.blob if name == top.blob else name for name in names]
        self.readers[bottom] = [i for i in self.readers[bottom] if i != layer.index] + [r.index for r in readers]
        self.gone.add(layer.index)
        self.ahead.add(layer.name)
        del self.left[layer.name]

    def _cannot_go_ahead(self, readers: Sequence[NetLayer], affine: Affine, bottom: Value, index: int) -> str:
        if not readers:
            return "what it makes is an output of the net"
        shape = self.net.value_shapes[bottom]
        for reader in readers:
            if reader.name in self.left:
                return f"{reader.name!r} after it stays, too"
            if not _has_weights(reader) or len(reader.bottoms) != 1:
                return f"{reader.name!r} ({reader.type}) after it has none, either"
            if reader.name in self.shared:
                return f"the parameters of {reader.name!r} after it are shared with another layer"
            reason = cannot_scale_inputs(reader, affine, shape)
            if reason:
                return reason
            for between in self.net.layers[index + 1 : reader.index]:
                if between.index not in self.gone and any(top.blob == bottom.blob for top in between.top_values):
                    return f"{between.name!r} changes {bottom.blob!r} in place before {reader.name!r} would read it"
        return ""


def _is_affine(layer: NetLayer) -> bool:
    return layer.module is not None and layer.module.channel_affine


def _has_weights(layer: NetLayer) -> bool:
    return layer.module is not None and layer.module.weighted


def _shared_layers(net: Net) -> set[str]:
    owners = {id(slot.owner) for layer in net.layers for slot in layer.slots if slot.owner is not None}
    return {layer.name for layer in net.layers for slot in layer.slots if slot.owner is not None or id(slot) in owners}
