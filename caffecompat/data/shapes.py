"""Sets of drawn shapes with boxes, laid out as Pascal VOC is: something small that a detector can learn.

Discs, squares and triangles, filled, striped or as thick outlines, in any color on a blotchy ground crossed by lines;
they overlap and leave the picture at its edges. A seed and a number always give the same picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np

from caffecompat.data.annotated_recipes import label_map_text
from caffecompat.data.parallel import ordered_map
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.picture import encode_picture

__all__ = ["SHAPES", "Shape", "draw_shapes", "write_shapes"]

SHAPES = ("disc", "square", "triangle")  # classes 1, 2, 3
_FINE = 8  # coordinates are in eighths of a pixel
_BITS = 3


class Shape(NamedTuple):
    """One object: its class in SHAPES, and the pixels it spans, left and top up to but not with right and bottom."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool


def draw_shapes(seed: int, number: int, width: int = 160, height: int = 120) -> tuple[np.ndarray, list[Shape]]:
    """One picture, (height, width, 3) uint8 BGR, with one to four shapes.

    Difficult are those of which less than half can be seen, because of others or the picture's edge.
    """
    random = np.random.default_rng([seed, number])
    picture = _ground(random, width, height)
    drawn: list[tuple[str, np.ndarray, int]] = []  # name, mask, and its pixels if nothing hid any
    for _ in range(int(random.integers(1, 5))):
        name = SHAPES[int(random.integers(len(SHAPES)))]
        outline = _outline(name, random, width, height)
        mask, whole = _mask(outline, width, height)
        if mask.sum() < 0.4 * whole:
            continue
        _paint(picture, mask, random)
        drawn.append((name, mask, whole))
    shapes = []
    hidden = np.zeros((height, width), bool)
    for name, mask, whole in reversed(drawn):  # the last one drawn lies on top
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        visible = (mask & ~hidden).sum() / whole
        if visible >= 0.1:
            shapes.append(Shape(name, box, bool(visible < 0.5)))
        hidden |= mask
    noise = random.normal(0, random.uniform(1, 6), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), shapes[::-1]


def _ground(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Large soft blotches, and thin lines."""
    import cv2

    blotches = random.uniform(40, 200, (3, 4, 3)) * 0.6 + random.uniform(20, 90, 3)
    ground = cv2.resize(blotches.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(random.integers(2, 7))):
        ends = random.uniform(0, 1, (2, 2)) * (width, height)
        (x, y), (u, v) = ends.astype(int).tolist()
        cv2.line(ground, (x, y), (u, v), random.uniform(20, 235, 3).tolist(), int(random.integers(1, 3)), cv2.LINE_AA)
    return ground.clip(0, 255)


def _outline(name: str, random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(N, 2) corners in pixels."""
    radius = random.uniform(0.11, 0.28) * min(width, height)
    corners = {"disc": 48, "square": 4, "triangle": 3}[name]
    turn = random.uniform(-0.35, 0.35) + {"disc": 0.0, "square": np.pi / 4, "triangle": -np.pi / 2}[name]
    angles = turn + np.arange(corners) * (2 * np.pi / corners)
    reach = radius * (1.25 if corners < 5 else 1.0)  # about the same area for all
    center = random.uniform(0.06, 0.94, 2) * (width, height)
    return center + reach * np.stack([np.cos(angles), np.sin(angles)], 1) * random.uniform(0.85, 1.15, 2)


def _mask(outline: np.ndarray, width: int, height: int) -> tuple[np.ndarray, int]:
    """Which pixels (height, width) it covers, and how many it would, were the picture larger."""
    import cv2

    def filled(points: np.ndarray, columns: int, rows: int) -> np.ndarray:
        canvas = np.zeros((rows, columns), np.uint8)
        cv2.fillPoly(canvas, [np.rint(points * _FINE).astype(np.int32)], 1, shift=_BITS)
        return canvas > 0

    low = np.floor(outline.min(0)) - 2
    size = np.ceil(outline.max(0) - low).astype(int) + 3
    whole = int(filled(outline - low, int(size[0]), int(size[1])).sum())
    return filled(outline, width, height), whole


def _paint(picture: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> None:
    """Color that stands out from what lies below; filled, striped, or an outline around a darker inside."""
    import cv2

    below = picture[mask].mean(0)
    colors = random.uniform(0, 255, (16, 3))
    color = colors[np.abs(colors - below).sum(1).argmax()]
    other = 0.55 * color + 0.45 * below
    style = int(random.integers(3))
    paint = np.broadcast_to(color, picture.shape).copy()
    if style == 1:
        rows, columns = np.indices(mask.shape)
        slope = random.uniform(-1, 1)
        paint[((rows + slope * columns) // random.integers(3, 7)) % 2 == 0] = other
    elif style == 2:
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=int(random.integers(3, 6)))
        paint[inside > 0] = other
    picture[mask] = paint[mask]


def write_shapes(
    folder: Path, counts: dict[str, int], *, seed: int = 0, width: int = 160, height: int = 120
) -> dict[str, Path]:
    """Draw sets in Pascal VOC's layout: JPEGImages/000000.jpg, Annotations/000000.xml, ImageSets/Main/<set>.txt.

    Besides, what SSD's tools take: labelmap.prototxt, for each set the list <set>.txt of 'image annotation' lines
    relative to `folder`, and <set>_name_size.txt of 'name height width' lines.

    Args:
        folder: made if absent.
        counts: pictures in each set, by its name; sets share no picture.

    Returns:
        The list of each set.
    """
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def draw(number: int) -> str:
        picture, shapes = draw_shapes(seed, number, width, height)
        stem = f"{number:06}"
        (folder / "JPEGImages" / f"{stem}.jpg").write_bytes(encode_picture(picture, "jpg") or b"")
        (folder / "Annotations" / f"{stem}.xml").write_text(_xml(folder.name, stem, picture.shape, shapes))
        return stem

    first = 0
    lists = {}
    for name, count in counts.items():
        stems = list(ordered_map(draw, range(first, first + count)))
        lists[name] = folder / f"{name}.txt"
        _write(folder / "ImageSets" / "Main" / f"{name}.txt", [f"{stem}\n" for stem in stems])
        _write(lists[name], [f"JPEGImages/{stem}.jpg Annotations/{stem}.xml\n" for stem in stems])
        _write(folder / f"{name}_name_size.txt", [f"{stem} {height} {width}\n" for stem in stems])
        first += count
    classes = [(name, number, name) for number, name in enumerate(SHAPES, 1)]
    _write(folder / "labelmap.prototxt", [label_map_text(classes)])
    return lists


def _xml(folder: str, stem: str, shape: tuple[int, ...], shapes: list[Shape]) -> str:
    height, width, channels = shape
    lines = [
        "<annotation>",
        f"\t<folder>{escape(folder)}</folder>",
        f"\t<filename>{stem}.jpg</filename>",
        f"\t<size><width>{width}</width><height>{height}</height><depth>{channels}</depth></size>",
    ]
    for name, box, difficult in shapes:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        inner = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
        lines.append(
            f"\t<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>{inner}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])


def _write(path: Path, lines: list[str]) -> None:
    with atomic_write(path) as file:
        file.write("".join(lines).encode())
