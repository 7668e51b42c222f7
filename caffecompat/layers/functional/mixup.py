"""Mixing two pictures: mixup, and cutmix's boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Box", "cut_box", "mixed_items", "one_hot"]


@dataclass(frozen=True)
class Box:
    """Rows and columns of a picture, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """How many pixels it has."""
        return (self.bottom - self.top) * (self.right - self.left)


def cut_box(share: float, size: tuple[int, int], center: tuple[int, int]) -> Box:
    """A box of sqrt(1 - share) of the (height, width) `size` around a pixel, as far as it lies in the picture.

    Its sides are cut to whole numbers, and these to even ones, as in timm.
    """
    sides = []
    for length, middle in zip(size, center, strict=True):
        half = int(length * math.sqrt(1 - share)) // 2
        sides += [max(middle - half, 0), min(middle + half, length)]
    return Box(*sides)


def mixed_items(x: Tensor, partners: Tensor, share: float, box: Box | None) -> Tensor:
    """share x + (1 - share) partners; with a box x (N, C, H, W) with the partners' pixels in it."""
    if box is None:
        return x * share + partners * (1 - share)
    made = x.clone()
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    made[:, :, rows, columns] = partners[:, :, rows, columns]
    return made


def one_hot(index: Tensor, classes: int) -> Tensor:
    """(N, classes) float32 with a 1 at each class number of (N) int64."""
    return torch.zeros(index.shape[0], classes, device=index.device).scatter_(1, index[:, None], 1.0)
