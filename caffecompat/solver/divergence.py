"""Training that has turned to NaN or infinity: said once at a display, and of every snapshot that holds such values."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch

from caffecompat import glog
from caffecompat.net import LearnableParam

__all__ = ["DivergenceWatch"]

_DIVERGED = "training has diverged, or the data holds such values: try a lower base_lr or clip_gradients"


class DivergenceWatch:
    """Looks at the loss of displays and at the parameters that snapshots store.

    Args:
        params: the net's parameters.
    """

    def __init__(self, params: Sequence[LearnableParam]) -> None:
        self._params = params
        self._said = False
        self._last_finite = ""

    def at_display(self, iteration: int, loss: float) -> None:
        """Warn when the loss is no number any more; again only after it was one in between."""
        if math.isfinite(loss):
            self._said = False
        elif not self._said:
            self._said = True
            glog.warning(f"Iteration {iteration}: the loss is {loss:g}{self._where()}; {_DIVERGED}; {self._last()}")

    def after_skips(self, iteration: int, count: int) -> None:
        """Warn that so many updates on end were skipped, for gradients that no loss scale is to blame for."""
        glog.warning(
            f"Iteration {iteration}: the last {count} updates were skipped for gradients that are not finite"
            f"{self._where()}; {_DIVERGED}; {self._last()}"
        )

    def before_snapshot(self, path: str) -> None:
        """Warn of weights that are no numbers, and say which file they replace and which still holds numbers."""
        layer = self._broken_layer()
        if not layer:
            self._last_finite = path
            return
        replaced = f"; it replaces the file of that name that was there, {path}" if os.path.exists(path) else ""
        if self._last_finite == path:
            self._last_finite = ""
        glog.warning(f"the snapshot {path} holds NaN or infinity, first in layer {layer!r}{replaced}; {self._last()}")

    def _where(self) -> str:
        layer = self._broken_layer()
        return f", and the weights of layer {layer!r} hold NaN or infinity" if layer else ""

    def _broken_layer(self) -> str:
        """The first layer with a parameter that is not finite; "" if all are."""
        for param in self._params:
            if not torch.isfinite(param.blob.detach()).all():
                return param.layer
        return ""

    def _last(self) -> str:
        if self._last_finite:
            return f"the last snapshot with finite weights is {self._last_finite}"
        return "this run has no snapshot with finite weights"
