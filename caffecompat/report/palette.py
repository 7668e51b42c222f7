"""Names and colors of classes."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from caffecompat.data.contact_sheet import class_colors
from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_bytes, read_text
from caffecompat.formats.picture import PictureError, decode_picture

__all__ = ["PALETTES", "Palette", "load_palette", "read_names"]

_CITYSCAPES = """
road 128 64 128, sidewalk 244 35 232, building 70 70 70, wall 102 102 156, fence 190 153 153, pole 153 153 153,
traffic light 250 170 30, traffic sign 220 220 0, vegetation 107 142 35, terrain 152 251 152, sky 70 130 180,
person 220 20 60, rider 255 0 0, car 0 0 142, truck 0 0 70, bus 0 60 100, train 0 80 100, motorcycle 0 0 230,
bicycle 119 11 32
"""
_VOC = """background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
pottedplant sheep sofa train tvmonitor"""

_COLOR = re.compile(r"\b[0-9]{1,9}[\s,]+[0-9]{1,9}[\s,]+[0-9]{1,9}\b")  # in a line "R G B name" or "name: R, G, B"
_BETWEEN = string.whitespace + ":,"


@dataclass(frozen=True)
class Palette:
    """Colors (256, 3) uint8, BGR, by class number, and the names of the first classes."""

    colors: np.ndarray = field(default_factory=class_colors)
    names: tuple[str, ...] = ()

    def name(self, index: int) -> str:
        """The class's name, or "class 7"."""
        return self.names[index] if index < len(self.names) else f"class {index}"

    def paint(self, classes: np.ndarray) -> np.ndarray:
        """Class numbers (H, W) uint8 as colors (H, W, 3), BGR."""
        painted: np.ndarray = self.colors[classes]
        return painted


def _cityscapes(*, swapped: bool = False) -> Palette:
    words = [entry.split() for entry in _CITYSCAPES.replace("\n", " ").split(",")]
    rgb = np.array([[int(value) for value in entry[-3:]] for entry in words], np.uint8)
    colors = class_colors()
    colors[:19] = rgb if swapped else rgb[:, ::-1]
    return Palette(colors, tuple(" ".join(entry[:-3]) for entry in words))


PALETTES: dict[str, Callable[[], Palette]] = {
    "cityscapes": _cityscapes,
    # The published pictures of the segmentation tutorial were written with red and blue in each other's place.
    "cityscapes-swapped": lambda: _cityscapes(swapped=True),
    "voc": lambda: Palette(names=tuple(_VOC.split())),
}


def load_palette(name: str | None, names: tuple[str, ...] = (), classes: int = 0) -> Palette:
    """A palette by its name or file.

    Args:
        name: one of PALETTES; a text file with a class a line, ``R G B`` and a name before or after it; a picture
            whose pixels are the colors of the classes 0, 1, ... (ENet's and SegNet's LUT); None is Cityscapes' for
            19 classes, else Pascal VOC's colors.
        names: class names that win over the palette's own.

    Raises:
        CaffeCompatError: there is no such palette or file, or the file is none.
    """
    if name is None:
        palette = _cityscapes() if classes == 19 and not names else Palette()
    elif name in PALETTES:
        palette = PALETTES[name]()
    else:
        palette = _from_file(name)
    return Palette(palette.colors, names or palette.names)


def read_names(path: str) -> tuple[str, ...]:
    """Class names: those of a palette of that name, or a file's lines in order.

    Raises:
        CaffeCompatError: the file cannot be read, or it is no path.
    """
    if not isinstance(path, str):
        raise CaffeCompatError(f"classes {path!r}: expected a file with a name a line, or one of {', '.join(PALETTES)}")
    if path in PALETTES:
        return PALETTES[path]().names
    text = read_text(path, "the class names", more=f" (or one of {', '.join(PALETTES)})")
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _from_file(path: str) -> Palette:
    if not os.path.isfile(path):
        raise CaffeCompatError(
            f"no palette {path!r}: expected {', '.join(PALETTES)}, or a file with 'R G B name' lines"
        )
    data = read_bytes(path)
    colors = class_colors()
    try:
        picture = decode_picture(data)
    except PictureError as problem:
        raise CaffeCompatError(f"{path}: {problem}") from None
    if picture is not None:
        pixels = picture.reshape(-1, 3)[:256]
        colors[: len(pixels)] = pixels
        return Palette(colors)
    names: list[str] = []
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        found = _COLOR.search(line)
        rgb = [int(value) for value in re.split(r"[\s,]+", found[0])] if found else []
        if found is None or max(rgb) > 255 or len(names) > 255:
            raise CaffeCompatError(f"{path}:{number}: expected 'R G B name' with values of 0 to 255, found {line!r}")
        colors[len(names)] = rgb[::-1]
        before, after = line[: found.start()].rstrip(_BETWEEN), line[found.end() :].lstrip(_BETWEEN)
        names.append((before or after).strip() or f"class {len(names)}")
    return Palette(colors, tuple(names))
