"""Recurrent layers: RNN, LSTM, LSTMUnit, one step of the latter, and ContinuationIndicator, which starts them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat import glog
from caffecompat.layers.functional.recurrent import continuation_indicators, lstm, lstm_unit, rnn
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, missing_output
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["LSTM", "RNN", "ContinuationIndicator", "LSTMUnit", "Recurrent"]

_LONG = 50_000  # steps that take seconds


class Recurrent(Layer):
    """What RNN and LSTM share (BVLC recurrent_layer.cpp).

    Bottoms: the sequences x (T, N, ...), T steps of N independent streams; the indicators cont (T, N), 0 where a
    stream starts over and 1 where it goes on; optionally an input that is the same at all steps (N, ...); with
    `expose_hidden` the state before the first step, (1, N, num_output) each. Tops: (T, N, num_output); with
    `expose_hidden` the state after the last step.

    Without `expose_hidden` the state after the last step of a forward pass is the one before the first step of the
    next (zeros at the very beginning), as far as `cont` lets it through. No gradient flows from one pass to the next,
    nor through exposed states, nor to `cont`.
    """

    keeps_forward: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (2, None)
    tops: ClassVar[tuple[int, int | None]] = (1, None)
    mixes_items = "the first axis of its bottoms is the steps of a sequence"
    states: ClassVar[tuple[str, ...]] = ()  # names of the parts of the state
    gates: ClassVar[int] = 1  # rows of the input weight, in units of num_output
    function: ClassVar[Callable[..., tuple[Tensor, ...]]]  # gives the top, and the state after the last step

    input_weight: nn.Parameter
    bias: nn.Parameter
    static_weight: nn.Parameter
    hidden_weight: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.recurrent_param
        if p.num_output < 1:
            raise LayerError(missing_output(param, "recurrent_param"))
        self.num_output = p.num_output
        self._long = False  # whether it has warned of a long sequence
        self.exposed = len(self.states) if p.expose_hidden else 0
        self._check_count("bottom", len(bottom_shapes), (2 + self.exposed, 3 + self.exposed))
        self._check_count("top", len(param.top), (1 + self.exposed, 1 + self.exposed))
        self.has_static = len(bottom_shapes) == 3 + self.exposed
        self._check(bottom_shapes)
        if len(param.propagate_down) > 1 and param.propagate_down[1]:
            raise LayerError("propagate_down asks for a gradient of the indicators (bottom 1), which have none")
        rows = self.gates * p.num_output
        self.add_blob("input_weight", (rows, math.prod(bottom_shapes[0][2:])), p.weight_filler)
        self.add_blob("bias", (rows,), p.bias_filler)
        if self.has_static:
            self.add_blob("static_weight", (rows, math.prod(bottom_shapes[2][1:])), p.weight_filler)
        self.add_blob("hidden_weight", (rows, p.num_output), p.weight_filler)
        for name in self.states:
            self.register_buffer(f"last_{name}", torch.zeros(1, 0, p.num_output), persistent=False)
        self.remembers = tuple(f"last_{name}" for name in self.states)

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Indicators, most of which say that the sequence goes on."""
        return rng.random(bottoms[1]) > 0.2 if place == 1 else None

    def _check(self, shapes: Sequence[Shape]) -> None:
        x, cont = tuple(shapes[0]), tuple(shapes[1])
        if len(x) < 3:
            raise LayerError(f"the first bottom must be (steps, streams, values, ...), its shape is {x}")
        if cont != x[:2]:
            raise LayerError(
                f"the second bottom must hold an indicator for each step and stream, {x[:2]}, its shape is {cont}"
            )
        if self.has_static and (len(shapes[2]) < 2 or shapes[2][0] != x[1]):
            raise LayerError(
                f"the third bottom must be ({x[1]}, values, ...), the same input at all steps for each of the "
                f"{x[1]} streams, its shape is {tuple(shapes[2])}"
            )
        wanted = (1, x[1], self.num_output)
        for name, shape in zip(self.states[: self.exposed], shapes[len(shapes) - self.exposed :], strict=True):
            if tuple(shape) != wanted:
                raise LayerError(f"the exposed state {name} must have shape {wanted}, its bottom is {tuple(shape)}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0 or (bottom_index == 2 and self.has_static)

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Multiply-accumulates of the matrix products; the static input is multiplied once a stream."""
        steps, streams = bottom_shapes[0][:2]
        count = steps * streams * (self.input_weight.numel() + self.hidden_weight.numel())
        return count + (streams * self.static_weight.numel() if self.has_static else 0)

    def forward(self, x: Tensor, cont: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        self._check([x.shape, cont.shape, *(other.shape for other in others)])
        if self.exposed:
            state = others[len(others) - self.exposed :]
        else:
            state = tuple(getattr(self, f"last_{name}") for name in self.states)
        blobs = {name: getattr(self, name) for name in self.blob_names}
        steps = x.shape[0]
        if steps > _LONG and not x.is_meta and not self._long:
            self._long = True
            glog.warning(
                f"layer {self.param.name!r} ({self.type}): {steps:,} steps are computed one after another, which takes "
                "minutes a pass, and memory for all of them in training; cut the sequence: a pass goes on from the "
                "state after the one before where cont is 1 at its first step"
            )
        if x.is_meta:  # where shapes alone are asked for, one step shows those of all
            x, cont = x[:1], cont[:1]
        top, *behind = self.function(x, cont, state, others[0] if self.has_static else None, **blobs)
        if x.is_meta:
            top = top.new_empty((steps, *top.shape[1:]))
        if self.exposed:
            return (top, *behind)
        for name, part in zip(self.states, behind, strict=True):
            setattr(self, f"last_{name}", part)
        return top

    def forget(self) -> None:
        """Let the next forward pass begin from zeros, as in a fresh net."""
        for name in self.states:
            getattr(self, f"last_{name}").zero_()


@register("RNN")
class RNN(Recurrent):
    """h_t = tanh(W_hh cont_t h_(t-1) + W_xh x_t + b_h [+ W_xh_static x_static]), top o_t = tanh(W_ho h_t + b_o) (BVLC).

    Blobs: W_xh (H, K), b_h (H), W_xh_static (H, S) where there is a static input, W_hh (H, H), W_ho (H, H), b_o (H),
    H being num_output; all weights use weight_filler, both biases bias_filler.
    """

    states = ("h",)
    function = staticmethod(rnn)
    output_weight: nn.Parameter
    output_bias: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.recurrent_param
        self.add_blob("output_weight", (self.num_output, self.num_output), p.weight_filler)
        self.add_blob("output_bias", (self.num_output,), p.bias_filler)

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        steps, streams = bottom_shapes[0][:2]
        return super().macs(bottom_shapes, top_shapes) + steps * streams * self.output_weight.numel()


@register("LSTM")
class LSTM(Recurrent):
    """Long short-term memory; `lstm_unit` on the gates W_xc x_t + b_c + W_hc cont_t h_(t-1) [+ W_xc_static x_static].

    Top: h_t. Blobs: W_xc (4 H, K), b_c (4 H), W_xc_static (4 H, S) where there is a static input, W_hc (4 H, H), H
    being num_output and the four parts those of `lstm_unit`. The state is h, then c (BVLC).
    """

    states = ("h", "c")
    function = staticmethod(lstm)
    gates = 4


@register("LSTMUnit")
class LSTMUnit(Layer):
    """One step of an LSTM as a layer of its own; LSTM unrolls into it (BVLC).

    Bottoms: cells (1, N, H), gates (1, N, 4 H), indicators (1, N). Tops: cells and outputs, (1, N, H) each.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (3, 3)
    mixes_items = "the first axis of its bottoms is the one step that it takes"
    tops: ClassVar[tuple[int, int | None]] = (2, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        self._check(bottom_shapes)

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Indicators, most of which say that the sequence goes on."""
        return rng.random(bottoms[2]) > 0.2 if place == 2 else None

    @staticmethod
    def _check(shapes: Sequence[Shape]) -> None:
        cells, gates, cont = map(tuple, shapes)
        if len(cells) != 3 or cells[0] != 1:
            raise LayerError(f"the first bottom must be (1, streams, cells), its shape is {cells}")
        if gates != (1, cells[1], 4 * cells[2]):
            raise LayerError(f"the second bottom must be {(1, cells[1], 4 * cells[2])}, its shape is {gates}")
        if cont != (1, cells[1]):
            raise LayerError(f"the third bottom must be {(1, cells[1])}, its shape is {cont}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def forward(self, cells: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, ...]:
        self._check([cells.shape, gates.shape, cont.shape])
        return lstm_unit(cells, gates, cont.detach().unsqueeze(2))


@register("ContinuationIndicator")
class ContinuationIndicator(Layer):
    """Indicators for recurrent layers, (time_step, batch_size): 0 at the first step and 1 at all others.

    So each pass begins all sequences again. After xmfbit/warpctc-caffe and Intel Caffe. A bottom (N, ...) gives the
    batch size instead, whatever its values (dlunion/CC4.0).
    """

    bottoms: ClassVar[tuple[int, int | None]] = (0, 1)
    one: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.continuation_indicator_param
        for name in ("time_step",) if bottom_shapes else ("time_step", "batch_size"):
            if not getattr(p, name):
                raise LayerError(f"continuation_indicator_param needs {name}, at least 1")
        if bottom_shapes and not bottom_shapes[0]:
            raise LayerError(f"{param.bottom[0]!r}, which gives the batch size, is a single value")
        if bottom_shapes and p.batch_size not in (0, bottom_shapes[0][0]):
            glog.warning(
                f"layer {param.name!r} ({self.type}): batch_size {p.batch_size} has no effect; its bottom "
                f"{param.bottom[0]!r} has {bottom_shapes[0][0]} items"
            )
        self.steps, self.streams = p.time_step, p.batch_size
        self.register_buffer("one", torch.ones(()), persistent=False)  # of the net's device and type

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, *batch: Tensor) -> Tensor:
        streams = batch[0].shape[0] if batch else self.streams
        return continuation_indicators(self.steps, streams, self.one.device, self.one.dtype)
