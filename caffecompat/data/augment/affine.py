"""Affine maps of a picture with its label picture and boxes, as Pillow's Image.transform and Image.rotate define them.

A map is a (2, 3) matrix from places in the new picture to places in the old one, in pixels from the top left corner,
(x, y), so that the center of the first pixel is (0.5, 0.5). The size stays.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["move_boxes", "move_labels", "move_picture", "rotation", "shear_x", "shear_y", "translation"]

_CUBIC = -0.75  # the parameter a of OpenCV's cubic kernel


def rotation(degrees: float, height: int, width: int) -> np.ndarray:
    """Counterclockwise around the center."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    center = np.array([width / 2, height / 2])
    return np.column_stack([turn, center - turn @ center])


def shear_x(factor: float) -> np.ndarray:
    """Each row moved to the left by `factor` times its distance from the top."""
    return np.array([[1, factor, 0], [0, 1, 0]])


def shear_y(factor: float) -> np.ndarray:
    """Each column moved up by `factor` times its distance from the left."""
    return np.array([[1, 0, 0], [factor, 1, 0]])


def translation(left: float, up: float) -> np.ndarray:
    """By so many pixels."""
    return np.array([[1, 0, left], [0, 1, up]])


def move_picture(picture: np.ndarray, matrix: np.ndarray, fill: list[float], *, cubic: bool = False) -> np.ndarray:
    """A (H, W, C) uint8 picture moved, bilinear or bicubic, with `fill` (C,) where nothing of it comes to lie.

    As in Pillow, pixels at its edge are not blended with `fill`. The cubic kernel is OpenCV's (a = -0.75; Pillow's
    has a = -1).
    """
    if np.array_equal(matrix[:, :2], np.eye(2)):
        left, up = matrix[:, 2].tolist()
        moved, columns = _slid(picture, left, 1, cubic)
        moved, rows = _slid(moved, up, 0, cubic)
        filled = _canvas(picture.shape, fill)
        filled[rows, columns] = moved
        return filled
    import cv2

    height, width, channels = picture.shape
    # OpenCV warps four channels in half the time of three.
    source = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA) if channels == 3 and not cubic else picture
    flags = (cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(source, _centered(matrix), (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if source is not picture:
        moved = cv2.cvtColor(moved, cv2.COLOR_BGRA2BGR)
    inside = _nearest(np.ones((height, width), np.uint8), matrix, 0)
    return cv2.copyTo(moved, inside, _canvas(picture.shape, fill)).reshape(picture.shape)


def _canvas(shape: tuple[int, ...], fill: list[float]) -> np.ndarray:
    height, width, _ = shape
    canvas = np.empty(shape, np.uint8)
    canvas.reshape(height, -1)[:] = np.tile(np.array(fill, np.uint8), width)
    return canvas


def _slid(picture: np.ndarray, offset: float, axis: int, cubic: bool) -> tuple[np.ndarray, slice]:
    """What shows of a picture whose row (or column, with `axis` 1) x is read at x + offset, and which x have it.

    One filter does what takes a warp ten times as long.
    """
    import cv2

    size = picture.shape[axis]
    first, end = (min(max(math.ceil(edge - 0.5 - offset), 0), size) for edge in (0, size))
    at = math.floor(offset)
    part = offset - at
    if first < end and part:
        edges = (2, 2, 0, 0) if axis == 0 else (0, 0, 2, 2)
        weights = _cubic_weights(part) if cubic else np.array([0, 1 - part, part, 0])
        kernel = np.expand_dims(weights.astype(np.float32), 1 - axis)
        widened = cv2.copyMakeBorder(picture, *edges, cv2.BORDER_REPLICATE)
        shape = *widened.shape[:2], picture.shape[2]
        picture = cv2.filter2D(widened, -1, kernel, anchor=(1, 0) if axis else (0, 1)).reshape(shape)
        at += 2
    shown = slice(first + at, end + at)
    return picture[:, shown] if axis else picture[shown], slice(first, end)


def _cubic_weights(part: float) -> np.ndarray:
    """Of the pixels at -1, 0, 1 and 2 for a place between 0 and 1."""
    a, distance = _CUBIC, np.abs(part - np.arange(-1, 3))
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    weights: np.ndarray = np.where(distance <= 1, near, far)
    return weights


def move_labels(labels: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: float) -> np.ndarray:
    """A (h, w, 1) label picture moved by nearest neighbor, with `fill` where nothing of it comes to lie.

    Args:
        size: (height, width) of the picture that `matrix` moves; the label picture may be smaller.
    """
    scale = np.array([labels.shape[1] / size[1], labels.shape[0] / size[0]])
    turn, offset = matrix[:, :2], matrix[:, 2]
    scaled = np.column_stack([scale[:, None] * turn / scale, scale * offset])
    return _nearest(labels, scaled, fill).reshape(labels.shape)


def move_boxes(boxes: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """The upright rectangles around moved boxes (G, 4), xmin, ymin, xmax, ymax in units of the picture; not cut off."""
    size = np.array([width, height])
    turn, offset = matrix[:, :2], matrix[:, 2]
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]] * size  # (G, 4, 2)
    moved = np.linalg.solve(turn, (corners - offset).reshape(-1, 2).T).T.reshape(corners.shape) / size
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)


def _nearest(picture: np.ndarray, matrix: np.ndarray, fill: float) -> np.ndarray:
    import cv2

    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, _centered(matrix), size, flags=flags, borderMode=cv2.BORDER_CONSTANT,
                          borderValue=fill)  # fmt: skip


def _centered(matrix: np.ndarray) -> np.ndarray:
    """The map of places counted from the center of the first pixel, as OpenCV counts."""
    turn, offset = matrix[:, :2], matrix[:, 2]
    return np.column_stack([turn, offset + turn.sum(1) / 2 - 0.5])
