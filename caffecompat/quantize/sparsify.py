"""Set the smallest weights of a net to zero until a share of all is zero, by a threshold a layer or a channel.

Which layers are thinned, by how much one of few channels is spared, and which zeros are counted follows caffe-jacinto
0.17; see `caffecompat.net.sparsity`. What is thinned here is fine-tuned with the zeros frozen by a solver that has
``sparse_mode: SPARSE_UPDATE``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from caffecompat.arguments import as_number
from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats.atomic import protects
from caffecompat.net import Net
from caffecompat.net.sparsity import (
    WeightLayer,
    count_zeros,
    find_weight_layers,
    magnitude_limits,
    require_finite,
)
from caffecompat.net.summary import summarize_net
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetDocument, NetSource, as_document, pb
from caffecompat.wording import few, nearest

__all__ = ["MODES", "LayerSparsity", "Sparsity", "Thinner", "check_target", "open_for_thinning", "sparsify"]

MODES = ("layer", "channel")
_HALVINGS = 40  # of the interval in which the share for a target lies


@dataclass(frozen=True)
class LayerSparsity:
    """Zeros of a layer's weights; biases are not looked at.

    Attributes:
        counted: whether they count toward the sparsity of the net.
        weights, zeros_before, zeros: how many there are, how many were 0, and are now.
        limit: the largest share that was allowed to become 0; None for a layer that was left as it was.
        thresholds: the smallest and the largest of its thresholds: weights below were set to 0.
        outputs, empty: output channels, and those of them whose weights are all 0.
        macs, effective_macs: multiply-accumulates of one input, and those whose weight is not 0.
        shared_with: later layers that compute with the same weights; their multiply-accumulates are among these.
    """

    name: str
    type: str
    counted: bool
    weights: int
    zeros_before: int
    zeros: int
    limit: float | None
    thresholds: tuple[float, float] | None
    outputs: int
    empty: int
    macs: float
    effective_macs: float
    shared_with: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Zeros among its weights, 0 to 1."""
        return self.zeros / max(1, self.weights)


@dataclass(frozen=True)
class Sparsity:
    """Zeros of a net's weights after thinning, or as they are.

    Attributes:
        net: its name.
        mode: "layer" or "channel"; None where nothing was thinned.
        target: the share of zeros asked for; None where nothing was thinned.
        macs, effective_macs_before, effective_macs: of one input; of all layers that `summarize` counts.
        layers: in the net's order.
    """

    net: str
    mode: str | None
    target: float | None
    macs: float
    effective_macs_before: float
    effective_macs: float
    layers: list[LayerSparsity] = field(default_factory=list)

    @property
    def weights(self) -> int:
        """Those that count."""
        return sum(layer.weights for layer in self.layers if layer.counted)

    @property
    def zeros_before(self) -> int:
        return sum(layer.zeros_before for layer in self.layers if layer.counted)

    @property
    def zeros(self) -> int:
        return sum(layer.zeros for layer in self.layers if layer.counted)

    @property
    def share(self) -> float:
        """Zeros among the weights that count, 0 to 1."""
        return self.zeros / max(1, self.weights)

    @property
    def reached(self) -> bool:
        """Whether the target was reached; true without one."""
        return self.target is None or self.zeros >= self.target * self.weights

    def as_dict(self) -> dict[str, Any]:
        """All of it in lists, dicts, numbers and texts, for JSON."""
        totals = {name: getattr(self, name) for name in ("weights", "zeros_before", "zeros", "share", "reached")}
        layers = [{**asdict(layer), "share": layer.share} for layer in self.layers]
        return {**asdict(self), **totals, "layers": layers}


class Thinner:
    """Sets weights of a net to zero, each time starting from those that the net has now.

    Args:
        limits: name patterns (``conv*``) and the largest share of zeros of the layers that match, the last match
            counts. 0 leaves a layer alone; one that caffe-jacinto's rules leave out is thinned, and counted, when it
            is named.
        max_ratio: a threshold is at most this much of the largest magnitude in its layer or channel, and never more
            than that magnitude: no channel or layer loses all of its weights.
        max_value: a threshold is at most this.

    Raises:
        CaffeCompatError: a limit is not in 0 to 1 or names no layer, or a bound is not above 0.
    """

    def __init__(
        self,
        net: Net,
        *,
        limits: Mapping[str, float] | None = None,
        max_ratio: float = math.inf,
        max_value: float = math.inf,
    ) -> None:
        self.net = net
        self._max_ratio = min(1.0, as_number(max_ratio, "max_ratio", "a number above 0, as 0.2", lambda x: x > 0))
        self._max_value = as_number(max_value, "max_value", "a number above 0, as 0.2", lambda x: x > 0)
        users: dict[int, list[WeightLayer]] = {}
        for layer in find_weight_layers(net):
            users.setdefault(id(layer.weight), []).append(layer)
        self._layers = [layers[0] for layers in users.values()]
        self._sharers = {layers[0].name: [layer.name for layer in layers[1:]] for layers in users.values()}
        self._limits = _as_limits(limits)
        self._check_limits()
        self._before = {layer.name: layer.weight.detach().clone() for layer in self._layers}
        self._costs_before = summarize_net(net)

    def report(self) -> Sparsity:
        """The zeros as they are."""
        return self._describe(None, None, {}, {})

    @torch.no_grad()
    def thin(self, target: float, mode: str = "channel") -> Sparsity:
        """Set the fewest weights to zero that make `target` of the weights zero, or as many as the limits allow.

        All layers get one share of zeros, those of few channels half of it, none more than its limit; a threshold for
        each layer (mode "layer") or each output channel ("channel") makes it.

        Raises:
            CaffeCompatError: `target` is not between 0 and 1, the mode is unknown, no layer can be thinned, or weights
                are NaN or infinite.
        """
        if mode not in MODES:
            raise CaffeCompatError(f"mode {mode!r}: expected {' or '.join(MODES)}")
        check_target(target)
        if not self._layers:
            raise CaffeCompatError("the net has no convolution, deconvolution or inner product to thin")
        thinned = [layer for layer in self._layers if self._share(layer, 1.0)]
        if not thinned:
            raise CaffeCompatError(
                "no layer is thinned by TI's rules (convolutions with windows of 3 or more, fewer groups than "
                f"outputs, 32 inputs or outputs); name layers, as in --limit 'NAME=0.9': {few(self._names(), 12)}"
            )
        require_finite(thinned)
        ordered = {layer.name: self._rows(layer, mode).abs().sort(1).values.contiguous() for layer in thinned}
        alone = [layer for layer in self._counted() if layer.name not in ordered]
        wanted = target * sum(layer.weight.numel() for layer in self._counted())
        wanted -= sum(count_zeros(self._before[layer.name]) for layer in alone)

        counted = {layer.name for layer in self._counted()}

        def limits(factor: float) -> dict[str, Tensor]:
            return {
                layer.name: magnitude_limits(
                    ordered[layer.name], self._share(layer, factor) or 0, self._max_ratio, self._max_value
                )
                for layer in thinned
            }

        def zeros(found: dict[str, Tensor]) -> int:
            return sum(_below(ordered[layer.name], found[layer.name]) for layer in thinned if layer.name in counted)

        factor = _least(lambda factor: zeros(limits(factor)) >= wanted)
        found = limits(factor)
        for layer in thinned:
            rows = self._rows(layer, mode)
            stay = rows.abs() >= found[layer.name][:, None]
            thin = (rows * stay).reshape(layer.by_output(layer.weight).shape)
            layer.weight.copy_(layer.from_output(thin))
        shares = {layer.name: self._share(layer, factor) for layer in thinned}
        return self._describe(mode, target, shares, found)

    def _rows(self, layer: WeightLayer, mode: str) -> Tensor:
        """The weights before thinning, a row for each threshold."""
        rows = layer.by_output(self._before[layer.name])
        return rows.reshape(1, -1) if mode == "layer" else rows

    def _limit(self, layer: WeightLayer) -> float | None:
        """The last limit whose pattern names the layer, or one that shares its weights."""
        names = [layer.name, *self._sharers[layer.name]]
        named = [limit for pattern, limit in self._limits.items() if any(fnmatchcase(name, pattern) for name in names)]
        return named[-1] if named else None

    def _share(self, layer: WeightLayer, factor: float) -> float | None:
        """The share of the layer's weights that may become 0 at `factor`; None for a layer that is left alone."""
        limit = self._limit(layer)
        if limit is None:
            return layer.fraction(factor)
        return min(factor, limit) if limit else None

    def _counted(self) -> list[WeightLayer]:
        return [layer for layer in self._layers if layer.counts or self._limit(layer)]

    def _names(self) -> list[str]:
        return [name for layer in self._layers for name in (layer.name, *self._sharers[layer.name])]

    def _check_limits(self) -> None:
        for pattern, limit in self._limits.items():
            as_number(limit, f"limit {pattern}:", "a share of zeros from 0 to below 1", lambda share: 0 <= share < 1)
            if not any(fnmatchcase(name, pattern) for name in self._names()):
                near = nearest(pattern, self._names())
                raise CaffeCompatError(
                    f"limit {pattern}={limit:g} names no convolution, deconvolution or inner product; "
                    + (f"did you mean {near}?" if near else f"the net has {few(self._names(), 12) or 'none'}")
                )

    def _describe(
        self, mode: str | None, target: float | None, shares: Mapping[str, float | None], found: Mapping[str, Tensor]
    ) -> Sparsity:
        costs = summarize_net(self.net)
        counted = {layer.name for layer in self._counted()}
        by_name = {layer.name: layer for layer in costs.layers}
        layers = []
        for layer in self._layers:
            rows, shared = layer.by_output(layer.weight.detach()), self._sharers[layer.name]
            users = [by_name[name] for name in (layer.name, *shared)]
            macs = sum(one.macs for one in users) / costs.batch
            effective = sum(one.effective_macs for one in users) / costs.batch
            limits = found.get(layer.name)
            layers.append(
                LayerSparsity(
                    layer.name, layer.type, layer.name in counted, layer.weight.numel(),
                    count_zeros(self._before[layer.name]), count_zeros(rows), shares.get(layer.name),
                    None if limits is None else (float(limits.min()), float(limits.max())),
                    len(rows), int((rows == 0).all(1).sum()), macs, effective, shared,
                )
            )  # fmt: skip
        return Sparsity(
            self.net.name, mode, target, costs.macs, self._costs_before.effective_macs, costs.effective_macs, layers
        )


def check_target(target: Any, name: str = "target") -> None:
    """Refuse what is no share of zeros that a net can be thinned to.

    Raises:
        CaffeCompatError: it is not between 0 and 1.
    """
    as_number(target, name, "a share of zeros between 0 and 1, as 0.8", lambda share: 0 < share < 1)


def _as_limits(limits: Any) -> dict[str, float]:
    if not isinstance(limits or {}, Mapping) or not all(isinstance(name, str) for name in limits or {}):
        raise CaffeCompatError(f"limits {limits!r}: expected a dict of names and shares, as {{'conv1': 0.5}}")
    return dict(limits or {})


def _least(enough: Callable[[float], bool]) -> float:
    """The least number from 0 to 1 that is enough; 1 where none is. What is more than enough is so too."""
    if enough(0.0) or not enough(1.0):
        return float(not enough(0.0))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _below(ordered: Tensor, limits: Tensor) -> int:
    """How many of the ascending magnitudes of each row are 0, or become so below the row's limit, in all."""
    below = torch.searchsorted(ordered, limits[:, None])
    zeros = torch.searchsorted(ordered, torch.zeros_like(limits)[:, None], right=True)
    return int(torch.maximum(below, zeros).sum())


@protects("model", "weights")
def sparsify(
    model: NetSource,
    weights: WeightPaths,
    out_weights: str | os.PathLike[str] | None = None,
    *,
    target: float | None = None,
    mode: str = "channel",
    limits: Mapping[str, float] | None = None,
    max_ratio: float = math.inf,
    max_value: float = math.inf,
    fork: ForkName | None = None,
) -> Sparsity:
    """Count the zeros of a net's weights layer by layer, and set the smallest weights to zero.

    Convolutions with windows of 3 pixels or more that have 32 inputs or outputs and fewer groups than outputs are
    thinned, half as much where only one of both is 32 (caffe-jacinto 0.17); `limits` names others. Zeros are counted
    in the weights of all convolutions but one right before a softmax, as caffe-jacinto does, and of the layers named.

    Args:
        model: path of a prototxt, or a net that was read; its data need not be here.
        weights: its weight file, or a list of them.
        out_weights: the caffemodel (or .h5) to write; None: nothing is written.
        target: the share of zeros to make, above 0 and below 1; None counts the zeros that there are.
        mode: "channel": a threshold for each output channel; "layer": one for each layer.
        limits: name patterns, as ``conv*``, and the largest share of zeros in layers that match; 0 leaves them alone.
        max_ratio, max_value: a threshold is at most this much of the largest magnitude of its channel or layer, and
            at most this value; both are 0.2 in caffe-jacinto. Without them the largest weight of each stays.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Returns:
        The zeros by layer and of all; see `Sparsity.reached` where limits may keep the net from its target.

    Raises:
        CaffeCompatError: a file cannot be read or written, the weights are another net's, NaN or infinite, a setting is
            out of range, or there is no layer to thin.

    >>> import caffecompat
    >>> now = caffecompat.sparsify("deploy.prototxt", "net.caffemodel")
    >>> [(layer.name, layer.weights, layer.zeros, layer.counted) for layer in now.layers]
    [('conv', 108, 105, True), ('fc', 512, 384, False)]
    >>> done = caffecompat.sparsify(
    ...     "bn.prototxt", "bn.caffemodel", "sparse.caffemodel", target=0.6, limits={"conv": 0.9}
    ... )
    >>> (done.weights, done.zeros, done.macs, done.effective_macs)
    (6, 4, 384.0, 128.0)
    """
    if out_weights is not None and target is None:
        raise CaffeCompatError("out_weights needs a target: without one there is nothing to change")
    net = open_for_thinning(as_document(model, fork=fork), weights)
    thinner = Thinner(net, limits=limits, max_ratio=max_ratio, max_value=max_value)
    if target is None:
        return thinner.report()
    done = thinner.thin(target, mode)
    if out_weights is not None:
        net.save(out_weights)
    return done


def open_for_thinning(document: NetDocument, weights: WeightPaths) -> Net:
    """A net in its TEST phase with its weights; its data may be missing.

    Raises:
        CaffeCompatError: it cannot be made, or the weights are another net's.
    """
    paths = weight_paths(weights)
    net = Net(document, pb.TEST, sources=Placeholders(), log=False, quantized=False, weights=paths)
    net.close()
    assert net.loaded is not None
    net.loaded.require_trained(", ".join(paths))
    return net
