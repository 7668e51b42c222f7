"""Shapes of a layer's tops, from its own forward on tensors without memory.

Those are torch's ``meta`` tensors. Torch implements most operations on them in Python, and the first one that runs
imports sympy or the whole compiler: a second or more in every command that builds a net. So the operations that nets
are made of go to torch's CPU kernels here, called on no rows: a batch of 0 items passes the same checks and comes out
in the same shape, but nothing is computed. All others run on meta tensors as torch has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from caffecompat.layers import Layer
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.net.layer import Shape

if TYPE_CHECKING:
    from torch._ops import OpOverload

__all__ = ["run_on_meta", "shape_key"]

_aten = torch.ops.aten
# Operations whose result, where it has the rows (axis 0) of a bottom at all, has them from this argument.
_ROWS_FROM: dict[Callable[..., Any], int] = {
    _aten._log_softmax: 0,
    _aten._softmax: 0,
    _aten.addmm: 1,
    _aten.avg_pool2d: 0,
    _aten.convolution: 0,
    _aten.embedding: 1,
    _aten.gather: 2,
    _aten.im2col: 0,
    _aten.max_pool2d_with_indices: 0,
    _aten.mean: 0,
    _aten.mm: 0,
    _aten.native_batch_norm: 0,
    _aten.sum: 0,
    _aten.tril: 0,
    _aten.triu: 0,
    _aten.upsample_bilinear2d: 0,
}
# Operations value by value, perhaps added up in the end, which torch does not tag so.
_VALUEWISE = {
    _aten._prelu_kernel,
    _aten._to_copy,
    _aten.binary_cross_entropy_with_logits,
    _aten.empty_like,
    _aten.mse_loss,
    _aten.ones_like,
    _aten.zeros_like,
}


# What a layer's own shapes do not depend on.
_NO_MATTER = ("name", "bottom", "top", "loss_weight", "param", "blobs", "include", "exclude", "propagate_down")


def shape_key(module: Layer, bottoms: Sequence[Shape]) -> tuple[Any, ...] | None:
    """What the shapes of a layer's tops depend on, equal for layers that differ in names alone.

    None for layers whose code is a user's, which may depend on anything.
    """
    if isinstance(module, PythonLayer) or not type(module).__module__.startswith("caffecompat."):
        return None
    param = type(module.param)()
    param.CopyFrom(module.param)
    for name in _NO_MATTER:
        param.ClearField(name)
    param.DiscardUnknownFields()
    return type(module), len(module.param.top), param.SerializeToString(deterministic=True), tuple(bottoms)


def run_on_meta(module: Layer, bottoms: Sequence[Shape]) -> Any:
    """What a layer's forward gives for bottoms of those shapes, as meta tensors; the layer stays as it was."""
    state = dict(module.__dict__)
    held = chain(module.named_parameters(), module.named_buffers())
    try:
        with torch.no_grad(), _NoRows():
            blobs = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in held}
            return functional_call(module, blobs, tuple(torch.empty(shape, device="meta") for shape in bottoms))
    finally:
        module.__dict__.update(state)  # a layer that counts its passes has not made one


class _NoRows(TorchDispatchMode):
    """Runs operations on meta tensors by the CPU's kernels on no rows, where these give the shape."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else torch imports the compiler to keep it off this mode

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable and torch.Tag.nondeterministic_seeded in func.tags:
            return args[0]  # not even a call for no values: it would move the generator
        carriers = _carriers(func, args)
        if carriers:
            try:
                made = func(*_substitutes(args, func, carriers), **kwargs)
            except RuntimeError:
                pass  # no rows are too few for it, or the shapes do not fit, which it tells better of the true ones
            else:
                return args[0] if func._schema.is_mutable else _restored(made, func, carriers[0])
        return func(*args, **kwargs)


def _carriers(func: OpOverload, args: Sequence[Any]) -> list[Tensor]:
    """The arguments whose rows are those of the result; none where the operation must run as it is."""
    operation = func.overloadpacket
    if operation in _ROWS_FROM:
        tensors = [args[_ROWS_FROM[operation]]]
    elif operation is _aten.cat and args[0][0].dim() and (args[1] if len(args) > 1 else 0) % args[0][0].dim():
        tensors = args[0]
    elif operation in _VALUEWISE or torch.Tag.pointwise in func.tags:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        axes = max((tensor.dim() for tensor in tensors), default=0)
        tensors = [tensor for tensor in tensors if tensor.dim() == axes]
        if any(tensor.shape[0] > 1 for tensor in tensors if axes):
            tensors = [tensor for tensor in tensors if tensor.shape[0] > 1]
    else:
        return []
    same = all(tensor.is_meta and tensor.shape[:1] == tensors[0].shape[:1] for tensor in tensors)
    return tensors if same else []


def _substitutes(args: Sequence[Any], func: OpOverload, carriers: Sequence[Tensor]) -> list[Any]:
    """The arguments on the CPU: carriers without rows, others with one value in memory for all."""
    made: list[Any] = []
    for arg in args:
        if isinstance(arg, list | tuple):
            made.append(_substitutes(arg, func, carriers))
        elif isinstance(arg, Tensor) and arg.is_meta:
            shape = _small(arg, func) if any(arg is carrier for carrier in carriers) else arg.shape
            made.append(torch.ones((), dtype=arg.dtype).expand(shape))
        else:
            made.append(arg)
    return made


def _small(tensor: Tensor, func: OpOverload) -> Shape:
    if func.overloadpacket is _aten.native_batch_norm:  # it refuses an empty batch, but not one value for each channel
        return (1, *tensor.shape[1:2])
    return (0, *tensor.shape[1:]) if tensor.dim() else ()


def _restored(made: Any, func: OpOverload, carrier: Tensor) -> Any:
    """The result on meta, with the rows that the substitutes lack."""
    if isinstance(made, list | tuple):
        return tuple(_restored(tensor, func, carrier) for tensor in made)
    shape = tuple(made.shape)
    if func.overloadpacket is _aten.native_batch_norm:
        shape = tuple(carrier.shape) if len(shape) == 2 else shape
    elif shape[:1] == (0,):
        shape = (carrier.shape[0], *shape[1:])
    return torch.empty(shape, dtype=made.dtype, device="meta")
