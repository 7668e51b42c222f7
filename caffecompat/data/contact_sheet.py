"""Pictures of records with their labels on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.formats.picture import resize_picture

__all__ = ["class_colors", "class_title", "color_labels", "contact_sheet", "draw_boxes", "overlaid", "viewable"]

_TEXT_ROWS = 16
_MARGIN = 6
_PAPER = 250


def class_colors() -> np.ndarray:
    """256 BGR colors (256, 3) uint8, Pascal VOC's: bit k of the class goes to bit 7 - k // 3 of channel k % 3.

    255, the class that is ignored, is nearly white.
    """
    index = np.arange(256)
    rgb = np.zeros((256, 3), int)
    for bit in range(8):
        rgb[:, bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return rgb[:, ::-1].astype(np.uint8)


def color_labels(labels: np.ndarray) -> np.ndarray:
    """Class numbers (H, W, 1) as colors (H, W, 3)."""
    colored: np.ndarray = class_colors()[labels[:, :, 0]]
    return colored


def overlaid(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 half covered by the colors of its class numbers (h, w, 1), where these are not 0."""
    import cv2

    labels = resize_picture(labels.astype(np.uint8), *picture.shape[:2], nearest=True)
    blended = cv2.addWeighted(picture, 0.5, color_labels(labels), 0.5, 0)
    shown: np.ndarray = np.where(labels == 0, picture, blended)
    return shown


def viewable(values: np.ndarray) -> np.ndarray:
    """Values (H, W, C) of any record as (H, W, 3) uint8: floats stretched to 0..255, channels cut or repeated."""
    if values.dtype != np.uint8:
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
        values = ((values - low) * (255 / max(high - low, 1e-30))).astype(np.uint8)
    channels = values.shape[2]
    if channels == 3:
        return values
    return values[:, :, :3] if channels > 3 else np.repeat(values[:, :, :1], 3, axis=2)


def class_title(label: int, names: Sequence[str]) -> str:
    """The class's name, or its number."""
    return (names[label] if 0 <= label < len(names) else "") or str(label)


def draw_boxes(picture: np.ndarray, objects: np.ndarray, names: Sequence[str], size: int) -> np.ndarray:
    """The picture (H, W, 3) uint8, its larger side `size`, with the objects' boxes in their classes' colors and names.

    Args:
        objects: rows as `AnnotatedDatum.objects` has them; difficult ones are drawn thin.
    """
    import cv2

    canvas = np.ascontiguousarray(_fit(picture, size))
    canvas = canvas.copy() if canvas is picture else canvas
    height, width = canvas.shape[:2]
    colors = class_colors()
    for row in objects.tolist():
        label = int(row[0])
        color = tuple(int(value) for value in colors[label % 256]) if label % 256 else (255, 255, 255)
        (left, top), (right, bottom) = (
            (round(x * (width - 1)), round(y * (height - 1))) for x, y in ((row[2], row[3]), (row[4], row[5]))
        )
        cv2.rectangle(canvas, (left, top), (right, bottom), color, 1 if row[6] else 2)
        base = (max(left, 0) + 2, max(top, 0) + 11)
        title = class_title(label, names)
        for shade, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):  # outlined, for bright and dark pictures
            cv2.putText(canvas, title, base, cv2.FONT_HERSHEY_SIMPLEX, 0.35, shade, thickness, cv2.LINE_AA)
    return canvas


def contact_sheet(
    cells: Sequence[tuple[Sequence[np.ndarray], str]], *, columns: int = 0, size: int = 160, gap: int = 0
) -> np.ndarray:
    """Lay out cells: each one or more pictures (H, W, 3) side by side, and a caption below.

    Args:
        columns: cells a row; 0 makes the sheet about square.
        size: the larger side of each picture on the sheet, in pixels; smaller ones are enlarged without smoothing.
        gap: pixels between the pictures of a cell.

    Returns:
        the sheet, (H, W, 3) uint8.
    """
    import cv2

    drawn = [
        (_side_by_side([_fit(picture, size) for picture in pictures], gap), caption) for pictures, caption in cells
    ]
    width = max(picture.shape[1] for picture, _ in drawn) + _MARGIN
    height = max(picture.shape[0] for picture, _ in drawn) + _TEXT_ROWS + _MARGIN
    columns = columns or max(1, round((len(drawn) * height / width) ** 0.5))
    rows = -(-len(drawn) // columns)
    sheet = np.full((rows * height + _MARGIN, min(columns, len(drawn)) * width + _MARGIN, 3), _PAPER, np.uint8)
    for number, (picture, caption) in enumerate(drawn):
        top, left = number // columns * height + _MARGIN, number % columns * width + _MARGIN
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        room = (width - _MARGIN) // 6  # a character of this font and size is about six pixels wide
        text = caption if len(caption) <= room else caption[: max(1, room - 2)] + ".."
        base = (left, top + picture.shape[0] + _TEXT_ROWS - 5)
        cv2.putText(sheet, text, base, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet


def _fit(picture: np.ndarray, size: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    return resize_picture(picture, max(1, round(height * scale)), max(1, round(width * scale)), nearest=scale > 1)


def _side_by_side(pictures: Sequence[np.ndarray], gap: int) -> np.ndarray:
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    row = np.full((height, width, 3), _PAPER, np.uint8)
    left = 0
    for picture in pictures:
        row[: len(picture), left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return row
