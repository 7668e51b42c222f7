"""Running a net layer by layer, as Caffe does, with every blob kept.

A :class:`Net` as a torch module is what trains, compiles and exports. This is
its other face: the same layers over the same parameters, but each is a step
of its own that can be run alone, and every blob's data and diff can be read and
written in between. pycaffe and per-layer timing are built on it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.net.blob import Blob, ParamBlob
from caffecompat.net.layer import NetLayer, Split, Step
from caffecompat.net.net import Net
from caffecompat.net.pass_errors import naming_layers
from caffecompat.net.precision import compute
from caffecompat.net.shapes import top_shapes

__all__ = ["Interpreter"]

Tops = dict[str, Tensor]


class Interpreter:
    """Executes a net's steps over named blobs.

    Attributes:
        net: the net that is run; it is left as it is (see :meth:`attach`).
        steps: Caffe's layers in order, Splits included.
        blobs: every blob by name, in the order Caffe makes them.
        params: the parameter blobs of each layer that has any, in order.
        callbacks: called with a step's index, by occasion (see ``OCCASIONS``).
    """

    OCCASIONS = ("before_forward", "after_forward", "before_backward", "after_backward")

    def __init__(self, net: Net) -> None:
        net.require_own_layers()
        self.net = net
        self.steps = net.steps
        self._inplace = self._allow_inplace()
        self.blobs: dict[str, Blob] = {}
        self._loss_blobs: dict[str, str] = {}  # blob of the net -> blob of the steps that carries its weight
        for step in self.steps:
            weights = step.split_loss_weights or [0.0] * len(step.tops)
            for name, shape, weight in zip(step.tops, net.step_shapes(step), weights, strict=True):
                self.blobs[name] = Blob(shape, weight)
                if weight:
                    self._loss_blobs[step.blob if isinstance(step, Split) else name] = name
        self.params = {layer.name: [ParamBlob(slot) for slot in layer.slots] for layer in net.layers if layer.slots}
        self.callbacks: dict[str, list[Callable[[int], None]]] = {occasion: [] for occasion in self.OCCASIONS}
        self._ran: dict[Step, tuple[list[Tensor], list[Tensor]]] = {}
        # DummyData fills constant tops once; what Python writes there stays (BVLC dummy_data_layer.cpp).
        self._constant: set[str] = set()
        for step in self.steps:
            for name, value in _constant_tops(step):
                self.blobs[name].data_mirror.fill = value
                self._constant.add(name)

    def _allow_inplace(self) -> set[NetLayer]:
        """Let layers write over their bottoms where the prototxt gives top and bottom one name; returns which."""
        self.net.allow_inplace(False)
        layers = {layer for layer in self.net.inplace_layers if layer.split_bottoms == layer.tops}
        for layer in layers:
            layer.module.inplace = True  # type: ignore[union-attr]
        return layers

    # ----------------------------------------------------------------- forward

    def forward(self, start: int = 0, end: int | None = None) -> float:
        """Run steps `start` to `end` (inclusive); returns the weighted loss of their tops."""
        self.net.take_written()
        fresh: dict[str, Tensor] = {}
        end = len(self.steps) - 1 if end is None else end
        quantization = self.net.quantization
        if quantization is not None:
            quantization.begin()
        self._forward_steps(start, end, fresh)
        if quantization is not None:
            quantization.finish()
        return sum(
            weight * float(fresh[name].sum())
            for step in self.steps[start : end + 1]
            for name, weight in zip(step.tops, step.split_loss_weights, strict=False)
            if weight and name in fresh
        )

    def _forward_steps(self, start: int, end: int, fresh: Tops) -> None:
        for index in range(start, end + 1):
            self._tell("before_forward", index)
            self._follow_callbacks(self.steps[index], fresh)
            self.forward_step(self.steps[index], fresh)
            self._tell("after_forward", index)

    def _tell(self, occasion: str, index: int) -> None:
        for callback in self.callbacks[occasion]:
            callback(index)

    def _follow_callbacks(self, step: Step, fresh: Tops) -> None:
        """Let a step read what callbacks wrote into its bottoms and parameters in this pass."""
        if not (self.callbacks["before_forward"] or self.callbacks["after_forward"]):
            return
        self.net.take_written()
        for name in step.split_bottoms:
            if name in fresh and self.blobs[name].data_mirror.may_be_written:
                del fresh[name]

    def forward_step(self, step: Step, fresh: dict[str, Tensor] | None = None) -> None:
        """Run one step.

        Args:
            fresh: values made in this pass by blob name, which need no look at what
                Python may have written; the step's tops are added.
        """
        fresh = fresh if fresh is not None else {}
        self._release(step, fresh)
        if isinstance(step, Split):
            tops = [self._bottom(step.blob, step, fresh)] * len(step.tops)
        elif step.module is not None:
            tops = self._call(step, fresh)
        elif step.source is not None and step.tops[0] not in fresh:
            tops = [self.net.to_device(array) for array in self.net.read(step)]
        else:
            return
        for name, top in zip(step.tops, tops, strict=False):
            self._set(name, top, fresh)

    def _release(self, step: Step, fresh: Tops) -> None:
        """Let go of what the step made last time."""
        self._ran.pop(step, None)
        if step.module is not None:
            for name in step.tops:
                if name not in step.split_bottoms and name not in self._constant and name not in fresh:
                    self.blobs[name].data_mirror.release()

    def _set(self, name: str, value: Tensor, fresh: Tops) -> None:
        """Give a blob a new value."""
        mirror = self.blobs[name].data_mirror
        if name in self._constant:
            value = mirror.read(self.net.device)
            value = value.clone() if mirror.may_be_written else value
        else:
            mirror.write(value)
        fresh[name] = value

    def _bottom(self, name: str, step: Step, fresh: dict[str, Tensor]) -> Tensor:
        value = fresh.get(name)
        if value is not None:
            return value
        held = self.blobs[name].data_mirror.read(self.net.device)
        value = self.net.to_device(held)  # in the net's memory format, whatever Python's array has
        # In place: the array that Python holds is about to be overwritten, and backward may want the old values.
        if name in step.tops:
            return value.clone() if value is held else value
        if value is held and self._follows_bottoms(step):
            value = value.clone()  # to be compared with what Python's array holds at backward
        fresh[name] = value
        return value

    def _call(self, layer: NetLayer, fresh: dict[str, Tensor]) -> list[Tensor]:
        bottoms = [self._bottom(name, layer, fresh) for name in layer.split_bottoms]
        with naming_layers(lambda: top_shapes(layer, [tuple(b.shape) for b in bottoms]), self.net.layers):
            tops = self._compute(layer, bottoms)
        if self.net.quantization is not None and self.net.quantization.writes_bottoms(layer):
            for name, bottom in zip(layer.split_bottoms, bottoms, strict=True):
                self.blobs[name].data_mirror.write(bottom)
        return tops

    def _compute(self, layer: NetLayer, bottoms: list[Tensor]) -> list[Tensor]:
        if not layer.needs_backward:
            with torch.no_grad():
                return _listed(layer, compute(layer, bottoms))
        bottoms = [bottom.detach() for bottom in bottoms]
        with torch.enable_grad():
            for bottom, need in zip(bottoms, layer.bottom_needs, strict=True):
                bottom.requires_grad_(need)
            given = [_Alias.apply(bottom) for bottom in bottoms] if layer in self._inplace else bottoms
            tops = _listed(layer, compute(layer, given))
        self._ran[layer] = (bottoms, tops)
        return [top.detach() for top in tops]

    # ---------------------------------------------------------------- backward

    def backward(self, start: int | None = None, end: int = 0) -> None:
        """Run backward from step `start` (default the last) down to `end`, adding to the parameters' diffs.

        A top's diff is what its reader put there, or else what is in the
        blob: what Python wrote, or the loss weight.
        """
        self.net.take_written()
        start = len(self.steps) - 1 if start is None else start
        for index in range(start, end - 1, -1):
            self._tell("before_backward", index)
            if self.steps[index].needs_backward:
                self.backward_step(self.steps[index])
            self._tell("after_backward", index)

    def backward_step(self, step: Step) -> None:
        """Run one step backward.

        One that never ran forward is computed from the blobs as they are. So is one whose bottoms Python has changed
        since, as far as Caffe reads them in backward: a label that is set after the forward pass counts.
        """
        if isinstance(step, Split):
            diffs = [self._diff(name) for name in step.tops]
            self.blobs[step.blob].diff_mirror.write(functools.reduce(torch.add, diffs))
            return
        if step not in self._ran or self._is_outdated(step):
            if step.module is None:
                return
            self._call(step, {})
        bottoms, tops = self._ran[step]
        wanted = [bottom for bottom in bottoms if bottom.requires_grad]
        unique = {id(slot.parameter): slot.parameter for slot in step.slots if slot.parameter.requires_grad}
        params = list(unique.values())
        made = [(top, self._diff(name)) for name, top in zip(step.tops, tops, strict=True) if top.requires_grad]
        if not made or not (wanted or params):
            return
        outputs, output_diffs = [top for top, _ in made], [diff for _, diff in made]
        grads = torch.autograd.grad(outputs, [*wanted, *params], output_diffs, retain_graph=True, allow_unused=True)
        for parameter, grad in zip(params, grads[len(wanted) :], strict=True):
            if grad is not None and parameter.grad is None:
                parameter.grad = grad.clone(memory_format=torch.contiguous_format)
            elif grad is not None:
                parameter.grad.add_(grad)
        by_bottom = iter(grads)
        for name, bottom in zip(step.split_bottoms, bottoms, strict=True):
            if bottom.requires_grad:
                grad = next(by_bottom)
                self.blobs[name].diff_mirror.write(torch.zeros_like(bottom) if grad is None else grad)

    def _follows_bottoms(self, step: Step) -> bool:
        """Whether Caffe's backward of a step reads its bottoms, and the step itself does not overwrite them."""
        if step.module is None or step.module.keeps_forward:
            return False
        return step.needs_backward and not set(step.split_bottoms) & set(step.tops)

    def _is_outdated(self, step: Step) -> bool:
        """Whether Python has put other values into the bottoms that a step's backward reads since it ran."""
        if not self._follows_bottoms(step):
            return False
        for name, used in zip(step.split_bottoms, self._ran[step][0], strict=True):
            mirror = self.blobs[name].data_mirror
            if mirror.may_be_written and not torch.equal(mirror.read(self.net.device), used):
                return True
        return False

    def _diff(self, name: str) -> Tensor:
        blob = self.blobs[name]
        blob.diff_mirror.reshape(blob.shape)
        return blob.diff_mirror.read(self.net.device)

    # ------------------------------------------------------------------- other

    def reshape(self) -> None:
        """Give every blob the shape that follows from the fed blobs' present shapes."""
        self.net.reshape({name: self.blobs[name].shape for name in self.net.fed})
        for step in self.steps:
            for name, shape in zip(step.tops, self.net.step_shapes(step), strict=True):
                self.blobs[name].resize(shape)

    def attach(self) -> None:
        """Make ``net.forward`` run through here: a solver's passes read Input blobs and leave all blobs readable."""
        # Weak, as the net must not keep the interpreter that keeps it: a solver that nobody refers to any more stops
        # its threads at once, and not when Python looks for cycles.
        self.net.execute, self.net.input_values = _weak(self._execute), _weak(self._input_values)
        weakref.finalize(self, _detach, weakref.ref(self.net))

    def _input_values(self) -> dict[str, Tensor | np.ndarray]:
        """What the blobs of Input layers hold."""
        inputs = [step for step in self.steps if step.is_input]
        return {name: self.blobs[name].data_mirror.read(self.net.device) for step in inputs for name in step.tops}

    def _execute(self, *fed: Tensor) -> Tops:
        fresh = dict(zip(self.net.fed, fed, strict=True))
        for name in list(fresh):
            self._set(name, fresh[name], fresh)
        self.net.take_written()
        self._forward_steps(0, len(self.steps) - 1, fresh)
        returned = {name: self._loss_blobs.get(name, name) for name in (*self.net.outputs, *self.net.loss_weights)}
        if not torch.is_grad_enabled():
            return {name: fresh[blob].float() for name, blob in returned.items()}
        anchor = torch.zeros((), requires_grad=True)
        tops = [fresh[blob].float() for blob in returned.values()]
        values = _Objective.apply(anchor, self, list(returned.values()), *tops)
        return dict(zip(returned, values, strict=True))


def _weak(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same without a reference to the object whose method it is."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> Any:
        found = reference()
        assert found is not None  # else the net has been detached
        return found(*arguments)

    return call


def _detach(net: weakref.ref[Net]) -> None:
    """Let a net run by itself again, when nobody refers to its interpreter any more."""
    left = net()
    if left is not None:
        left.execute, left.input_values = None, dict


def _listed(layer: NetLayer, made: Any) -> list[Tensor]:
    """What a module made, as a list of tops."""
    return list(made) if isinstance(made, tuple) else [made] if layer.tops else []


def _constant_tops(step: Step) -> list[tuple[str, float]]:
    """The tops that a source fills once, and with what."""
    constant = step.source.constant_tops if step.source is not None else {}
    return [(step.tops[slot], value) for slot, value in constant.items()]


class _Alias(torch.autograd.Function):
    """The same memory as another tensor, which autograd lets a layer write over (a leaf it would not)."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor) -> Tensor:
        place = (bottom.untyped_storage(), bottom.storage_offset(), bottom.shape, bottom.stride())
        return torch.empty(0, dtype=bottom.dtype, device=bottom.device).set_(*place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Objective(torch.autograd.Function):
    """Joins the interpreter's backward to autograd: the gradients of its tops become their diffs."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, interpreter: Interpreter, names: list[str], *tops: Tensor) -> Any:
        ctx.interpreter, ctx.names = interpreter, names
        ctx.set_materialize_grads(False)
        return tuple(top.clone() for top in tops)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        for name, grad in zip(ctx.names, grads, strict=True):
            if grad is not None:
                ctx.interpreter.blobs[name].diff_mirror.write(grad)
        ctx.interpreter.backward()
        return (None,) * (3 + len(grads))
