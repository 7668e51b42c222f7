"""Operations on the colors of a picture, as Pillow's ImageEnhance and ImageOps and torchvision define them.

All take and give (H, W, C) uint8 pictures, BGR or gray, and leave the given one as it is. A `factor` blends: 0 gives
the other picture (black, gray, smoothed), 1 the picture itself, more than 1 goes beyond it. Blends are truncated to
whole numbers, as Pillow does. Saturation differs from Pillow's by 1 in some pixels, for Pillow rounds the gray picture
before it blends; hues turn in floats, as torchvision's do for tensors (for pictures of Pillow it counts in 1/256).
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "auto_contrast",
    "blur",
    "equalize",
    "posterize",
    "solarize",
    "solarize_add",
]

_GRAY = np.array([0.114, 0.587, 0.299])  # of blue, green and red (ITU-R 601-2 luma)
_BELOW = -0.499  # added before OpenCV rounds to the nearest, it truncates
_VALUES = np.arange(256)


def adjust_brightness(picture: np.ndarray, factor: float) -> np.ndarray:
    """A blend with black: every value times `factor`."""
    return _looked_up(picture, _blended(0, factor))


def adjust_contrast(picture: np.ndarray, factor: float) -> np.ndarray:
    """A blend with the mean of the gray picture, rounded to a whole number."""
    import cv2

    means = cv2.mean(picture)
    mean = means[0] if picture.shape[2] == 1 else float(_GRAY @ means[:3])
    return _looked_up(picture, _blended(int(mean + 0.5), factor))


def adjust_saturation(picture: np.ndarray, factor: float) -> np.ndarray:
    """A blend with the gray picture; a picture of one channel is that already."""
    import cv2

    if picture.shape[2] == 1:
        return picture
    matrix = factor * np.eye(3) + (1 - factor) * _GRAY
    offset = _BELOW if factor else 0  # the gray picture itself is rounded to the nearest
    return cv2.transform(picture, np.column_stack([matrix, np.full(3, offset)]))


def adjust_hue(picture: np.ndarray, turn: float) -> np.ndarray:
    """The hues of a picture of three channels turned by `turn` circles (-0.5 to 0.5), wrapping around."""
    import cv2

    result = np.empty_like(picture)
    height, width = picture.shape[:2]
    step = min(height, max(1, (1 << 14) // width))  # the floats of a block stay in the cache, in the same memory
    colors, hues = np.empty((step, width, 3), np.float32), np.empty((step, width), np.float32)
    for top in range(0, height, step):
        part = picture[top : top + step]
        hsv, hue = colors[: len(part)], hues[: len(part)]
        np.copyto(hsv, part)
        hsv *= np.float32(1 / 255)
        cv2.cvtColor(hsv, cv2.COLOR_BGR2HSV, dst=hsv)
        cv2.extractChannel(hsv, 0, dst=hue)
        hue += np.float32(360 * (turn % 1))
        np.subtract(hue, 360, out=hue, where=hue >= 360)
        cv2.insertChannel(hue, hsv, 0)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR, dst=hsv)
        cv2.convertScaleAbs(hsv, dst=result[top : top + step], alpha=255)
    return result


def adjust_sharpness(picture: np.ndarray, factor: float) -> np.ndarray:
    """A blend with the picture smoothed by 3x3 (the pixel 5/13, its neighbors 1/13 each); its border stays."""
    import cv2

    if min(picture.shape[:2]) < 3:
        return picture
    kernel = np.full((3, 3), 1 / 13, np.float32)
    kernel[1, 1] = 5 / 13
    smooth = cv2.filter2D(picture, -1, kernel)
    result = cv2.addWeighted(picture, factor, smooth, 1 - factor, _BELOW).reshape(picture.shape)
    for border in np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]:
        result[border] = picture[border]
    return result


def blur(picture: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian blur of `deviation` pixels; Pillow comes near that by three box blurs, which at edges act as mirrors."""
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), deviation, borderType=cv2.BORDER_REFLECT).reshape(picture.shape)


def auto_contrast(picture: np.ndarray) -> np.ndarray:
    """Each channel stretched so that its lowest value becomes 0 and its highest 255."""
    tables = []
    for counts in _histograms(picture):
        (present,) = np.nonzero(counts)
        low, high = int(present[0]), int(present[-1])
        scale = 255 / max(1, high - low)
        stretched = np.trunc(_VALUES * scale - low * scale)
        tables.append(stretched if high > low else _VALUES)
    return _looked_up_each(picture, tables)


def equalize(picture: np.ndarray) -> np.ndarray:
    """Each channel with its histogram made even, as ImageOps.equalize does."""
    tables = []
    for counts in _histograms(picture):
        present = counts[counts > 0]
        step = int(present.sum() - present[-1]) // 255
        before = np.cumsum(counts) - counts
        tables.append((step // 2 + before) // step if step else _VALUES)
    return _looked_up_each(picture, tables)


def posterize(picture: np.ndarray, bits: int) -> np.ndarray:
    """The highest `bits` (0 to 8) of each value; 0 leaves black."""
    return _looked_up(picture, _VALUES & -(1 << (8 - bits)))


def solarize(picture: np.ndarray, threshold: int) -> np.ndarray:
    """Values of `threshold` and above inverted."""
    return _looked_up(picture, np.where(np.less(_VALUES, threshold), _VALUES, 255 - _VALUES))


def solarize_add(picture: np.ndarray, amount: int) -> np.ndarray:
    """`amount` added to values below 128."""
    return _looked_up(picture, np.where(np.less(_VALUES, 128), _VALUES + amount, _VALUES))


def _blended(other: int, factor: float) -> np.ndarray:
    """The table of a blend with one value, computed in single precision as Pillow does."""
    table: np.ndarray = np.float32(other) + np.float32(factor) * (_VALUES - other).astype(np.float32)
    return table


def _bytes(table: np.ndarray) -> np.ndarray:
    return table.clip(0, 255).astype(np.uint8)


def _looked_up(picture: np.ndarray, table: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.LUT(picture, _bytes(table)).reshape(picture.shape)


def _looked_up_each(picture: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """With one table a channel."""
    import cv2

    return cv2.LUT(picture, _bytes(np.stack(tables, 1))[None]).reshape(picture.shape)


def _histograms(picture: np.ndarray) -> list[np.ndarray]:
    import cv2

    channels = range(picture.shape[2])
    return [cv2.calcHist([picture], [c], None, [256], [0, 256]).ravel().astype(np.int64) for c in channels]
