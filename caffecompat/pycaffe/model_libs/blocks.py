"""What the networks of ``caffe.model_libs`` are made of: convolution with batch norm, residual and inception blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L

__all__ = [
    "PLAIN",
    "ConvBNLayer",
    "InceptionTower",
    "ResBody",
    "UnpackVariable",
    "as_list",
    "check_if_exist",
    "freeze",
    "make_if_not_exist",
    "same_padding",
]

_FIXED = {"lr_mult": 0, "decay_mult": 0}
# Of a convolution without batch norm.
PLAIN: Mapping[str, Any] = {
    "param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
    "weight_filler": {"type": "xavier"},
    "bias_filler": {"type": "constant", "value": 0},
}


def check_if_exist(path: str) -> bool:
    """Whether a file or folder exists."""
    return os.path.exists(path)


def make_if_not_exist(path: str) -> None:
    """Make a folder, and those above it, where it does not exist."""
    os.makedirs(path, exist_ok=True)


def as_list(value: Any) -> list[Any]:
    """A list as it is, another value as a list of one."""
    return value if isinstance(value, list) else [value]


def UnpackVariable(var: Any, num: int) -> list[Any]:
    """`num` values: those of a list of that length, or one value (or a list of one) repeated.

    Raises:
        ValueError: a list of another length.
    """
    values = as_list(var)
    if len(values) not in (1, num):
        raise ValueError(f"expected one value or {num}, got {values}")
    return values if len(values) == num else values * num


def same_padding(kernel_size: int, dilation: int = 1) -> int:
    """The padding that keeps a picture's size under an odd kernel and stride 1."""
    return dilation * (kernel_size - 1) // 2


def freeze(net: NetSpec, names: Iterable[str]) -> None:
    """Stop the layers of those names from learning; names that the net does not have are passed over (SSD)."""
    for name in names:
        if name in net.keys():  # noqa: SIM118 -- a NetSpec has no __contains__
            net.update(name, {**PLAIN, "param": [_FIXED, _FIXED]})


def ConvBNLayer(
    net: NetSpec,
    from_layer: str,
    out_layer: str,
    use_bn: bool,
    use_relu: bool,
    num_output: int,
    kernel_size: Any,
    pad: Any,
    stride: Any,
    dilation: int = 1,
    use_scale: bool = True,
    lr_mult: float = 1,
    conv_prefix: str = "",
    conv_postfix: str = "",
    bn_prefix: str = "",
    bn_postfix: str = "_bn",
    scale_prefix: str = "",
    scale_postfix: str = "_scale",
    bias_prefix: str = "",
    bias_postfix: str = "_bias",
    **bn_params: Any,
) -> None:
    """Add a Convolution, and in place on it BatchNorm with Scale (or Bias) and ReLU.

    Args:
        kernel_size, pad, stride: a number, or [height, width].
        use_bn: the convolution then has no bias and starts from a gaussian of 0.01, else from "xavier".
        use_scale: Scale with a bias after BatchNorm; else Bias alone.
        bn_params: `eps` (0.001), `moving_average_fraction` (0.999), and `use_global_stats` (False; where True,
            statistics, scale and bias stay as they are).
    """
    convolution = f"{conv_prefix}{out_layer}{conv_postfix}"
    settings = _batch_norm_convolution(lr_mult) if use_bn else _plain_convolution(lr_mult)
    net[convolution] = L.Convolution(
        net[from_layer], num_output=num_output, **_window(kernel_size, pad, stride), **settings
    )
    if dilation > 1:
        net.update(convolution, {"dilation": dilation})
    if use_bn:
        norm = f"{bn_prefix}{out_layer}{bn_postfix}"
        net[norm] = L.BatchNorm(net[convolution], in_place=True, **_batch_norm(bn_params))
        multiplier = 0 if bn_params.get("use_global_stats") else lr_mult
        learns = {"lr_mult": multiplier, "decay_mult": 0}
        if use_scale:
            net[f"{scale_prefix}{out_layer}{scale_postfix}"] = L.Scale(
                net[norm], in_place=True, bias_term=True, param=[learns, learns],
                filler={"type": "constant", "value": 1.0}, bias_filler={"type": "constant", "value": 0.0},
            )  # fmt: skip
        else:
            net[f"{bias_prefix}{out_layer}{bias_postfix}"] = L.Bias(
                net[norm], in_place=True, param=[learns], filler={"type": "constant", "value": 0.0}
            )
    if use_relu:
        net[f"{convolution}_relu"] = L.ReLU(net[convolution], in_place=True)


def _window(kernel_size: Any, pad: Any, stride: Any) -> dict[str, Any]:
    """kernel_size, pad and stride; by height and width where the kernel is no square."""
    sizes = {name: UnpackVariable(value, 2) for name, value in
             (("kernel", kernel_size), ("pad", pad), ("stride", stride))}  # fmt: skip
    if len(set(sizes["kernel"])) == 1:
        return {"kernel_size" if name == "kernel" else name: value[0] for name, value in sizes.items()}
    return {f"{name}_{side}": value[axis] for name, value in sizes.items() for axis, side in enumerate("hw")}


def _plain_convolution(lr_mult: float) -> dict[str, Any]:
    learns = [{"lr_mult": lr_mult, "decay_mult": 1}, {"lr_mult": 2 * lr_mult, "decay_mult": 0}]
    return {**PLAIN, "param": learns}


def _batch_norm_convolution(lr_mult: float) -> dict[str, Any]:
    return {
        "param": [{"lr_mult": lr_mult, "decay_mult": 1}],
        "weight_filler": {"type": "gaussian", "std": 0.01},
        "bias_term": False,
    }


def _batch_norm(given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"param": [_FIXED] * 3, "eps": given.get("eps", 0.001)}
    if given.get("use_global_stats"):
        return {**settings, "use_global_stats": True}
    return {**settings, "moving_average_fraction": given.get("moving_average_fraction", 0.999)}


def ResBody(
    net: NetSpec,
    from_layer: str,
    block_name: str,
    out2a: int,
    out2b: int,
    out2c: int,
    stride: int,
    use_branch1: bool,
    dilation: int = 1,
    **bn_param: Any,
) -> None:
    """Add a bottleneck block ``res<block_name>``: convolutions 1x1, 3x3, 1x1, added to the bottom, then ReLU.

    Args:
        out2a, out2b, out2c: channels of the three convolutions.
        stride: of the first one (and of branch1).
        use_branch1: the bottom goes through a 1x1 convolution.
        dilation: of the 3x3 convolution.
    """

    def add(bottom: str, branch: str, channels: int, relu: bool, kernel_size: int = 1, stride: int = 1) -> str:
        around = dilation if kernel_size > 1 else 1
        ConvBNLayer(
            net, bottom, branch, use_bn=True, use_relu=relu, num_output=channels, kernel_size=kernel_size,
            pad=same_padding(kernel_size, around), stride=stride, dilation=around, conv_prefix=f"res{block_name}_",
            bn_prefix=f"bn{block_name}_", bn_postfix="", scale_prefix=f"scale{block_name}_", scale_postfix="",
            **bn_param,
        )  # fmt: skip
        return f"res{block_name}_{branch}"

    shortcut = add(from_layer, "branch1", out2c, False, stride=stride) if use_branch1 else from_layer
    reduced = add(from_layer, "branch2a", out2a, True, stride=stride)
    seen = add(reduced, "branch2b", out2b, True, kernel_size=3)
    expanded = add(seen, "branch2c", out2c, False)
    result = f"res{block_name}"
    net[result] = L.Eltwise(net[shortcut], net[expanded])
    net[f"{result}_relu"] = L.ReLU(net[result], in_place=True)


def InceptionTower(
    net: NetSpec, from_layer: str, tower_name: str, layer_params: Iterable[Mapping[str, Any]], **bn_param: Any
) -> Top:
    """Add a chain of layers ``<tower_name>/<name>``; returns the last top.

    Args:
        layer_params: of each layer its `name`, and the arguments of Pooling where "pool" is in the name, else of
            `ConvBNLayer`. (The fork takes the names out of the caller's dicts; here they stay.)
    """
    for given in layer_params:
        settings = {key: value for key, value in given.items() if key != "name"}
        layer = f"{tower_name}/{given['name']}"
        if "pool" in layer:
            net[layer] = L.Pooling(net[from_layer], **settings)
        else:
            ConvBNLayer(net, from_layer, layer, use_bn=True, use_relu=True, use_scale=False, **{**settings, **bn_param})
        from_layer = layer
    top: Top = net[from_layer]
    return top
