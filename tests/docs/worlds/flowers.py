"""Pictures of four kinds of flowers in class folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

__all__ = ["CLASSES", "write_flowers", "write_list"]

CLASSES = ("daisy", "iris", "lily", "rose")
_COLORS = ((250, 250, 250), (230, 60, 120), (60, 160, 250), (60, 40, 220))


def write_flowers(folder: str, count: int, seed: int) -> None:
    """Folders of pictures, a folder a class: a disc of the class's color on green."""
    random = np.random.default_rng(seed)
    for name, color in zip(CLASSES, _COLORS, strict=True):
        Path(f"{folder}/{name}").mkdir(parents=True)
        for number in range(count):
            picture = np.full((48, 64, 3), (40, 120, 50), np.uint8)
            center = [int(value) for value in random.integers(16, 32, 2)]
            cv2.circle(picture, (center[0] + 8, center[1]), int(random.integers(8, 16)), color, -1)
            noisy = picture + random.normal(0, 12, picture.shape)
            cv2.imwrite(f"{folder}/{name}/{number}.jpg", np.clip(noisy, 0, 255).astype(np.uint8))


def write_list(folder: str, path: str) -> None:
    """The pictures of a folder with their classes' numbers."""
    files = sorted(Path(folder).rglob("*.jpg"))
    Path(path).write_text("".join(f"{file} {CLASSES.index(file.parent.name)}\n" for file in files))
