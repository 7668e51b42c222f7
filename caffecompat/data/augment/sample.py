"""A picture with what is labeled in it, as the operations of `transform_param` take it and give it back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffecompat.data.boxes import emitted, project
from caffecompat.schema import pb

__all__ = ["Sample"]

_CORNERS = slice(2, 6)  # of an object's row


class Sample(NamedTuple):
    """One record's picture, and the labels that move with it.

    Attributes:
        picture: (H, W, C), BGR; uint8 but for databases of floats.
        label: (h, w, 1) class numbers, of the picture's size unless the layer divides it; None without such labels.
        objects: (G, 7) or more, rows as `AnnotatedDatum.objects` has them; None in layers without boxes.
        height: of the whole picture, where rows at the bottom are missing that nothing looks at
            (`Augmentation.rows`); None where it has all rows.
    """

    picture: np.ndarray
    label: np.ndarray | None = None
    objects: np.ndarray | None = None
    height: int | None = None

    @classmethod
    def of_rows(cls, picture: np.ndarray, height: int, label: np.ndarray | None = None) -> Sample:
        """Of the upper rows of a picture that has `height` of them."""
        return cls(picture, label, height=None if len(picture) == height else height)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole picture."""
        return self.height or self.picture.shape[0], self.picture.shape[1]

    @property
    def boxes(self) -> np.ndarray | None:
        """(G, 4) xmin, ymin, xmax, ymax of the objects in units of the picture."""
        return None if self.objects is None else self.objects[:, _CORNERS]

    def with_boxes(self, boxes: np.ndarray | None) -> Sample:
        """The sample with the objects' boxes moved: (G, 4), one an object; None where it has no objects."""
        if self.objects is None or boxes is None:
            return self
        objects = self.objects.copy()
        objects[:, _CORNERS] = boxes
        return self._replace(objects=objects)

    def seen_in(self, window: np.ndarray, emit: pb.EmitConstraint | None) -> Sample:
        """The sample with the objects in units of a window (4,) of the picture, without those not to be seen in it.

        Args:
            emit: which objects count as seen, beside those without an area (SSD's emit_constraint).
        """
        if self.objects is None:
            return self
        before = self.objects[:, _CORNERS]
        boxes, visible = project(before, window)
        if emit is not None:
            visible &= emitted(before, window, emit)
        moved = self.with_boxes(boxes)
        assert moved.objects is not None
        return moved._replace(objects=moved.objects[visible])
