"""A small world to learn from: drawn street scenes with the class of every pixel.

Seen through a pinhole camera on a straight road: metres X to the right, Y down from the camera's height, Z ahead.
Scenes are drawn from far to near at twice the size, labels next to colors, then halved; each has its own light,
weather and noise. Nothing is recorded or downloaded, and a seed and a number always give the same scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["CLASSES", "IGNORED", "Scene", "draw_scene"]

CLASSES = ("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car")
_ROAD, _SIDEWALK, _BUILDING, _POLE, _VEGETATION, _SKY, _PERSON, _CAR = range(8)
IGNORED = 255

# How strongly each class's surface varies, in gray levels: fine grain and coarse patches.
_GRAIN = np.array([5, 6, 5, 4, 16, 1, 6, 3, *[0] * 247, 2], np.float32)
_PATCHES = np.array([3, 4, 4, 3, 20, 6, 4, 3, *[0] * 247, 3], np.float32)

_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN), np.zeros(16)], -1)

Color = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """A drawn picture (H, W, 3) uint8 BGR and its labels (H, W) uint8: indices into CLASSES, or IGNORED."""

    picture: np.ndarray
    labels: np.ndarray


def draw_scene(seed: int, number: int, width: int = 256, height: int = 128) -> Scene:
    """One scene; the same arguments give the same pixels."""
    import cv2

    pen = _Pen(np.random.default_rng([seed, number]), 2 * width, 2 * height)
    _draw_sky(pen)
    _draw_ground(pen)
    things: list[tuple[float, Callable[[], None]]] = [*_rows_of_houses(pen), *_street_furniture(pen), *_traffic(pen)]
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()
    picture = cv2.resize(_light(pen), (width, height), interpolation=cv2.INTER_AREA)
    labels = np.ascontiguousarray(pen.labels[::2, ::2])
    _draw_hood(pen.random, picture, labels)
    noise = pen.random.normal(0, pen.random.uniform(1, 5), picture.shape)
    return Scene(np.clip(picture + noise, 0, 255).astype(np.uint8), labels)


class _Pen:
    """The canvas (colors and labels), the camera, and the dice of one scene."""

    def __init__(self, random: np.random.Generator, width: int, height: int) -> None:
        self.random = random
        self.width, self.height = width, height
        self.colors = np.zeros((height, width, 3), np.uint8)
        self.labels = np.full((height, width), _SKY, np.uint8)
        self.horizon = height * random.uniform(0.40, 0.50)
        self.center = width * random.uniform(0.38, 0.62)
        self.focal = width * random.uniform(0.75, 0.95)
        self.above_ground = random.uniform(1.3, 1.7)
        self.road = random.uniform(3.6, 6.5)  # half its width
        self.haze = random.uniform(0.0, 0.7)
        self.sky: Color = self.pick((225, 190, 150), (225, 215, 205), (190, 180, 175), (205, 200, 235))

    def pick(self, *colors: Color, spread: float = 12) -> Color:
        """One of the colors, varied: brightness more than hue."""
        b, g, r = colors[int(self.random.integers(len(colors)))]
        lighter = float(self.random.normal(0, spread))
        db, dg, dr = self.random.normal(0, spread / 4, 3).tolist()
        return b + lighter + db, g + lighter + dg, r + lighter + dr

    def see(self, points: Sequence[Point] | np.ndarray) -> np.ndarray:
        """Points (..., 3) in metres, Y up from the ground, as pixels (..., 2)."""
        where = np.asarray(points, float)
        depth = np.maximum(where[..., 2], 0.5)
        pixels = np.empty((*where.shape[:-1], 2))
        pixels[..., 0] = self.center + self.focal * where[..., 0] / depth
        pixels[..., 1] = self.horizon + self.focal * (self.above_ground - where[..., 1]) / depth
        return pixels

    def fill(self, pixels: np.ndarray, color: Color, label: int, depth: float = 0.0) -> None:
        """Polygons of pixels (n, 2) or (k, n, 2), paler the deeper they lie."""
        import cv2

        fade = 1 - math.exp(-depth * self.haze / 60)
        mixed = [min(max(c + (s - c) * fade, 0.0), 255.0) for c, s in zip(color, self.sky, strict=True)]
        rounded = np.minimum(np.maximum(np.rint(pixels), -8000), 8000).astype(np.int32)
        polygons = list(rounded.reshape(-1, *rounded.shape[-2:]))
        cv2.fillPoly(self.colors, polygons, mixed)
        cv2.fillPoly(self.labels, polygons, label)

    def disc(self, center: Point, radii: tuple[float, float], color: Color, label: int) -> None:
        """An upright ellipse; radii in metres."""
        self.fill(self.see(np.array(center) + _CIRCLE * (*radii, 0)), color, label, center[2])

    def board(self, left: float, right: float, bottom: float, top: float, depth: float) -> np.ndarray:
        """The pixels (4, 2) of an upright rectangle facing the camera; left and right may change places."""
        return self.see([(left, bottom, depth), (right, bottom, depth), (right, top, depth), (left, top, depth)])

    def wall(self, x: float, near: float, far: float, bottom: float, top: float) -> np.ndarray:
        """The pixels (4, 2) of an upright rectangle along the road."""
        return self.see([(x, bottom, near), (x, bottom, far), (x, top, far), (x, top, near)])


def _shade(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor


def _noise(random: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise (H, W) float32 of about unit size, whose patches are about `cell` pixels large."""
    import cv2

    small = random.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _draw_sky(pen: _Pen) -> None:
    up = np.linspace(0, 1, pen.height)[:, None, None]
    top = np.array(_shade(pen.sky, pen.random.uniform(0.65, 0.95)))
    pen.colors[:] = np.clip(top + (np.array(pen.sky) - top) * up, 0, 255)
    # The end of the street: far trees and roofs.
    x = np.linspace(-20, pen.width + 20, 24)
    y = pen.horizon - np.abs(pen.random.normal(0, 1, 24)) * pen.height * 0.05 - 4
    outline = np.concatenate([np.stack([x, y], -1), [[pen.width + 20, pen.horizon + 2], [-20, pen.horizon + 2]]])
    if pen.random.random() < 0.6:
        pen.fill(outline, pen.pick((60, 95, 75)), _VEGETATION, 60)
    else:
        pen.fill(outline, pen.pick((120, 120, 125)), _BUILDING, 60)


def _draw_ground(pen: _Pen) -> None:
    far, near, w = 150.0, 0.6, pen.road
    paving = pen.pick((150, 150, 155), (135, 145, 160), (165, 165, 165))
    asphalt = pen.pick((85, 82, 80), (105, 100, 98), (70, 70, 72))

    def strip(left: float, right: float, begin: float = near, end: float = far) -> np.ndarray:
        return pen.see([(left, 0, begin), (right, 0, begin), (right, 0, end), (left, 0, end)])

    pen.fill(strip(-200, 200), paving, _SIDEWALK)
    for side in (-1, 1):
        if pen.random.random() < 0.35:  # a lawn beyond the pavement
            pen.fill(strip(side * (w + pen.random.uniform(2, 3.5)), side * 200), pen.pick((55, 110, 85)), _VEGETATION)
    pen.fill(strip(-w - 0.15, w + 0.15), _shade(paving, 1.2), _SIDEWALK)
    pen.fill(strip(-w, w), asphalt, _ROAD)
    paint = pen.pick((215, 215, 215))
    if pen.random.random() < 0.8:
        begins = np.arange(pen.random.uniform(1, 5), 80, pen.random.uniform(6, 10))
        for begin in begins:
            pen.fill(strip(-0.08, 0.08, begin, begin + 2.5), paint, _ROAD)
    if pen.random.random() < 0.5:
        for side in (-1, 1):
            pen.fill(strip(side * (w - 0.4), side * (w - 0.25)), paint, _ROAD)
    if pen.random.random() < 0.25:  # a crossing
        at = pen.random.uniform(8, 18)
        for left in np.arange(-w + 0.3, w - 0.5, 1.0):
            pen.fill(strip(left, left + 0.5, at, at + 3), paint, _ROAD)


Thing = tuple[float, Callable[[], None]]


def _rows_of_houses(pen: _Pen) -> list[Thing]:
    """Houses left and right, with gaps that trees or the open sky fill."""
    things: list[Thing] = []
    for side in (-1, 1):
        x = side * (pen.road + pen.random.uniform(2.5, 6))
        begin = pen.random.uniform(-4, 6)
        while begin < 90:
            length = pen.random.uniform(7, 18)
            if pen.random.random() < 0.72:
                height = pen.random.uniform(5, 15)
                things.append((begin + length / 2, _house(pen, x, begin, begin + length, height)))
            elif pen.random.random() < 0.7:
                things += [(z, _tree(pen, x + side * 1.5, z)) for z in np.arange(begin + 2, begin + length, 3.5)]
            begin += length + (pen.random.uniform(1, 6) if pen.random.random() < 0.3 else 0)
    return things


def _house(pen: _Pen, x: float, begin: float, end: float, height: float) -> Callable[[], None]:
    color = pen.pick((95, 125, 165), (150, 165, 185), (120, 120, 125), (85, 95, 140), (175, 185, 190), (130, 150, 150))
    glass = pen.pick((75, 65, 55), (110, 95, 80), spread=8)
    floor, bay = pen.random.uniform(2.7, 3.3), pen.random.uniform(1.8, 3)
    open_share = pen.random.uniform(0.35, 0.65)
    side = 1 if x > 0 else -1

    def draw() -> None:
        near = max(begin, 1.0)
        if end <= near + 0.5:
            return
        if begin > 1.5:  # the gable that faces the camera
            pen.fill(pen.board(x, x + side * 12, 0, height, begin), _shade(color, 0.82), _BUILDING, begin)
        pen.fill(pen.wall(x, near, end, 0, height), color, _BUILDING, begin)
        pen.fill(pen.wall(x, near, end, height - 0.4, height), _shade(color, 0.6), _BUILDING, begin)
        z, y = np.meshgrid(np.arange(near + 0.6, end - bay * open_share, bay), np.arange(0.9, height - 2, floor))
        if z.size:
            z, y = z.ravel(), y.ravel()
            corners = [(z, y), (z + bay * open_share, y), (z + bay * open_share, y + 1.5), (z, y + 1.5)]
            windows = np.stack([np.stack([np.full_like(a, x), b, a], -1) for a, b in corners], 1)
            pen.fill(pen.see(windows), glass, _BUILDING, begin)

    return draw


def _tree(pen: _Pen, x: float, z: float) -> Callable[[], None]:
    height = pen.random.uniform(3.5, 8)
    green = pen.pick((45, 100, 70), (50, 120, 100), (40, 75, 60), (60, 130, 130))
    trunk = pen.pick((50, 65, 85))
    blobs = pen.random.normal(0, 1, (9, 2)) * (height * 0.16, height * 0.15)
    shades = pen.random.uniform(0.7, 1.3, 9)

    def draw() -> None:
        pen.fill(pen.board(x - 0.13, x + 0.13, 0, height * 0.6, z), trunk, _VEGETATION, z)
        for (right, up), shade in zip(blobs, shades, strict=True):
            at = (x + right, height * 0.68 + up, z)
            pen.disc(at, (height * 0.19, height * 0.17), _shade(green, shade), _VEGETATION)

    return draw


def _street_furniture(pen: _Pen) -> list[Thing]:
    """Lamps, posts with signs, trees along the curb."""
    things: list[Thing] = []
    for side in (-1, 1):
        if pen.random.random() < 0.85:
            step = pen.random.uniform(6, 14)
            zs = np.arange(pen.random.uniform(3.5, 8), 50, step)
            things += [(z, _lamp(pen, side * (pen.road + 0.5), z, side)) for z in zs]
        if pen.random.random() < 0.45:
            step = pen.random.uniform(6, 12)
            zs = np.arange(pen.random.uniform(4, 14), 70, step)
            things += [(z, _tree(pen, side * (pen.road + pen.random.uniform(1, 1.6)), z)) for z in zs]
    return things


def _lamp(pen: _Pen, x: float, z: float, side: int) -> Callable[[], None]:
    height, radius = pen.random.uniform(4, 7.5), pen.random.uniform(0.14, 0.26)
    color = pen.pick((70, 70, 70), (185, 185, 185), (45, 50, 45))
    signpost = pen.random.random() < 0.35
    plate = pen.pick((200, 110, 40), (50, 50, 190), (60, 190, 220))

    def draw() -> None:
        top = 2.8 if signpost else height
        pen.fill(pen.board(x - radius, x + radius, 0, top, z), color, _POLE, z)
        if signpost:
            pen.disc((x, top, z), (0.35, 0.35), plate, _POLE)
        else:
            pen.fill(pen.board(x, x - side * 1.6, top - 0.12, top, z), color, _POLE, z)
            pen.fill(pen.board(x - side * 1.6 - 0.3, x - side * 1.6 + 0.3, top - 0.25, top, z), color, _POLE, z)

    return draw


def _traffic(pen: _Pen) -> list[Thing]:
    """Cars in both lanes and at the curb, people on the pavement and now and then on the road."""
    things: list[Thing] = []
    lanes = [(0.5 * pen.road, 0.35), (-0.5 * pen.road, 0.45)]
    lanes += [(side * (pen.road - 1.0), 0.45) for side in (-1, 1) if pen.road > 4.6]
    for x, share in lanes:
        z = pen.random.uniform(5, 14)
        while z < 60:
            if pen.random.random() < share:
                things.append((z, _car(pen, x + pen.random.normal(0, 0.2), z)))
            z += pen.random.uniform(5.5, 14)
    for _ in range(pen.random.integers(3, 12)):
        z = pen.random.uniform(4, 18)
        side = pen.random.choice((-1, 1))
        on_road = pen.random.random() < 0.15
        x = pen.random.uniform(-pen.road, pen.road) if on_road else side * (pen.road + pen.random.uniform(0.4, 2.6))
        things.append((z, _person(pen, x, z)))
    return things


def _car(pen: _Pen, x: float, z: float) -> Callable[[], None]:
    paint = pen.pick((40, 40, 45), (200, 200, 200), (50, 50, 170), (150, 90, 50), (120, 120, 120), (60, 110, 60))
    half, height, length = pen.random.uniform(0.85, 0.95), pen.random.uniform(1.4, 1.75), pen.random.uniform(3.6, 4.6)
    light: Color = (60, 50, 210) if x > 0 else (210, 235, 240)
    glass, dark = pen.pick((70, 60, 50), spread=6), (30.0, 30.0, 30.0)

    def draw() -> None:
        import cv2

        ground = pen.see([(x, 0, z + length / 2)])[0]
        shadow = (round(pen.focal * (half + 0.2) / z), max(1, round(pen.focal * 0.35 / z)))
        cv2.ellipse(pen.colors, (round(ground[0]), round(ground[1])), shadow, 0, 0, 360, (35, 35, 35), -1)
        inner = x - half if x > 0 else x + half  # the flank that can be seen
        waist, back = 0.58 * height, z + length
        if abs(x) > half:
            pen.fill(pen.wall(inner, z, back, 0.3, waist), _shade(paint, 0.8), _CAR, z)
            roof = [
                (inner, waist, z + 0.2),
                (inner, waist, back - 0.9),
                (inner, height, back - 1.6),
                (inner, height, z + 0.5),
            ]
            pen.fill(pen.see(roof), glass, _CAR, z)
            for wheel in (z + 0.7, back - 0.8):
                pen.fill(pen.wall(inner, wheel - 0.3, wheel + 0.3, 0, 0.6), dark, _CAR, z)
        cabin = [
            (x - half * 0.95, waist, z),
            (x + half * 0.95, waist, z),
            (x + half * 0.75, height, z),
            (x - half * 0.75, height, z),
        ]
        pen.fill(pen.see(cabin), paint, _CAR, z)
        pen.fill(pen.board(x - half * 0.72, x + half * 0.72, waist + 0.05, height - 0.1, z), glass, _CAR, z)
        pen.fill(pen.board(x - half, x + half, 0.25, waist, z), paint, _CAR, z)
        for side in (-1, 1):
            outer = x + side * half
            pen.fill(pen.board(outer, outer - side * 0.3, 0, 0.3, z), dark, _CAR, z)
            pen.fill(pen.board(outer, outer - side * 0.32, waist - 0.25, waist - 0.08, z), light, _CAR, z)

    return draw


def _person(pen: _Pen, x: float, z: float) -> Callable[[], None]:
    height, stride = pen.random.uniform(1.5, 1.9), pen.random.uniform(0.02, 0.2)
    coat = pen.pick((40, 40, 170), (140, 70, 40), (40, 40, 45), (60, 160, 190), (150, 150, 155), (70, 110, 60))
    trousers, skin = pen.pick((60, 50, 45), (110, 80, 60), spread=8), pen.pick((120, 150, 205), (70, 95, 140))

    def draw() -> None:
        for side in (-1, 1):
            foot, hip = x + side * (0.06 + stride), x + side * 0.09
            leg = [
                (foot - 0.08, 0, z),
                (foot + 0.08, 0, z),
                (hip + 0.09, height * 0.5, z),
                (hip - 0.09, height * 0.5, z),
            ]
            pen.fill(pen.see(leg), trousers, _PERSON, z)
        pen.fill(pen.board(x - 0.23, x + 0.23, height * 0.46, height * 0.85, z), coat, _PERSON, z)
        pen.disc((x, height * 0.93, z), (0.11, 0.13), skin, _PERSON)

    return draw


def _light(pen: _Pen) -> np.ndarray:
    """The canvas with surfaces, shadows of things outside the picture, and the light of the day; float32."""
    random, (height, width) = pen.random, pen.labels.shape
    picture = pen.colors.astype(np.float32)
    surface = _GRAIN[pen.labels] * _noise(random, height, width, 2)
    surface += _PATCHES[pen.labels] * _noise(random, height, width, 12)
    picture += surface[:, :, None]
    if random.random() < 0.5:
        shadow = _noise(random, height, width, max(8, width // 6)) > random.uniform(0.1, 1)
        shadow[: int(pen.horizon)] = False
        picture[shadow] *= random.uniform(0.45, 0.75)
    tint = random.uniform(0.93, 1.07, 3) * random.uniform(0.55, 1.15)
    picture *= tint.astype(np.float32)
    return np.asarray(picture)


def _draw_hood(random: np.random.Generator, picture: np.ndarray, labels: np.ndarray) -> None:
    """The own car's hood, and the picture's rim: nobody has to know what they are."""
    import cv2

    height, width = labels.shape
    center = (width // 2, height + height // 9)
    radii = (int(width * 0.62), int(height * 0.19))
    hood = np.zeros_like(labels)
    cv2.ellipse(hood, center, radii, 0, 0, 360, 1, -1)
    shine = np.linspace(0.6, 1.4, width, dtype=np.float32)[None, :, None]
    color = random.uniform(30, 90) * np.ones(3, np.float32)
    picture[hood == 1] = np.broadcast_to(color * shine, picture.shape)[hood == 1]
    labels[hood == 1] = IGNORED
    labels[[0, -1]] = IGNORED
    labels[:, [0, -1]] = IGNORED
