"""The arithmetic of folding: y = a x + b a channel, and a layer's weights that take it in.

Arithmetic is in double precision; results are rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from caffecompat.layers.convolution import Convolution, Deconvolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.net.layer import NetLayer
from caffecompat.schema import pb

__all__ = ["Affine", "cannot_scale_inputs", "channel_affine", "scale_inputs", "scale_outputs"]

Affine = tuple[np.ndarray, np.ndarray]
Weighted: TypeAlias = "pb.ConvolutionParameter | pb.InnerProductParameter"


def channel_affine(
    layer: NetLayer,
    blobs: Mapping[str, list[np.ndarray]],
    shape: tuple[int, ...],
    running_statistics: bool = False,
) -> Affine | str:
    """a and b of y = a x + b, each (C) float64, of a layer with `channel_affine`; or why it is none.

    Args:
        blobs: by layer name, in the layer's own arrangement.
        shape: of the bottom; the channels are axis 1.
    """
    module = layer.module
    assert module is not None
    own = [np.asarray(blob, np.float64).reshape(-1) for blob in blobs.get(layer.name, [])]
    return module.affine(dict(zip(module.blob_names, own, strict=True)), shape, running_statistics)


def scale_outputs(
    layer: NetLayer, blobs: dict[str, list[np.ndarray]], affine: Affine, param: pb.LayerParameter
) -> None:
    """Put a and b into the weights and the bias of the layer whose outputs (axis 1) they apply to.

    Args:
        blobs: by layer name; the layer's are replaced.
        param: its LayerParameter, which may have to get a bias.
    """
    a, b = affine
    weight, *rest = blobs[layer.name]
    module: Any = layer.module
    settings: Weighted
    if isinstance(module, InnerProduct):
        settings = param.inner_product_param
        scaled = weight * (a if module.transpose else a[:, None])
    else:
        settings = param.convolution_param
        spatial = (1,) * (weight.ndim - 2)
        if isinstance(module, Convolution):
            scaled = weight * a.reshape(-1, 1, *spatial)
        else:
            # (C_in, C_out / group, k...): input channels of group g make the outputs of group g.
            groups, inside = module.group, weight.shape[1]
            each = np.repeat(a.reshape(groups, inside), weight.shape[0] // groups, axis=0)
            scaled = weight * each.reshape(*each.shape, *spatial)
    bias = b + (a * rest[0].astype(np.float64) if rest else 0)
    _store(layer, blobs, settings, scaled, bias, bool(rest))


def cannot_scale_inputs(layer: NetLayer, affine: Affine, shape: tuple[int, ...]) -> str:
    """Why a layer cannot take in what applies to its bottom, of that shape; "" if it can."""
    module: Any = layer.module
    if module.axis != 1:
        return f"{layer.name!r} after it has its channels on axis {module.axis}"
    if not affine[1].any() or isinstance(module, InnerProduct):
        return ""
    if isinstance(module, Deconvolution):
        if any(k != 1 or s != 1 for k, s in zip(module.kernel, module.stride, strict=True)) or any(module.pad):
            return f"{layer.name!r} after it is a Deconvolution, in which the shift is not the same everywhere"
    elif any(module.pad):
        return (
            f"{layer.name!r} after it pads with zeros (pad {max(module.pad)}), which the shift leaves alone: folding "
            "would change the numbers at the border"
        )
    return ""


def scale_inputs(layer: NetLayer, blobs: dict[str, list[np.ndarray]], affine: Affine, param: pb.LayerParameter) -> None:
    """Put a and b into the weights and the bias of a layer whose bottom (axis 1) they apply to.

    Args as for `scale_outputs`; `cannot_scale_inputs` must have found nothing.
    """
    a, b = affine
    weight, *rest = (blob.astype(np.float64) for blob in blobs[layer.name])
    module: Any = layer.module
    settings: Weighted
    if isinstance(module, InnerProduct):
        settings = param.inner_product_param
        rows = weight if not module.transpose else weight.T
        each = rows.shape[1] // len(a)  # values of a channel
        scaled, shift = rows * np.repeat(a, each), rows @ np.repeat(b, each)
        scaled = scaled.T if module.transpose else scaled
    else:
        settings, groups = param.convolution_param, module.group
        spatial = tuple(range(2, weight.ndim))
        sums = weight.sum(axis=spatial)
        if isinstance(module, Convolution):
            # (C_out, C_in / group, k...): outputs of group g read the channels of group g.
            def per_output(values: np.ndarray) -> np.ndarray:
                return np.repeat(values.reshape(groups, -1), weight.shape[0] // groups, axis=0)

            scaled = weight * np.expand_dims(per_output(a), spatial)
            shift = (sums * per_output(b)).sum(1)
        else:
            scaled = weight * np.expand_dims(a[:, None], spatial)
            shift = (sums * b[:, None]).reshape(groups, -1, weight.shape[1]).sum(1).reshape(-1)
    _store(layer, blobs, settings, scaled, shift + (rest[0] if rest else 0), bool(rest))


def _store(
    layer: NetLayer,
    blobs: dict[str, list[np.ndarray]],
    settings: Weighted,
    weight: np.ndarray,
    bias: np.ndarray,
    had_bias: bool,
) -> None:
    if not had_bias and not np.any(bias):
        blobs[layer.name] = [weight.astype(np.float32)]
        return
    settings.ClearField("bias_term")
    blobs[layer.name] = [weight.astype(np.float32), np.asarray(bias, np.float32)]
