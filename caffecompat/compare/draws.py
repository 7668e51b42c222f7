"""Random draws that are the same in two computations of one net, whatever order their values have in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["SameDraws"]


class SameDraws(TorchFunctionMode):
    """Dropout inside the block draws from one generator in the order of the axes (N, C, H, W).

    torch's own goes through the values as they lie in memory, so that two nets that drop values at inference
    (`sample_weights_test`) would drop others where one of them has its channels last.
    """

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Any:
        dropping: dict[Callable[..., Any], Callable[..., Any]] = {
            F.dropout: self._drop_values,
            F.dropout2d: self._drop_planes,
        }
        return dropping.get(func, func)(*args, **(kwargs or {}))

    def _drop_values(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return self._drop(x, x.shape, p) if training else x

    def _drop_planes(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return self._drop(x, (*x.shape[:2], *[1] * (x.dim() - 2)), p) if training else x

    def _drop(self, x: Tensor, shape: Sequence[int], p: float) -> Tensor:
        stays = torch.rand(tuple(shape), generator=self._generator) >= p
        return x * stays.to(x.dtype) / (1 - p)
