"""Which layers the DPU computes, by their types, as ``vai_q_caffe check`` lists them."""

from __future__ import annotations

from typing import NamedTuple

from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer_types

__all__ = ["Verdict", "dpu_verdicts"]

_COMPUTED = (
    "Concat", "Convolution", "Deconvolution", "DeephiResize", "Eltwise", "InnerProduct", "PReLU", "Pooling", "ReLU",
    "ReLU6",
)  # fmt: skip
_PASSED = ("Accuracy", "Dropout", "Flatten", "Permute", "PriorBox", "Reshape", "Sigmoid", "Slice", "Split")
_INSTEAD = "Suggest: Replace it with BatchNorm+Scale Layer"
_VERDICTS: dict[str, tuple[int, str]] = {
    **dict.fromkeys(data_layer_types(), (2, "Will be convert to Input")),
    **dict.fromkeys(("BatchNorm", "Scale"), (2, "Will be merged into Convolution")),
    "SoftmaxWithLoss": (2, "Will be convert to Softmax"),
    **dict.fromkeys(_PASSED, (3, "")),
    **dict.fromkeys(("LRN", "Normalize"), (0, _INSTEAD)),
    **dict.fromkeys(("Softmax", "Tiling", "Upsample"), (0, "")),
}


class Verdict(NamedTuple):
    """A layer that the DPU does not compute as it is.

    Attributes:
        code: 2 changed, 3 passed on or computed elsewhere, 0 not supported, None of a type that the tool does not know.
    """

    number: int
    name: str
    type: str
    code: int | None
    remark: str = ""

    @property
    def line(self) -> str:
        """As the original writes it."""
        return f'{self.number} {self.name} {self.type} {self.code} "{self.remark}"'


def dpu_verdicts(net: pb.NetParameter) -> list[Verdict]:
    """The layers of both phases that are not computed as they are, in order."""
    return [
        Verdict(index, layer.name, layer.type, *_VERDICTS.get(layer.type, (None, "")))
        for index, layer in enumerate(net.layer)
        if layer.type not in _COMPUTED
    ]
