"""Blocks of the residual networks: convolutions with batch normalization, basic blocks, bottlenecks.

Layers are called as torchvision calls its modules, with underscores: a state_dict's ``layer1.0.conv1`` is the layer
``layer1_0_conv1``. Batch normalization is BVLC's, BatchNorm and then Scale, both in place.
"""

from __future__ import annotations

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L

__all__ = ["add_basic_block", "add_bottleneck", "add_conv", "add_conv_norm", "add_norm", "add_relu", "add_sum"]

# As torchvision starts its residual networks.
_FILLER = {"type": "msra", "variance_norm": "FAN_OUT"}


def add_conv(
    n: NetSpec, name: str, bottom: Top, outputs: int, kernel: int = 3, *,
    stride: int = 1, dilation: int = 1, bias: bool = False,
) -> Top:  # fmt: skip
    """A convolution padded so that stride 1 keeps the size."""
    n[name] = L.Convolution(
        bottom, num_output=outputs, kernel_size=kernel, pad=dilation * (kernel // 2), bias_term=bias,
        weight_filler=_FILLER, **({"stride": stride} if stride > 1 else {}),
        **({"dilation": dilation} if dilation > 1 else {}),
    )  # fmt: skip
    return n[name]


def add_norm(n: NetSpec, name: str, bottom: Top, *, relu: bool = True, in_place: bool = True) -> Top:
    """Batch normalization with scale and bias, and a ReLU."""
    n[name] = L.BatchNorm(bottom, in_place=in_place)
    n[f"{name}_scale"] = L.Scale(n[name], bias_term=True, in_place=True)
    return add_relu(n, f"{name}_relu", n[f"{name}_scale"]) if relu else n[f"{name}_scale"]


def add_relu(n: NetSpec, name: str, bottom: Top, *, in_place: bool = True) -> Top:
    """A ReLU; not in place where another layer reads what comes before it."""
    n[name] = L.ReLU(bottom, in_place=in_place)
    return n[name]


def add_conv_norm(
    n: NetSpec, name: str, norm: str, bottom: Top, outputs: int, kernel: int = 3, *,
    stride: int = 1, dilation: int = 1, relu: bool = True,
) -> Top:  # fmt: skip
    """A convolution without bias, batch normalization under the name `norm`, and a ReLU."""
    return add_norm(
        n, norm, add_conv(n, name, bottom, outputs, kernel, stride=stride, dilation=dilation), relu=relu
    )  # fmt: skip


def add_sum(n: NetSpec, name: str, *bottoms: Top, relu: bool = True) -> Top:
    """The sum of equal shapes, and a ReLU."""
    n[name] = L.Eltwise(*bottoms)
    return add_relu(n, f"{name}_relu", n[name]) if relu else n[name]


def add_basic_block(
    n: NetSpec, name: str, bottom: Top, channels: int, *, stride: int = 1, project: bool = False, relu: bool = True
) -> Top:
    """Two 3x3 convolutions beside the bottom itself or, with `project`, a 1x1 convolution of it."""
    shortcut = _projected(n, name, bottom, channels, stride) if project else bottom
    blob = add_conv_norm(n, f"{name}_conv1", f"{name}_bn1", bottom, channels, stride=stride)
    blob = add_conv_norm(n, f"{name}_conv2", f"{name}_bn2", blob, channels, relu=False)
    return add_sum(n, f"{name}_add", blob, shortcut, relu=relu)


def add_bottleneck(
    n: NetSpec, name: str, bottom: Top, channels: int, *,
    expansion: int = 4, stride: int = 1, dilation: int = 1, project: bool = False, relu: bool = True,
) -> Top:  # fmt: skip
    """Convolutions 1x1, 3x3, 1x1; the 3x3 one has the stride, as in torchvision. `channels` are the inner ones."""
    outputs = expansion * channels
    shortcut = _projected(n, name, bottom, outputs, stride) if project else bottom
    blob = add_conv_norm(n, f"{name}_conv1", f"{name}_bn1", bottom, channels, 1)
    blob = add_conv_norm(n, f"{name}_conv2", f"{name}_bn2", blob, channels, stride=stride, dilation=dilation)
    blob = add_conv_norm(n, f"{name}_conv3", f"{name}_bn3", blob, outputs, 1, relu=False)
    return add_sum(n, f"{name}_add", blob, shortcut, relu=relu)


def _projected(n: NetSpec, name: str, bottom: Top, outputs: int, stride: int) -> Top:
    return add_conv_norm(
        n, f"{name}_downsample_0", f"{name}_downsample_1", bottom, outputs, 1, stride=stride, relu=False
    )
