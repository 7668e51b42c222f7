"""What Pillow, timm and torchvision made of a small picture, as `record_references.py` wrote it down."""

from __future__ import annotations

from pathlib import Path

import numpy as np

REFERENCES = dict(np.load(Path(__file__).with_name("color_references.npz")))
PICTURE = np.ascontiguousarray(REFERENCES["picture"][:, :, ::-1])
LABELS = REFERENCES["labels"][:, :, None]
FILL = [10.0, 128.0, 200.0]


def reference(name: str) -> np.ndarray:
    """A recorded picture in BGR."""
    return REFERENCES[name][:, :, ::-1]


def names(operation: str) -> list[str]:
    """The recorded names of an operation, with its argument at the end."""
    return [name for name in REFERENCES if name.rpartition(" ")[0] == operation]


def difference(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    assert got.shape == wanted.shape and got.dtype == np.uint8
    return np.abs(got.astype(int) - wanted)


def kolmogorov(first: np.ndarray, second: np.ndarray) -> float:
    """The largest distance of two samples' distribution functions, in units in which 1.95 has a chance of 0.1%."""
    both = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (first, second)]
    size = len(first) * len(second) / (len(first) + len(second))
    return float(np.abs(shares[0] - shares[1]).max() * np.sqrt(size))
