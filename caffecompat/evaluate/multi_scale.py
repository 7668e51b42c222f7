"""Multi-scale testing of segmentation nets: a picture is shown in several sizes and mirrored, the answers are added up.

This is how DeepLab, PSPNet and their like report their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.segmenter import Segmenter
from caffecompat.formats.picture import check_size, resize_picture

__all__ = ["FITS", "Frame", "MultiScale", "Views", "scaled_size"]

Size = tuple[int, int]
Prepare = Callable[[np.ndarray, int, int], np.ndarray]  # as Preprocess: picture, height, width -> (1, C, height, width)

FITS = ("warp", "pad")
_STEP = 32  # the largest multiple that a net's input size is kept at


@dataclass(frozen=True)
class Frame:
    """The area that probabilities are added up in, and how much of it from the top left is the picture."""

    size: Size
    picture: Size


@dataclass(frozen=True)
class Views:
    """A picture as the net gets it, once for each scale; made when asked for, as all of them take much memory.

    Attributes:
        sizes: (height, width) of the views.
        shown: makes the view of a size, (1, C, height, width) float32.
    """

    frame: Frame
    sizes: Sequence[Size]
    shown: Callable[[int, int], np.ndarray]


@dataclass
class MultiScale:
    """How a picture is shown to a segmentation net, several times or in the net's own size.

    With ``fit`` "pad" the picture is put at the top left of a frame of the net's input size, and the net's input is 0
    elsewhere, as where a pixel is the mean (DeepLab's 513x513). A picture that is larger than that gets a larger frame,
    of a size that is a multiple as the input's is. With "warp" the frame is the picture. For each scale the frame is
    resized, bilinearly, to `scaled_size` of the net's input size (or of the larger frame); the net's probabilities
    (softmax of its scores) are resized to the frame's size, bilinearly; of a mirrored view they are mirrored first. The
    sum of all is cut to the picture. Bilinear means centers of pixels at half numbers, without anti-aliasing: OpenCV's
    INTER_LINEAR, and torch's align_corners=False.

    Attributes:
        scales: factors of the net's input size.
        flip: show each view mirrored, too.
        fit: "warp" or "pad".

    Raises:
        CaffeCompatError: a scale is not a number above 0, there is none, or there is no such fit.
    """

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    fit: str = "warp"

    def __post_init__(self) -> None:
        try:
            self.scales = tuple(float(scale) for scale in self.scales)
        except (TypeError, ValueError):
            self.scales = ()
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise CaffeCompatError("scales: expected numbers above 0, as in 0.5, 0.75, 1, 1.25, 1.75")
        if self.fit not in FITS:
            raise CaffeCompatError(f"fit {self.fit!r}: expected {' or '.join(FITS)}")
        self._grown = False

    @property
    def plain(self) -> bool:
        """Whether the picture is shown once, resized to the net's input."""
        return self.scales == (1.0,) and not self.flip and self.fit == "warp"

    def views(self, segmenter: Segmenter, picture: np.ndarray, preprocess: Prepare) -> Views:
        """The net's inputs of a picture (H, W, C).

        Raises:
            CaffeCompatError: the picture cannot be prepared, or is too large to be padded.
        """
        assert segmenter.input_shape is not None, "this net reads its own data"
        height, width = picture.shape[:2]
        size = (segmenter.input_shape[2], segmenter.input_shape[3])
        if self.fit == "warp":
            sizes = [scaled_size(size, scale) for scale in self.scales]
            return Views(Frame((height, width), (height, width)), sizes, lambda *scaled: preprocess(picture, *scaled))
        size = self._frame_size(size, (height, width))
        whole = preprocess(picture, height, width)[0].transpose(1, 2, 0)
        padded = np.zeros((*size, whole.shape[2]), np.float32)
        padded[:height, :width] = whole

        def shown(*scaled: int) -> np.ndarray:
            return np.ascontiguousarray(resize_picture(padded, *scaled).transpose(2, 0, 1)[None])

        return Views(Frame(size, (height, width)), [scaled_size(size, scale) for scale in self.scales], shown)

    def _frame_size(self, size: Size, picture: Size) -> Size:
        """The net's input size; a larger one for a larger picture."""
        larger = _fitting(size[0], picture[0]), _fitting(size[1], picture[1])
        check_size(*larger, "the padded picture")
        if larger != size and not self._grown:
            self._grown = True
            glog.info(
                f"pictures larger than the net's input, {size[1]}x{size[0]}, go in as they are, padded to a size that "
                f"fits: the first, {picture[1]}x{picture[0]}, to {larger[1]}x{larger[0]}"
            )
        return larger

    @torch.no_grad()
    def probabilities(self, segmenter: Segmenter, views: Views) -> Tensor:
        """The sum of the classes' probabilities over all views, (1, classes, H, W) in the picture's size.

        Raises:
            CaffeCompatError: the net cannot work on a view's size.
        """
        total: Tensor | None = None
        for scale, size in zip(self.scales, views.sizes, strict=True):
            batch = views.shown(*size)
            for mirrored in (False, True) if self.flip else (False,):
                shown = np.ascontiguousarray(batch[..., ::-1]) if mirrored else batch
                found = segmenter.probabilities(_scored(segmenter, shown, scale))
                found = found.flip(-1) if mirrored else found
                found = F.interpolate(found, size=views.frame.size, mode="bilinear", align_corners=False)
                total = found if total is None else total.add_(found)
        assert total is not None
        height, width = views.frame.picture
        return total[:, :, :height, :width]


def _scored(segmenter: Segmenter, batch: np.ndarray, scale: float) -> Tensor:
    try:
        return segmenter.score(batch)
    except CaffeCompatError as problem:
        height, width = batch.shape[2:]
        if segmenter.input_shape is not None and (height, width) == segmenter.input_shape[2:]:
            raise
        raise CaffeCompatError(
            f"{segmenter.path} cannot work on an input of {width}x{height}, which scale {scale:g} makes: {problem}"
            f"{segmenter.fitting_sizes((height, width))}"
        ) from None


def scaled_size(size: Size, scale: float) -> Size:
    """The input size (height, width) for a scale.

    A side that is a multiple of 8 and 1 becomes (side - 1) * scale + 1, cut down to a whole number, as in DeepLab: 257,
    385, 513, 641, 897 of 513 for 0.5, 0.75, 1, 1.25, 1.75. Another one becomes the multiple nearest to side * scale of
    the largest power of 2, up to 32, that it is a multiple of itself: nets that halve their picture want that.
    """
    return _scaled(size[0], scale), _scaled(size[1], scale)


def _scaled(side: int, scale: float) -> int:
    if _is_odd(side):
        return int((side - 1) * scale + 1)
    step = _step(side)
    return max(1, math.floor(side * scale / step + 0.5)) * step


def _fitting(side: int, least: int) -> int:
    """The side, or the smallest one of its kind that is `least` or more."""
    if least <= side:
        return side
    return -(-(least - 1) // 8) * 8 + 1 if _is_odd(side) else -(-least // _step(side)) * _step(side)


def _is_odd(side: int) -> bool:
    """Whether a side is a multiple of 8 and 1, which layers that halve and round up, and Interp, agree on."""
    return side > 8 and side % 8 == 1


def _step(side: int) -> int:
    """The largest power of 2 that a side is a multiple of."""
    return min(_STEP, side & -side)
