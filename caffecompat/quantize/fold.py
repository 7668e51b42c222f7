"""Batch normalization folded into the layers around it, with the arithmetic and in the order of the Xilinx tool.

Its results are bit for bit those of vai_q_caffe, which `caffecompat.deploy.fold_norm` need not be: products are in
float32 or in double as in the tool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from caffecompat.layers.norm_blobs import statistics
from caffecompat.quantize.layer_links import first_of, readers_before_split
from caffecompat.quantize.settings import QuantizeError
from caffecompat.schema import pb

__all__ = ["FoldedNet", "Norm", "fold", "read_norm"]

_CONVOLUTIONS = ("Convolution", "Deconvolution")
_RELUS = ("ReLU", "ReLU6")
_PASSING = ("Dropout", "Split")


@dataclass(frozen=True)
class Norm:
    """A batch normalization at inference: (x - mean) / sqrt(variance + eps) scale + bias, all (C) float32."""

    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    eps: np.float32


@dataclass
class FoldedNet:
    """A net without batch normalization.

    Attributes:
        message: the NetParameter of both phases. `blobs`: of each layer that has any.
        notes: where the numbers differ from the original's because these were wrong, a line each.
    """

    message: pb.NetParameter
    blobs: dict[str, list[np.ndarray]]
    notes: list[str] = field(default_factory=list)


def read_norm(layer: pb.LayerParameter, blobs: list[np.ndarray], layout: str) -> Norm:
    """The parts of a BatchNorm or BN of any fork, from its blobs in the arrangement `layout` (`norm_blobs.LAYOUTS`).

    BVLC's sums are multiplied by float32(1 / factor), as Caffe does. A BN of two blobs is its scale and shift alone.

    Raises:
        QuantizeError: it stores no statistics.
    """
    arrays = [np.asarray(blob, np.float32) for blob in blobs]
    channels = max(blob.size for blob in arrays)
    if layer.type == "BN" and len(arrays) == 2:
        if layer.bn_param.bn_mode == pb.BNParameter.LEARN:
            raise QuantizeError(
                f"layer {layer.name!r}: a BN of bn_mode LEARN normalizes by each batch and stores no statistics that "
                "could be folded; take bn_mode: INFERENCE, and weights that compute_bn_statistics.py has folded"
            )
        scale, shift = (blob.reshape(-1) for blob in arrays)
        return Norm(scale, shift, np.zeros_like(scale), np.ones_like(scale), np.float32(0))
    if layout in ("bvlc", "intel affine"):
        factor = arrays[2].reshape(-1)[0]
        by = np.float32(0) if factor == 0 else np.float32(1) / factor
        arrays[0], arrays[1], arrays[2] = arrays[0] * by, arrays[1] * by, np.ones_like(arrays[2])
    parts = statistics(arrays, layout, channels)
    if parts is None:
        raise QuantizeError(f"layer {layer.name!r}: its blobs are not those of a batch normalization")
    eps = layer.bn_param.eps if layer.type == "BN" else layer.batch_norm_param.eps
    return Norm(parts["scale"], parts["bias"], parts["mean"], parts["variance"], np.float32(eps))


def fold(
    message: pb.NetParameter,
    blobs: Mapping[str, list[np.ndarray]],
    norms: Mapping[str, Norm],
    *,
    as_original: bool = False,
) -> FoldedNet:
    """Fold every batch normalization into the layer before it, or the convolution after it, or make it a Scale.

    Args:
        message: of the net, both phases; it stays as it is.
        blobs: by layer name. `norms`: of the BatchNorm layers, by name.
        as_original: repeat what the tool computes wrongly: the weights of a deconvolution in groups, and of a
            convolution in groups after the normalization; a fold across a layer in place that is no ReLU (for inner
            products: across any).
    """
    copy = pb.NetParameter()
    copy.CopyFrom(message)
    folding = _Folding(FoldedNet(copy, {name: list(values) for name, values in blobs.items()}), dict(norms))
    folding.as_original = as_original
    folding.remove_passing()
    folding.remove_second_norms()
    folding.join_scales()
    folding.fold_back()
    folding.fold_ahead()
    folding.make_scales()
    return folding.net


class _Folding:
    """The steps, in order."""

    as_original = False

    def __init__(self, net: FoldedNet, norms: dict[str, Norm]) -> None:
        self.net, self.norms = net, norms
        self.layers = net.message.layer

    def remove_passing(self) -> None:
        """Whoever reads a top of a Dropout or a Split reads its bottom."""
        renamed: dict[str, str] = {}
        for layer in list(self.layers):
            written = [blob for blob in layer.top if blob in renamed]
            read = set(layer.bottom)
            layer.bottom[:] = [renamed.get(blob, blob) for blob in layer.bottom]
            if layer.type in _PASSING:
                renamed.update(dict.fromkeys(layer.top, layer.bottom[0]))
                self.layers.remove(layer)
                continue
            for blob in written:  # in place where nobody needs the value before
                source = renamed.pop(blob)
                if blob in read and not self._is_read_after(layer, source, renamed):
                    layer.top[list(layer.top).index(blob)] = renamed[blob] = source

    def _is_read_after(self, layer: pb.LayerParameter, blob: str, renamed: Mapping[str, str]) -> bool:
        """Whether a later layer reads the blob, by this or another name, before it is written again."""
        names = {blob, *(other for other, source in renamed.items() if source == blob)}
        later = list(self.layers)[list(self.layers).index(layer) + 1 :]
        return any(names & set(one.bottom) for one in later)

    def remove_second_norms(self) -> None:
        """Nets that state a BatchNorm for each phase keep the first of the two, for both; BN is one, too."""
        seen: set[str] = set()
        for layer in list(self.layers):
            if layer.type == "BN":
                layer.type = "BatchNorm"
                layer.ClearField("bn_param")
            if layer.type != "BatchNorm":
                continue
            if layer.name in seen:
                self.layers.remove(layer)
            else:
                seen.add(layer.name)
                layer.ClearField("include")

    def join_scales(self) -> None:
        """A BatchNorm that a Scale follows takes in the Scale's factors, and its top."""
        at = 0
        while at < len(self.layers):
            layer = self.layers[at]
            found = readers_before_split(self.layers, at)[:1] if layer.type == "BatchNorm" else []
            after = self.layers[found[0]] if found else None
            if after is not None and _is_affine(after, layer):
                norm, (scale, *bias) = self.norms[layer.name], self.net.blobs[after.name]
                if norm.scale.size == scale.size and np.all(norm.scale == 1) and np.all(norm.bias == 0):
                    shift = bias[0] if bias else np.zeros_like(scale)
                    self.norms[layer.name] = Norm(
                        scale.reshape(-1), shift.reshape(-1), norm.mean, norm.variance, norm.eps
                    )
                    layer.top[0] = after.top[0]
                    self.layers.remove(after)
                    del self.net.blobs[after.name]
            at += 1

    def fold_back(self) -> None:
        """Into the convolution, deconvolution or inner product before it, which takes its top."""
        at = 0
        while at < len(self.layers):
            layer = self.layers[at]
            if layer.type in (*_CONVOLUTIONS, "InnerProduct"):
                norm = self._linked(at, lambda after: after.type == "BatchNorm", layer.type != "InnerProduct")
                if norm is not None:
                    self._take_in_after(layer, self.layers[norm])
                    layer.top[0] = self.layers[norm].top[0]
                    del self.layers[norm]
            at += 1

    def fold_ahead(self) -> None:
        """Into a convolution without pad after it, which takes its bottom and its place."""
        at = 0
        while at < len(self.layers):
            layer = self.layers[at]
            at += 1
            if layer.type == "BatchNorm" and layer.name in self.norms:
                after = self._linked(at - 1, lambda one: one.type == "Convolution" and not _pads(one), True)
                if after is not None:
                    moved = pb.LayerParameter()
                    moved.CopyFrom(self.layers[after])
                    self._take_in_before(moved, layer)
                    moved.bottom[0] = layer.bottom[0]
                    layer.CopyFrom(moved)
                    del self.layers[after]

    def make_scales(self) -> None:
        """Every other BatchNorm becomes a Scale of its name."""
        for layer in self.layers:
            if layer.type != "BatchNorm":
                continue
            norm = self.norms[layer.name]
            scale = norm.scale * (np.float32(1) / np.sqrt(norm.variance + norm.eps))
            bias = _doubled(norm.bias) - _doubled(norm.mean) * _gain(norm)
            self.net.blobs[layer.name] = [scale, bias.astype(np.float32)]
            layer.type = "Scale"
            layer.ClearField("batch_norm_param")
            layer.scale_param.bias_term = True
            _learn_both(layer)

    def _linked(self, at: int, holds: Callable[[pb.LayerParameter], bool], checks_relu: bool) -> int | None:
        """The first of the layers that read layer `at` alone that fulfils a condition, if it is the very first.

        The original looks for a ReLU before it only, and not always.
        """
        places = readers_before_split(self.layers, at)
        found = first_of(self.layers, places, holds)
        if found is None or found == places[0]:
            return found
        relu = first_of(self.layers, places, lambda layer: layer.type in _RELUS)
        if checks_relu and relu is not None and relu < found:
            return None
        one, between, other = (self.layers[place] for place in (at, places[0], found))
        self.net.notes.append(
            f"layers {one.name!r} and {other.name!r}: the original makes one of them although {between.name!r} "
            f"({between.type}) is between them, which makes wrong numbers; "
            + ("so does this" if self.as_original else "here they stay two")
        )
        return found if self.as_original else None

    def _take_in_after(self, layer: pb.LayerParameter, after: pb.LayerParameter) -> None:
        """The weights of a layer whose outputs a batch normalization follows."""
        norm = self.norms[after.name]
        weight, *rest = self.net.blobs[layer.name]
        gain = _gain(norm)
        bias = rest[0].reshape(-1) if rest else np.zeros(norm.mean.size, np.float32)
        shift = _doubled(norm.bias) + (_doubled(bias) - _doubled(norm.mean)) * gain
        if layer.type == "Convolution":
            new = _doubled(weight) * gain.reshape(-1, *[1] * (weight.ndim - 1))
        elif layer.type == "InnerProduct":
            factor = _single_gain(norm)
            new = weight * (factor if layer.inner_product_param.transpose else factor[:, None])
        else:
            new = weight * self._of_outputs(layer, weight, _single_gain(norm))
        self.net.blobs[layer.name] = [new.astype(np.float32), shift.astype(np.float32)]
        _with_bias(layer)

    def _of_outputs(self, layer: pb.LayerParameter, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """A deconvolution's factors (C_in, C_out / group, 1, ...), of the output channel that each weight makes."""
        groups, inside = layer.convolution_param.group, weight.shape[1]
        spatial = (1,) * (weight.ndim - 2)
        if groups > 1:
            self.net.notes.append(
                f"layer {layer.name!r} is a deconvolution in {groups} groups with batch normalization: the original "
                "multiplies all of them by the factors of the first group, which makes wrong numbers; "
                + ("so does this" if self.as_original else "here each has its own")
            )
        if groups > 1 and self.as_original:  # by the second axis alone
            return factor[:inside].reshape(1, inside, *spatial)
        each = np.repeat(factor.reshape(groups, inside), weight.shape[0] // groups, axis=0)
        return each.reshape(*each.shape, *spatial)

    def _take_in_before(self, layer: pb.LayerParameter, before: pb.LayerParameter) -> None:
        """The weights of a convolution whose bottom a batch normalization makes."""
        norm = self.norms[before.name]
        weight, *rest = self.net.blobs[layer.name]
        inverse = np.float32(1) / np.sqrt(norm.variance + norm.eps)
        shift = norm.bias - norm.scale * norm.mean * inverse
        groups = layer.convolution_param.group
        outputs, inside = weight.shape[:2]
        kernels = weight.reshape(outputs, inside, -1)
        sums = np.zeros((outputs, inside), np.float32)
        for place in range(kernels.shape[2]):  # float32, one after the other, as the tool adds
            sums += kernels[:, :, place]
        spatial = (1,) * (weight.ndim - 2)
        channels = np.repeat(np.arange(groups * inside).reshape(groups, inside), outputs // groups, axis=0)
        if groups > 1:
            self.net.notes.append(
                f"layer {layer.name!r} is a convolution in {groups} groups after a batch normalization: the original "
                "multiplies all of them by the factors of the first group, which makes wrong numbers; "
                + ("so does this" if self.as_original else "here each has its own")
            )
            channels %= inside if self.as_original else channels.size
        added = np.zeros(outputs, np.float32)
        for place in range(inside):
            added += sums[:, place] * shift[channels[:, place]]
        bias = rest[0].reshape(-1) if rest else np.zeros(outputs, np.float32)
        scaled = weight * norm.scale[channels].reshape(outputs, inside, *spatial)
        new = scaled * inverse[channels].reshape(outputs, inside, *spatial)
        self.net.blobs[layer.name] = [new, bias + added]
        _with_bias(layer)


def _doubled(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _gain(norm: Norm) -> np.ndarray:
    """scale / sqrt(variance + eps), (C) float64."""
    gain: np.ndarray = _doubled(norm.scale) / np.sqrt(_doubled(norm.variance) + np.float64(norm.eps))
    return gain


def _single_gain(norm: Norm) -> np.ndarray:
    """The same, (C), computed in float32."""
    gain: np.ndarray = norm.scale / np.sqrt(norm.variance + norm.eps)
    return gain


def _is_affine(layer: pb.LayerParameter, norm: pb.LayerParameter) -> bool:
    """Whether a layer is a Scale of the channels that can go into the normalization before it."""
    return layer.type == "Scale" and len(layer.bottom) == 1 and layer.scale_param.axis == 1


def _pads(layer: pb.LayerParameter) -> bool:
    param = layer.convolution_param
    return any(param.pad) or param.HasField("pad_h") or param.HasField("pad_w")


def _with_bias(layer: pb.LayerParameter) -> None:
    """The layer has a bias now, and learns it without decay."""
    param = layer.inner_product_param if layer.type == "InnerProduct" else layer.convolution_param
    param.bias_term = True
    _learn_both(layer)


def _learn_both(layer: pb.LayerParameter) -> None:
    layer.ClearField("param")
    layer.param.add(lr_mult=1, decay_mult=1)
    layer.param.add(lr_mult=1, decay_mult=0)
