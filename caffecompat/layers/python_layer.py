"""Python: a layer whose code is a class in the user's own module, working on NumPy arrays."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat import glog
from caffecompat.errors import add_note
from caffecompat.layers.layer import TEST, TRAIN, Context, Layer, LayerError, Shape
from caffecompat.layers.proposal import PythonProposal, picture_info
from caffecompat.layers.python_blob import ArrayBlob, BlobVec, RawBlobVec
from caffecompat.layers.python_module import ModuleMissing, caffe_importable, import_user_module, place_of
from caffecompat.layers.registry import register
from caffecompat.layers.spatial_dropout import SpatialDropout
from caffecompat.python_code import forbidden, hint_for, looked_at
from caffecompat.resumable import State
from caffecompat.schema import pb
from caffecompat.wording import few

__all__ = ["PythonLayer", "PythonLayerBase"]

# Published layers that exist here in torch, by module and class.
_PROPOSALS = "ProposalLayer"
_OWN: dict[tuple[str, str], type[SpatialDropout] | type[PythonProposal]] = {
    ("spatial_dropout", "SpatialDropoutLayer"): SpatialDropout,
    ("rpn.proposal_layer", _PROPOSALS): PythonProposal,
}


class _Phase(IntEnum):
    """The number that BVLC's pycaffe gives for a phase, with the name that caffe-fast-rcnn's `str()` of it gives."""

    TRAIN = TRAIN
    TEST = TEST

    def __str__(self) -> str:
        return self.name


class PythonLayerBase:
    """``caffe.Layer``: what the class of a Python layer derives from.

    A subclass defines ``setup(bottom, top)``, ``reshape(bottom, top)``, ``forward(bottom, top)`` and
    ``backward(top, propagate_down, bottom)``; bottoms and tops are lists of blobs with NumPy arrays `data` and `diff`.

    Attributes:
        param_str: text from the prototxt.
        phase: ``caffe.TRAIN`` (0) or ``caffe.TEST`` (1); ``str(self.phase)`` is its name.
        blobs: the layer's parameters; ``self.blobs.add_blob(*shape)`` in ``setup`` adds one.

    A layer that brings data has a place in it. Where its class has methods ``state()``, which returns a dict of
    numbers, strings, lists and arrays, and ``restore(state)``, which takes one, snapshots hold that place, and a run
    that is resumed goes on from it. They hold the generators of `random` and `numpy.random` too.
    """

    type = "Python"
    param_str: str = ""
    phase: int = 0

    def __init__(self, layer_param: pb.LayerParameter, *others: Any) -> None:
        self.blobs = BlobVec()

    @property
    def param_str_(self) -> str:
        """What pycaffe called `param_str` before 2015."""
        return self.param_str

    def setup(self, bottom: Sequence[ArrayBlob], top: Sequence[ArrayBlob]) -> None:
        """Read `param_str`, check the bottoms, add parameters; called once."""

    def reshape(self, bottom: Sequence[ArrayBlob], top: Sequence[ArrayBlob]) -> None:
        """Give the tops their shapes; called after `setup` and before every `forward`."""
        raise _not_defined(self, "reshape(self, bottom, top)")

    def forward(self, bottom: Sequence[ArrayBlob], top: Sequence[ArrayBlob]) -> None:
        """Write the tops' `data`."""
        raise _not_defined(self, "forward(self, bottom, top)")

    def backward(self, top: Sequence[ArrayBlob], propagate_down: Sequence[bool], bottom: Sequence[ArrayBlob]) -> None:
        """Write the `diff` of the bottoms in `propagate_down` from the tops' `diff`, and add to the parameters'."""
        raise _not_defined(self, "backward(self, top, propagate_down, bottom), but a gradient is asked for")


def _not_defined(instance: PythonLayerBase, method: str) -> AttributeError:
    """What a missing method gives when it is called, as in pycaffe."""
    return AttributeError(f"{type(instance).__name__} has no {method}")


@register("Python")
class PythonLayer(Layer):
    """Runs the class `layer` of the module `module` of python_param (BVLC python_layer.hpp).

    The module is looked for in the folders of PYTHONPATH and ``--python-path`` and in that of the prototxt
    (see `python_module`); ``import caffe`` in it gives caffecompat's pycaffe. Where a net is only looked at, nothing
    is imported (see `caffecompat.python_code`). Blobs are float32 arrays in C order, and those of an in-place layer are
    one blob. Shapes are found by `setup` and `reshape`, so they may depend on what the class reads. What the class
    raises comes through as it is, with a note that names layer, method, file and line. `share_in_parallel` has no
    effect.

    ENet's `spatial_dropout.SpatialDropoutLayer` and py-faster-rcnn's `rpn.proposal_layer.ProposalLayer`, whose files
    are Python 2, are computed by torch where no such module is found that Python 3 can read.
    """

    keeps_forward: ClassVar[bool] = True
    untraceable: str = "it is Python code, which works on arrays"
    bottoms: ClassVar[tuple[int, int | None]] = (0, None)
    tops: ClassVar[tuple[int, int | None]] = (0, None)
    anchor: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self.register_buffer("anchor", torch.empty(0), persistent=False)  # shows where a layer without bottoms computes
        self.own: nn.Module | None = None
        self.instance: PythonLayerBase | None = None
        self.opaque = looked_at()  # set where the net is only looked at: no code runs
        self.hint = hint_for(param) if self.opaque else None
        where = self.param.python_param
        if not where.module or not where.layer:
            raise LayerError(
                'python_param needs module and layer, as in python_param { module: "my_file" layer: "MyClass" }'
            )
        if self.opaque or forbidden():
            if (where.module, where.layer) in _OWN:
                self._use_own(bottom_shapes)
            elif not self.opaque:
                raise LayerError(
                    f"runs the code of {where.module}.{where.layer}, which this command or call does not allow"
                )
            return
        with caffe_importable():
            kind = self._find(bottom_shapes)
            if kind is not None:
                self._set_up(kind, bottom_shapes)

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Of py-faster-rcnn's ProposalLayer, whoever computes it, the size of the picture."""
        if self.param.python_param.layer != _PROPOSALS or place != 2:
            return None
        return picture_info(bottoms, self.own.rules.stride if isinstance(self.own, PythonProposal) else (16, 16))

    def _tops_without_code(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Tops of the shapes that the hint says; without one they are guesses."""
        assert self.opaque is not None
        shapes = [tuple(bottom.shape) for bottom in bottoms]
        if self.hint is not None:
            made = self.hint(shapes)
        else:
            made = self.opaque.guess(self.param.name, shapes, len(self.param.top))
        like = bottoms[0] if bottoms else self.anchor
        return tuple(like.new_zeros(shape) for shape in made)

    def _find(self, bottom_shapes: Sequence[Shape]) -> type[PythonLayerBase] | None:
        """The class, or None where `own` does its work."""
        p = self.param.python_param
        try:
            module = import_user_module(p.module, self.context.relative_to)
        except ModuleMissing as problem:
            if (p.module, p.layer) not in _OWN:
                raise
            own = self._use_own(bottom_shapes)
            _log_once(f"{problem}; caffecompat computes {p.module}.{p.layer} by code of its own{own.origin}")
            return None
        where = f"module {p.module!r} ({getattr(module, '__file__', None) or 'built in'})"
        kind = getattr(module, p.layer, None)
        if kind is None:
            classes = [name for name, thing in vars(module).items() if _is_layer_class(thing)]
            raise LayerError(f"{where} has no class {p.layer!r}; layers in it: {few(classes, 8) or 'none'}")
        if not _is_layer_class(kind):
            raise LayerError(f"{p.layer} of {where} must be a class derived from caffe.Layer")
        return kind

    def _use_own(self, bottom_shapes: Sequence[Shape]) -> type[SpatialDropout] | type[PythonProposal]:
        """Compute a published layer in torch."""
        where = self.param.python_param
        own = _OWN[where.module, where.layer]
        self._check_count("bottom", len(bottom_shapes), own.bottoms)
        self._check_count("top", len(self.param.top), own.tops)
        self.own = own(self.param, bottom_shapes, self.context)
        self.untraceable, self.variable_rows = own.untraceable, own.variable_rows
        return own

    def _set_up(self, kind: type[PythonLayerBase], bottom_shapes: Sequence[Shape]) -> None:
        self.file = inspect.getsourcefile(kind) or ""
        instance = self.instance = kind(self.param)
        instance.param_str, instance.phase = self.param.python_param.param_str, _Phase(self.context.phase)
        self.bottom_blobs = RawBlobVec(ArrayBlob(tuple(shape)) for shape in bottom_shapes)
        names = list(self.param.bottom)
        self.top_blobs = RawBlobVec(
            self.bottom_blobs[slot] if names[slot : slot + 1] == [name] else ArrayBlob()
            for slot, name in enumerate(self.param.top)
        )
        instance.blobs.open(self)
        self.call("setup", self.bottom_blobs, self.top_blobs)
        self.call("reshape", self.bottom_blobs, self.top_blobs)
        instance.blobs.close()

    def call(self, method: str, *arguments: object) -> None:
        """Call a method of the user's object; what it raises gets a note of where that was."""
        instance = self.instance
        assert instance is not None
        try:
            getattr(instance, method)(*arguments)
        except Exception as error:
            name = f"{type(instance).__name__}.{method}"
            add_note(error, f"layer {self.param.name!r} (Python): {name}, {place_of(error, self.file)}")
            raise
        finally:
            instance.blobs.push()

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.own is not None:
            made: Tensor | tuple[Tensor, ...] = self.own(*bottoms)
            return made
        if self.opaque is not None:
            tops = self._tops_without_code(bottoms)
        elif self.anchor.is_meta or any(bottom.is_meta for bottom in bottoms):
            self._reshape([tuple(bottom.shape) for bottom in bottoms])
            tops = tuple(torch.empty(blob.shape, device="meta") for blob in self.top_blobs)
        else:
            tops = _Run.apply(self, len(bottoms), *bottoms, *self.blobs)
        return tops[0] if len(tops) == 1 else tops

    def _reshape(self, shapes: Sequence[Shape]) -> None:
        """Shapes of the tops for bottoms of those shapes."""
        if shapes == [blob.shape for blob in self.bottom_blobs]:
            return
        for blob, shape in zip(self.bottom_blobs, shapes, strict=True):
            blob.reshape(*shape)
        self.call("reshape", self.bottom_blobs, self.top_blobs)

    @property
    def _keeps_place(self) -> bool:
        """Whether the user's class follows the protocol of `PythonLayerBase`: state() and restore(state)."""
        return all(callable(getattr(self.instance, method, None)) for method in ("state", "restore"))

    def state(self) -> State:
        if self._keeps_place:
            return {"own": self.instance.state()}  # type: ignore[union-attr]
        return {"own": None} if self.instance is not None and not self.param.bottom else {}

    def restore(self, state: State) -> list[str]:
        if self._keeps_place and state["own"] is not None:
            self.instance.restore(state["own"])  # type: ignore[union-attr]
            return []
        name = f"{self.param.python_param.module}.{self.param.python_param.layer}"
        return [f"{name} has no state() and restore(state), or had none then: it begins from the beginning"]


@cache
def _log_once(line: str) -> None:
    """ENet has 38 such layers."""
    glog.info(line)


def _is_layer_class(thing: object) -> TypeGuard[type[PythonLayerBase]]:
    return isinstance(thing, type) and issubclass(thing, PythonLayerBase) and thing is not PythonLayerBase


class _Run(torch.autograd.Function):
    """The user's forward and backward.

    Inputs are the bottoms and the layer's parameters. The user's code adds to the parameters' gradients itself, in
    their own memory, so backward returns none for them.
    """

    @staticmethod
    def forward(ctx: Any, layer: PythonLayer, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        bottoms = tensors[:count]
        ctx.layer, ctx.bottoms = layer, [(bottom.dtype, bottom.device) for bottom in bottoms]
        for slot, (blob, bottom) in enumerate(zip(layer.bottom_blobs, bottoms, strict=True)):
            in_place = slot < len(layer.top_blobs) and layer.top_blobs[slot] is blob
            blob.take(bottom.detach().clone() if in_place else bottom.detach().cpu())
        layer.call("reshape", layer.bottom_blobs, layer.top_blobs)
        layer.call("forward", layer.bottom_blobs, layer.top_blobs)
        dtype, device = ctx.bottoms[0] if bottoms else (layer.anchor.dtype, layer.anchor.device)
        # Copies: the blobs keep their values, and the next pass writes into the same arrays.
        return tuple(torch.from_numpy(blob.data.copy()).to(device, dtype) for blob in layer.top_blobs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        layer: PythonLayer = ctx.layer
        for blob, grad in zip(layer.top_blobs, grads, strict=True):
            blob.diff[...] = grad.detach().cpu().numpy()
        count = len(ctx.bottoms)
        wanted = ctx.needs_input_grad[2 : 2 + count]
        layer.call("backward", layer.top_blobs, list(wanted), layer.bottom_blobs)
        made = [
            torch.from_numpy(blob.diff.copy()).to(device, dtype) if need else None
            for blob, need, (dtype, device) in zip(layer.bottom_blobs, wanted, ctx.bottoms, strict=True)
        ]
        return None, None, *made, *[None] * (len(ctx.needs_input_grad) - 2 - count)
