"""Which layers of a net caffe-jacinto 0.17 quantizes: those with weights, and outputs that no next layer takes in."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.net.layer import Step
from caffecompat.net.problems import Problem
from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = [
    "FLOAT_NOTE", "SAVED_AS", "WEIGHTED", "Links", "flags_outputs", "is_merged", "quantization_problems", "quantizes",
    "wants_quantization",
]  # fmt: skip

SAVED_AS = "___QUANTIZED__SEE_END_OFTHE_FILE"
"""What a saved net's name ends in where its prototxt has `quantize`; the settings are written after the layers."""

FLOAT_NOTE = "computes in floating point; the fixed point that the prototxt asks for (quantize: true) is left out"
"""What to say of a net that is written in a form without it."""

WEIGHTED = ("Convolution", "InnerProduct", "Deconvolution")
_COMPUTING = (*WEIGHTED, "BatchNorm", "Scale", "ReLU", "PReLU", "Eltwise", "Concat", "Bias", "Pooling")


def wants_quantization(message: pb.NetParameter) -> bool:
    """Whether a net is to be quantized, or one of its layers says how it is."""
    own = (layer.quantization_param for layer in message.layer if layer.HasField("quantization_param"))
    return bool(message.quantize) or any(form.qparam_in or form.qparam_w or form.qparam_out for form in own)


def flags_outputs(step: Step) -> bool:
    """Whether layers of the type are marked to quantize their outputs."""
    return step.type in _COMPUTING or (data_layer(step.type) is not None and "Data" in step.type)


def quantizes(step: Step) -> bool:
    """Whether layers of the type do so: a Concat of one blob and DummyData are marked, and do not."""
    if step.type == "Concat":
        return len(step.split_bottoms) > 1
    return flags_outputs(step) and step.type != "DummyData"


class Links:
    """The steps before and after each step of a net, by blob names as Caffe looks them up."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._makers: list[list[tuple[int, int]]] = []
        made: dict[str, tuple[int, int]] = {}
        for index, step in enumerate(steps):
            self._makers.append([made[blob] for blob in step.split_bottoms])
            made.update({blob: (index, slot) for slot, blob in enumerate(step.tops)})

    def makers(self, index: int) -> list[tuple[int, int]]:
        """Of each bottom of a step, the step that made it last before, and which of its tops it is."""
        return self._makers[index]

    def next(self, index: int) -> int | None:
        """The first later step that reads a step's first top that is read at all."""
        for blob in self._steps[index].tops:
            for later in range(index + 1, len(self._steps)):
                if blob in self._steps[later].split_bottoms:
                    return later
        return None

    def next_type(self, index: int) -> str:
        """Type of that step; "" for none."""
        following = self.next(index)
        return "" if following is None else self._steps[following].type

    def previous_types(self, index: int) -> list[str]:
        """Types of the step that makes the first bottom, and of the one that makes that one's first bottom."""
        types: list[str] = []
        while len(types) < 2 and self._makers[index]:
            index = self._makers[index][0][0]
            types.append(self._steps[index].type)
        return types


def is_merged(links: Links, index: int, kind: str) -> bool:
    """Whether a step of type `kind` leaves its output to the next layer, which a device computes together with it."""
    following = links.next_type(index)
    previous = links.previous_types(index)
    if kind in WEIGHTED:
        return following in ("BatchNorm", "Scale", "ReLU")
    if kind == "BatchNorm":
        return following in ("Scale", "ReLU") or (following == "Convolution" and previous[:1] != ["Convolution"])
    if kind == "Scale":
        return following == "ReLU" or (following == "Convolution" and "Convolution" not in previous)
    return False


_PRECISIONS = (
    pb.QuantizationParameter.QuantizationParameter_Precision_FLOAT,
    pb.QuantizationParameter.QuantizationParameter_Precision_DYNAMIC_FIXED_POINT,
)


def quantization_problems(message: pb.NetParameter) -> list[Problem]:
    """What is wrong with the settings of a net's fixed point and with those that its layers have themselves."""
    problems = []
    if message.quantize:
        settings = message.net_quantization_param
        texts = [_precision_problem(settings.precision)]
        for name in ("bitwidth_weights", "bitwidth_activations", "bitwidth_bias"):
            texts.append(_bits_problem(name, getattr(settings, name)))
        for name in ("range_update_factor", "range_expansion_factor"):
            value = getattr(settings, name)
            texts.append("" if value > 0 else f"{name} must be above 0, it is {value:g}")
        field = "net_quantization_param"
        problems += [Problem(None, f"{field}: {text}", field) for text in texts if text]
    for index, layer in enumerate(message.layer):
        own = layer.quantization_param
        forms = [form for form in (*own.qparam_in, *own.qparam_w, *own.qparam_out) if form.quantize]
        if forms:
            texts = [_precision_problem(own.precision)]
            texts += [_bits_problem("bitwidth", form.bitwidth) for form in forms]
            texts += ["scale_target must be above 0" for form in forms if not form.scale_target > 0]
            problems += [Problem(index, f"quantization_param: {text}") for text in texts if text]
    return problems


def _precision_problem(precision: int) -> str:
    return (
        "" if precision in _PRECISIONS else "precision must be DYNAMIC_FIXED_POINT or FLOAT; others are of other forks"
    )


def _bits_problem(name: str, bits: int) -> str:
    return "" if 1 <= bits <= 31 else f"{name} must be from 1 to 31, it is {bits}"
