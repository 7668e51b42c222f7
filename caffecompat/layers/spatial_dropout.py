"""ENet's spatial dropout, which its prototxts ask for as a Python layer."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.schema import pb

__all__ = ["SpatialDropout"]


class SpatialDropout(nn.Module):
    """What `spatial_dropout.SpatialDropoutLayer` of ENet's Caffe computes.

    The phase is that of `param_str`, a dictionary such as ``{'phase': 'TRAIN', 'p': '0.1'}``, not the net's. TRAIN:
    each channel of each item is kept with probability 1 - p, and multiplied by 1 / (1 - p); any other phase
    multiplies by 1 / (1 - p) all the same. The gradient uses each item's own mask (ENet's file uses the last item's
    for all).
    """

    bottoms: ClassVar[tuple[int, int | None]] = (1, 1)
    tops: ClassVar[tuple[int, int | None]] = (1, 1)
    origin: ClassVar[str] = ""
    untraceable: ClassVar[str] = ""
    variable_rows: ClassVar[bool] = False

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__()
        param_str = param.python_param.param_str
        try:
            settings = ast.literal_eval(param_str)
            self.p, self.drops = float(settings["p"]), settings["phase"] == "TRAIN"
        except (ValueError, SyntaxError, KeyError, TypeError):
            raise LayerError(
                f"param_str must be a dictionary like {{'phase': 'TRAIN', 'p': '0.1'}}, not {param_str!r}"
            ) from None
        if not 0 < self.p < 1:
            raise LayerError(f"p must lie between 0 and 1, it is {self.p:g}")

    def forward(self, bottom: Tensor) -> Tensor:
        return F.dropout2d(bottom, self.p) if self.drops else bottom * (1 / (1 - self.p))
