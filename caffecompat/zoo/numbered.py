"""Layers whose names are a kind and a running number (``ConvNd_3``), as PyTorch nets converted by Xilinx have them.

The weights published with AMD/Xilinx's segmentation tutorial have such names. Convolutions and deconvolutions count
together; batch normalization has Xilinx's layout, scale and shift in the same layer. Every function adds a layer to the
spec and returns its top.
"""

from __future__ import annotations

from typing import Any

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P

__all__ = ["XILINX_NORM", "add", "concat", "conv", "deconv", "down_pool", "norm", "relu", "upsample_bilinear"]

_MSRA = {"type": "msra"}

# Fields of a batch normalization in Xilinx's layout: scale, shift, mean and variance in one layer.
XILINX_NORM: dict[str, Any] = {
    "param": [{"lr_mult": learned, "decay_mult": 0} for learned in (1, 1, 0, 0)],
    "eps": 1e-5,
    "scale_filler": {"type": "constant", "value": 1},
    "bias_filler": {"type": "constant", "value": 0},
}


def _named(n: NetSpec, kind: str, top: Any) -> Top:
    number = 1 + sum(name.startswith(f"{kind}_") for name in n.keys())  # noqa: SIM118 -- NetSpec is no mapping
    n[f"{kind}_{number}"] = top
    made: Top = top
    return made


def conv(
    n: NetSpec,
    bottom: Top,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> Top:
    """A convolution padded so that stride 1 keeps the size; an even kernel is not padded."""
    if isinstance(kernel, tuple):
        height, width = kernel
        window = {"pad_h": height // 2, "pad_w": width // 2, "kernel_h": height, "kernel_w": width}
    else:
        window = {"pad": dilation * (kernel // 2) if kernel % 2 else 0, "kernel_size": kernel}
    return _named(
        n, "ConvNd",
        L.Convolution(
            bottom, num_output=outputs, bias_term=bias, stride=stride, dilation=dilation, weight_filler=_MSRA, **window
        ),
    )  # fmt: skip


def deconv(n: NetSpec, bottom: Top, outputs: int, factor: int, *, bias: bool = False, name: str | None = None) -> Top:
    """A learned upsampling: a deconvolution whose kernel is its stride."""
    made = L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": outputs, "bias_term": bias, "kernel_size": factor, "stride": factor, "weight_filler": _MSRA
        },
    )  # fmt: skip
    if name is None:
        return _named(n, "ConvNd", made)
    n[name] = made
    return n[name]


def upsample_bilinear(n: NetSpec, bottom: Top, channels: int) -> Top:
    """A fixed bilinear upsampling by two: a grouped deconvolution that is not trained."""
    window = {"pad": 1, "kernel_size": 4, "stride": 2}
    filler = {"weight_filler": {"type": "bilinear"}, "bias_term": False}
    return _named(
        n, "UpsamplingBilinear2d",
        L.Deconvolution(
            bottom,
            param={"lr_mult": 0, "decay_mult": 0},
            convolution_param={"num_output": channels, "group": channels, **window, **filler},
        ),
    )  # fmt: skip


def norm(n: NetSpec, bottom: Top, *, activate: bool = True) -> Top:
    """Batch normalization in Xilinx's layout (scale, shift, mean, variance), with an in-place ReLU."""
    made = _named(
        n, "BatchNorm",
        L.BatchNorm(bottom, **XILINX_NORM),
    )  # fmt: skip
    return relu(n, made) if activate else made


def relu(n: NetSpec, bottom: Top) -> Top:
    """An in-place ReLU."""
    return _named(n, "Threshold", L.ReLU(bottom, in_place=True))


def add(n: NetSpec, *bottoms: Top) -> Top:
    """The sum of equal shapes."""
    return _named(n, "Add", L.Eltwise(*bottoms))


def concat(n: NetSpec, *bottoms: Top) -> Top:
    """Channels side by side."""
    return _named(n, "Concat", L.Concat(*bottoms, axis=1))


def down_pool(n: NetSpec, bottom: Top, kind: str) -> Top:
    """3x3 pooling with stride 2 and Caffe's rounding up; `kind` is MAX or AVE."""
    name = {"MAX": "MaxPool2d", "AVE": "AvgPool2d"}[kind]
    return _named(n, name, L.Pooling(bottom, pool=getattr(P.Pooling, kind), kernel_size=3, stride=2))
