"""DataAugmentation: FlowNet2's centered crop and its mean, as a net at test has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.layers.functional.weighted_resize import crop_center
from caffecompat.layers.layer import TRAIN, Context, Layer, LayerError, Shape, View
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["DataAugmentation"]

_RANDOM = (
    "mirror translate rotate zoom squeeze translate_x translate_y gamma brightness contrast color lmult_pow lmult_mult "
    "lmult_add sat_pow sat_mult sat_add col_pow col_mult col_add ladd_pow ladd_mult ladd_add col_rotate fog_amount "
    "fog_size motion_blur_angle motion_blur_size shadow_angle shadow_distance shadow_strength noise"
)
_COEFFICIENTS = 42  # of an augmentation; each is 0 where nothing is changed


@register("DataAugmentation")
class DataAugmentation(Layer):
    """The middle crop_width x crop_height of (N, C, H, W), less a mean (lmb-freiburg/flownet2).

    Where both sizes of the crop are given, pixels are taken from (W - crop_width) / 2 and (H - crop_height) / 2 on,
    between two pixels where that is half a one, and nowhere nearer than 1.05 to the end of the bottom, even where the
    size stays.

    Blobs with recompute_mean N: the number of batches seen, (1, 1, 1, 1), and the mean of their crops as a picture
    (1, C, crop_height, crop_width) and as one value a channel (1, C, 1, 1). Until N batches have been seen, in a test
    too, a forward pass brings in its own; then the mean stays. mean_per_pixel, the default, subtracts the picture, else
    the values go. A weight file's picture of another size is taken as its mean a channel. Without recompute_mean there
    is one blob, not read, and three values `mean` are subtracted where mean_per_pixel is false.

    A second top has the coefficients of the augmentation, 0 each: augmentation at random (a random setting in TRAIN, or
    with augment_during_test) and coefficients of another layer are refused. There is no gradient.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (1, 2)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    batches: nn.Parameter
    mean_picture: nn.Parameter
    mean_values: nn.Parameter

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.augmentation_param, tuple(bottom_shapes[0])
        if len(bottom_shapes) > 1:
            raise LayerError("coefficients of another layer (a second bottom) are not supported, the mean alone is")
        if len(shape) != 4:
            raise LayerError(f"DataAugmentation needs a bottom (N, C, H, W), it has shape {shape}")
        self.crop = (p.crop_height, p.crop_width) if p.HasField("crop_height") and p.HasField("crop_width") else None
        self._check_random(p)
        size = shape[2:] if self.crop is None else self.crop
        if any(cropped > full or cropped < 1 for cropped, full in zip(size, shape[2:], strict=True)):
            raise LayerError(f"a crop of {size[0]} x {size[1]} (height x width) from {shape[2]} x {shape[3]}")
        self.per_pixel, self.wanted = p.mean_per_pixel, p.recompute_mean
        self.add_blob("batches", (1, 1, 1, 1), learned=False)
        if self.wanted:
            self.add_blob("mean_picture", (1, shape[1], *size), learned=False)
            self.add_blob("mean_values", (1, shape[1], 1, 1), learned=False)
        elif p.mean and not self.per_pixel and (len(p.mean) != 3 or shape[1] != 3):
            raise LayerError(
                f"augmentation_param: {len(p.mean)} values of mean for {shape[1]} channels; there must be 3"
            )
        given = () if self.wanted or self.per_pixel else tuple(p.mean)
        self.fixed_mean = given or None

    def _check_random(self, p: pb.AugmentationParameter) -> None:
        drawn = [name for name in _RANDOM.split() if p.HasField(name)]
        when = "in TRAIN" if self.context.phase == TRAIN else "with augment_during_test"
        if drawn and self.crop and (self.context.phase == TRAIN or p.augment_during_test):
            raise LayerError(f"augmentation at random ({', '.join(drawn[:3])}, ...) {when} is not supported")

    @property
    def settled(self) -> bool:
        """Whether the mean will not change any more."""
        return not self.wanted or float(self.batches.detach().flatten()[0]) >= self.wanted

    def adapt_blobs(self, blobs: list[np.ndarray]) -> list[np.ndarray]:
        """The original copies the mean that mean_per_pixel asks for, whatever the size of the file's picture.

        Without recompute_mean it copies none.
        """
        if not self.wanted:
            return blobs[:1]
        if len(blobs) != 3 or blobs[1].ndim != 4:
            return blobs
        batches, picture, values = blobs
        shape = tuple(self.mean_picture.shape)
        if self.per_pixel:
            values = picture.mean((2, 3), keepdims=True)
        if picture.shape != shape and picture.shape[1] == values.shape[1] == shape[1]:
            picture = np.broadcast_to(values.reshape(1, -1, 1, 1), shape).copy()
        return [batches, picture, values]

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def view(self, bottom: Shape, top: Shape) -> View:
        """A pixel, or two where as many cannot be cut from both sides."""
        high, wide = (1 + (before - after) % 2 for before, after in zip(bottom[2:], top[2:], strict=True))
        return View((high, wide))

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        top = bottom.detach()
        if self.crop is not None:
            top = crop_center(top, self.crop)
        mean = self._mean(top)
        if mean is not None:
            top = top - mean
        if self.top_count == 1:
            return top
        return top, top.new_zeros((len(top), _COEFFICIENTS, 1, 1))

    def _mean(self, top: Tensor) -> Tensor | None:
        """What to subtract; a pass before the mean is settled has its share in it."""
        if self.fixed_mean is not None:
            return top.new_tensor(self.fixed_mean).view(1, -1, 1, 1)
        if not self.wanted:
            return None
        if not top.is_meta and not self.settled:
            self._check_size(top)
            with torch.no_grad():
                self.batches.add_(1)
                self.mean_picture.lerp_(top.mean(0, keepdim=True), 1 / float(self.batches.flatten()[0]))
                self.mean_values.copy_(self.mean_picture.mean((2, 3), keepdim=True))
        if self.per_pixel:
            self._check_size(top)
            return self.mean_picture.detach()
        return self.mean_values.detach()

    def _check_size(self, top: Tensor) -> None:
        if top.shape[2:] != self.mean_picture.shape[2:]:
            made, has = (" x ".join(map(str, x.shape[2:])) for x in (top, self.mean_picture))
            raise LayerError(
                f"layer {self.param.name!r} ({self.type}): its mean is a picture of {has}, the input {made}"
            )
