"""TI's dynamic fixed point: what `quantize: true` and a layer's quantization_param do in caffe-jacinto 0.17.

A net counts its passes. Each leaves the running ranges of all blobs; from pass `quantization_start` on every pass first
turns these into scales, and quantizing layers then put their outputs on the grid. Weights are put on it once, in place,
after their layer has run in the first such pass, so that they act from the next one on. A layer's own
quantization_param acts from the first pass on.

A constant blob, whose range is a single number, stays in floating point with a warning: the original divides by the
range and makes NaN. Gradients pass the rounding unchanged. On a GPU the rules are those of the original's CPU code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat import glog
from caffecompat.layers.functional.dynamic_fixed_point import to_steps
from caffecompat.layers.layer import values_known
from caffecompat.net.layer import NetLayer, Step
from caffecompat.net.params import BlobSlot
from caffecompat.net.quantization_plan import WEIGHTED, Links, flags_outputs, is_merged, quantizes
from caffecompat.net.quantization_ranges import BlobRanges, value_range
from caffecompat.net.quantization_scales import estimate_scale, is_usable
from caffecompat.schema import pb

__all__ = ["Quantization"]

_FLOAT = pb.QuantizationParameter.QuantizationParameter_Precision_FLOAT
_STOCHASTIC = pb.QuantizationParameter.QuantizationParameter_Rounding_STOCHASTIC


class Quantization:
    """The fixed-point forms of a net's blobs, found and applied by hooks on its layers.

    Args:
        message: the net.
        phase: TRAIN rounds by chance.
        steps: Caffe's layers in order; their modules get the hooks.
        log: whether to say what becomes of the net.

    Attributes:
        forms: of each step, its quantization_param as the present pass uses it; None for a step that has none yet.
        passes: how many there were.
    """

    def __init__(self, message: pb.NetParameter, phase: int, steps: Sequence[Step], *, log: bool) -> None:
        self.settings = message.net_quantization_param
        self.start = self.settings.quantization_start if message.quantize else 0
        self.forms: list[pb.QuantizationParameter | None] = [None] * len(steps)
        self.passes = 0
        self._phase, self._steps, self._links, self._log = phase, steps, Links(steps), log
        self._index = {step: index for index, step in enumerate(steps)}
        self._ranges = BlobRanges(steps, self.settings.range_update_factor, self.settings.range_expansion_factor)
        self._weight_ranges: dict[BlobSlot, tuple[np.float32, np.float32]] = {}
        self._warned: set[str] = set()
        for index, step in enumerate(steps):
            if isinstance(step, NetLayer) and step.param.HasField("quantization_param"):
                self.forms[index] = form = pb.QuantizationParameter()
                form.CopyFrom(step.param.quantization_param)
            if step.module is not None:
                step.module.register_forward_hook(partial(self._after_layer, index))
        if log and self.start > 0:
            s = self.settings
            glog.info(
                f"quantize: true: fixed point from iteration {self.start} on, counted from 0 "
                f"({s.bitwidth_weights} bit weights, {s.bitwidth_activations} bit activations, "
                f"{s.bitwidth_bias} bit bias)",
                "net.cpp:257",
            )

    # ------------------------------------------------------------------ passes

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def begin(self) -> None:
        """Find the scales for the pass that comes."""
        if not 0 < self.start <= self.passes or not self.settings.update_quantization_param:
            return
        if self.passes == self.start:
            if self._log:
                glog.info(
                    f"Enabling quantization flag in quantization_param at infer/iter index: {self.passes}",
                    "net.cpp:2021",
                )
            self._enable()
        for index in range(len(self._steps)):
            self._set_forms(index)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Take the ranges that the pass leaves."""
        if self.start > 0 and self.settings.update_quantization_param:
            self._ranges.update(first=self.passes == 0)
            for step in self._steps:
                for slot in _slots(step):
                    self._weight_ranges[slot] = value_range(slot.parameter)
        self.passes += 1

    def read(self, step: Step, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray | Tensor]:
        """What a layer has read, its first top quantized where the layer does so."""
        form = self.forms[self._index[step]]
        if form is None or form.precision == _FLOAT or not quantizes(step):
            return arrays
        if not form.qparam_out or not form.qparam_out[0].quantize:
            return arrays
        values = torch.as_tensor(arrays[0])
        return [self._on_grid(values, form, form.qparam_out[0], _named("top", step.tops[0], step)), *arrays[1:]]

    def writes_bottoms(self, step: Step) -> bool:
        """Whether a step quantizes bottoms, which others that read them see."""
        form = self.forms[self._index[step]]
        return form is not None and any(own.quantize for own in form.qparam_in)

    def store(self, message: pb.NetParameter) -> None:
        """Put the forms of the last pass into a message of the net with its Splits, as Caffe saves them."""
        for layer, form in zip(message.layer, self.forms, strict=True):
            if form is not None:
                layer.quantization_param.CopyFrom(form)

    # ------------------------------------------------------------------- forms

    def _form(self, index: int) -> pb.QuantizationParameter:
        form = self.forms[index]
        if form is None:
            form = self.forms[index] = pb.QuantizationParameter()
        return form

    def _enable(self) -> None:
        """Mark what is to be quantized."""
        for index, step in enumerate(self._steps):
            if not flags_outputs(step) or step.name in self.settings.ignored_layer_names:
                continue
            form = self._form(index)
            if self.settings.quantize_weights and step.type in WEIGHTED:
                for slot in range(len(_slots(step))):
                    _at(form.qparam_w, slot).quantize = True
            if self.settings.quantize_activations and not is_merged(self._links, index, step.type):
                tops = step.tops if step.module is not None else step.tops[:1]
                for slot in range(len(tops)):
                    _at(form.qparam_out, slot).quantize = True

    def _set_forms(self, index: int) -> None:
        """Find the forms of a step's weights, inputs and outputs for this pass, in this order."""
        form, settings = self._form(index), self.settings
        form.precision = settings.precision
        form.rounding_scheme = _STOCHASTIC if self._phase == pb.TRAIN else settings.rounding_scheme
        form.power2_scale_weights = settings.power2_scale_weights
        form.power2_scale_activations = settings.power2_scale_activations
        form.quantized_infer_count = self.passes - self.start
        self._set_weights(self._steps[index], form)
        self._set_inputs(index, form)
        self._set_outputs(self._steps[index], form)

    def _set_weights(self, step: Step, form: pb.QuantizationParameter) -> None:
        settings = self.settings
        for place, slot in enumerate(_slots(step)):
            bits = settings.bitwidth_bias if place or step.type == "BatchNorm" else settings.bitwidth_weights
            estimate_scale(
                _at(form.qparam_w, place),
                *self._weight_ranges[slot],
                bits,
                power2=settings.power2_scale_weights,
                offset=settings.apply_offset_weights,
            )

    def _set_inputs(self, index: int, form: pb.QuantizationParameter) -> None:
        step = self._steps[index]
        for place, (maker, slot) in enumerate(self._links.makers(index)):
            own, made = _at(form.qparam_in, place), self._form(maker).qparam_out[slot]
            if made.HasField("scale_applied"):
                own.scale_applied = made.scale_applied
            self._estimate_activation(own, step.split_bottoms[place])

    def _set_outputs(self, step: Step, form: pb.QuantizationParameter) -> None:
        for slot, blob in enumerate(step.tops):
            own = _at(form.qparam_out, slot)
            if step.type in WEIGHTED:
                weight = form.qparam_w[0].scale_target if is_usable(form.qparam_w[0]) else 1.0
                applied = max((given.scale_applied for given in form.qparam_in), default=1.0)
                own.scale_applied = float(np.float32(applied) * np.float32(weight))
            self._estimate_activation(own, blob)

    def _estimate_activation(self, form: pb.QuantizationParameter.QParams, blob: str) -> None:
        """From a blob's range; a quantized blob has the new scale from now on."""
        settings = self.settings
        estimate_scale(
            form,
            *self._ranges.of(blob),
            settings.bitwidth_activations,
            power2=settings.power2_scale_activations,
            offset=settings.apply_offset_activations,
        )
        if form.quantize and is_usable(form):
            form.scale_applied = form.scale_target
        elif form.quantize:
            form.ClearField("scale_applied")

    # ---------------------------------------------------------------- applying

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after_layer(self, index: int, module: Any, bottoms: tuple[Tensor, ...], made: Any) -> Any:
        """What a layer hands on: its outputs, quantized where it does so."""
        if not all(values_known(bottom) for bottom in bottoms):
            return made
        step, form = self._steps[index], self.forms[index]
        tops = list(made) if isinstance(made, tuple) else [made]
        if form is not None and form.precision != _FLOAT and quantizes(step):
            self._apply(step, form, bottoms, tops)
        if self.start > 0:
            for blob, bottom in zip(step.split_bottoms, bottoms, strict=False):
                self._ranges.see_fed(blob, bottom)
            self._ranges.see(step, tops)
        return tuple(tops) if isinstance(made, tuple) else tops[0] if step.tops else made

    def _apply(self, step: Step, form: pb.QuantizationParameter, bottoms: Sequence[Tensor], tops: list[Tensor]) -> None:
        """Quantize bottoms and weights in place, as others see them then, and give tops new values."""
        for own, bottom, blob in zip(form.qparam_in, bottoms, step.split_bottoms, strict=False):
            if own.quantize:
                bottom.data.copy_(self._on_grid(bottom.data, form, own, _named("bottom", blob, step)))
        if form.quantized_infer_count == 0:
            for place, (own, slot) in enumerate(zip(form.qparam_w, _slots(step), strict=False)):
                if own.quantize:
                    what = _named("parameter", slot.name, step)
                    values = slot.parameter.data
                    values.copy_(self._on_grid(values, form, own, what, clip=place == 0))
        for place, (own, blob) in enumerate(zip(form.qparam_out, step.tops, strict=False)):
            if own.quantize:
                tops[place] = self._on_grid(tops[place], form, own, _named("top", blob, step))

    def _on_grid(
        self,
        values: Tensor,
        form: pb.QuantizationParameter,
        own: pb.QuantizationParameter.QParams,
        what: str,
        *,
        clip: bool = True,
    ) -> Tensor:
        """Values in their fixed-point form, with the gradient of what they were."""
        if not is_usable(own):
            if what not in self._warned:
                self._warned.add(what)
                glog.warning(f"{what} holds one number only, which has no fixed-point scale; it stays as it is")
            return values
        stochastic = form.rounding_scheme == _STOCHASTIC
        with torch.no_grad():
            fixed = to_steps(
                values, own.scale_target, own.offset, own.bitwidth,
                unsigned=own.unsigned_quant, clip=clip, stochastic=stochastic,
            ).to(values.dtype)  # fmt: skip
        return _Passed.apply(values, fixed) if values.requires_grad else fixed


class _Passed(torch.autograd.Function):
    """Other values with the gradient of the first ones."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fixed: Tensor) -> Tensor:
        return fixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _named(kind: str, blob: str, step: Step) -> str:
    return f"{kind} {blob!r} of layer {step.name!r}"


def _slots(step: Step) -> Sequence[BlobSlot]:
    return step.slots if isinstance(step, NetLayer) else ()


def _at(forms: Any, place: int) -> pb.QuantizationParameter.QParams:
    """The form at that place of a repeated field, made where there are fewer."""
    while len(forms) <= place:
        forms.add()
    form: pb.QuantizationParameter.QParams = forms[place]
    return form
