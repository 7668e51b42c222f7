"""Which layers the DPU computes, by their types, as ``vai_q_caffe check`` lists them."""

from __future__ import annotations

from typing import NamedTuple

from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = ["Verdict", "dpu_verdicts"]

_COMPUTED = (
    "Concat", "Convolution", "Deconvolution", "DeephiResize", "Eltwise", "InnerProduct", "PReLU", "Pooling", "ReLU",
    "ReLU6",
)  # fmt: skip
_MERGED = ("BatchNorm", "Scale")
_PASSED = ("Dropout", "Flatten", "Permute", "Reshape", "Slice", "Split")


class Verdict(NamedTuple):
    """A layer that the DPU does not compute as it is: 2 changed, 3 passed on or computed elsewhere, 0 not supported."""

    number: int
    name: str
    type: str
    code: int
    remark: str = ""

    @property
    def line(self) -> str:
        """As the original writes it."""
        return f'{self.number} {self.name} {self.type} {self.code} "{self.remark}"'


def dpu_verdicts(net: pb.NetParameter) -> list[Verdict]:
    """The layers of both phases that are not computed as they are, in order."""
    verdicts = []
    for index, layer in enumerate(net.layer):
        if layer.type in _COMPUTED:
            continue
        if data_layer(layer.type) is not None:
            code, remark = 2, "Will be convert to Input"
        elif layer.type in _MERGED:
            code, remark = 2, "Will be merged into Convolution"
        else:
            code, remark = (3, "") if layer.type in _PASSED else (0, "")
        verdicts.append(Verdict(index, layer.name, layer.type, code, remark))
    return verdicts
