"""All that `transform_param` does to the records of one layer, in its order."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from caffecompat.data.augment.distort import Distortion
from caffecompat.data.augment.noise import Noise
from caffecompat.data.augment.rand_augment import RandAugment
from caffecompat.data.augment.random_erase import RandomErase
from caffecompat.data.augment.random_resize import RandomResize
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.sampled_part import SampledPart
from caffecompat.data.boxes import mirrored
from caffecompat.data.source import AugmentError, DataError, Request
from caffecompat.data.transform import Draw, Transformer, Window, cut
from caffecompat.forks import Fork

__all__ = ["Augmentation", "Augmented"]


class Augmented(NamedTuple):
    """A sample after all that changes its bytes, and the window of it that goes into the batch.

    Attributes:
        generator: of what is random about the floats; None where that is nothing.
    """

    picture: np.ndarray
    label: np.ndarray | None
    objects: np.ndarray | None
    window: Window
    generator: np.random.Generator | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the picture in the batch."""
        return self.window.height, self.window.width, self.picture.shape[2]

    @property
    def label_shape(self) -> tuple[int, int, int]:
        """(H, W, 1) of the label picture in the batch."""
        window = self.label_window
        return window.height, window.width, 1

    @property
    def label_window(self) -> Window:
        """The window of the label picture, which lacks no part where it has another size than the picture."""
        assert self.label is not None
        height, width = self.label.shape[:2]
        if (height, width) == self.picture.shape[:2]:
            return self.window
        return Window(0, 0, height, width, self.window.mirror)


class Augmentation:
    """The `transform_param` of one layer; what readers call.

    In order, on a sample's bytes: distort_param, in AnnotatedData with SSD's expand_param and samplers; Jacinto's
    random resize; resize_param; noise_param; rand_augment_param (TRAIN). Then crop and mirror, mean and scale as floats
    (`Transformer`), and random_erase_param (TRAIN).

    Attributes:
        transformer: crop, mirror, mean and scale.
    """

    def __init__(self, request: Request, *, mean_file_allowed: bool = True, resizes: bool | None = None) -> None:
        """`resizes`: whether the layer obeys resize_param and noise_param; by default all but Xilinx's do."""
        param = request.layer.transform_param
        resizes = request.fork is not Fork.XILINX if resizes is None else resizes
        if param.HasField("noise_param") and not resizes:
            raise DataError("transform_param has noise_param, which this layer does not support")
        self._part = SampledPart.of(request.layer)
        self._distortion = None if self._part else Distortion.of(param)
        self.transformer = Transformer(request, mean_file_allowed=mean_file_allowed, resizes=resizes)
        self._random_resize = RandomResize.of(param)
        self._resize = Resize.of(param) if resizes else None
        self._noise = Noise.of(param)
        rand_augment, erase = RandAugment.of(request.layer, self.transformer.mean_color), RandomErase.of(param)
        self._rand_augment = rand_augment if request.train else None
        self._erase = erase if request.train else None
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None

    @property
    def same_for_all(self) -> bool:
        """Whether each pixel's value alone decides what becomes of it: nothing cut, mirrored or read from a file."""
        changed = self._draws or self._resize or self._part
        return self.transformer.same_for_all and not changed

    @property
    def _draws(self) -> bool:
        """Whether anything but crop and mirror is random."""
        several = self._resize is not None and self._resize.choices > 1
        operations = self._distortion, self._random_resize, self._noise, self._rand_augment, self._erase
        return several or any(operation is not None for operation in operations)

    def draw(self, generator: random.Random) -> Draw | None:
        """The random numbers of the next record; None where nothing is random."""
        return Draw.of(generator) if self._draws or self.transformer.draws else None

    def __call__(self, sample: Sample, draw: Draw | None) -> Augmented:
        """The sample as the batch has it, but for its floats.

        Args:
            draw: what is random; None for the first record, looked at for its shape, or where nothing is.

        Raises:
            AugmentError: the sample does not suit transform_param.
        """
        try:
            return self._finished(sample, draw)
        except DataError as error:
            raise AugmentError(str(error)) from None

    def seeded(self, sample: Sample, seed: int | None) -> Augmented:
        """As a call, with all that is random drawn from one seed: how much that is depends on the sample's boxes."""
        if seed is None:
            return self(sample, None)
        generator = np.random.default_rng(seed)
        try:
            if self._part is not None:
                sample = self._part(sample, generator)
            return self._finished(sample, Draw(*generator.integers(0, 1 << 32, 4).tolist()))
        except DataError as error:
            raise AugmentError(str(error)) from None

    def _finished(self, sample: Sample, draw: Draw | None) -> Augmented:
        chance = draw.scale if draw is not None else 0
        generator = np.random.default_rng(chance)
        if self._distortion is not None:
            sample = self._distortion(sample, generator)
        if self._random_resize is not None:
            sample = self._random_resize(sample, generator)
        size = sample.size
        if self._resize is not None:
            sample = self._resize(sample, chance % self._resize.choices)
        if self._noise is not None:
            sample = self._noise(sample, generator)
        if self._rand_augment is not None:
            sample = self._rand_augment(sample, generator)
        return self._cropped(sample, size, draw)._replace(generator=generator)

    def _cropped(self, sample: Sample, size: tuple[int, int], draw: Draw | None) -> Augmented:
        """The window of the sample, and its objects in it; `size` is that before resize_param."""
        self.transformer.output_shape(*sample.picture.shape)  # does the crop fit?
        window = self.transformer.window(*sample.size, draw)
        if sample.objects is not None:
            sides = np.array(sample.size[::-1], np.float32)
            begin = np.array([window.left, window.top], np.float32)
            part = np.concatenate([begin / sides, (begin + (window.width, window.height)) / sides]).astype(np.float32)
            sample = sample.seen_in(part, self._emit)
            boxes = sample.boxes
            assert boxes is not None
            if window.mirror:
                boxes = mirrored(boxes)
            if self._resize is not None:
                boxes = self._resize.extrapolated(boxes, *size, part)
            sample = sample.with_boxes(boxes)
        return Augmented(sample.picture, sample.label, sample.objects, window)

    def place(self, augmented: Augmented, out: np.ndarray) -> None:
        """Write the picture into its row (h, w, C) float32 of the batch."""
        self.transformer.place(augmented.picture, augmented.window, out)
        if self._erase is not None and augmented.generator is not None:
            self._erase(out, augmented.generator)

    @staticmethod
    def label(augmented: Augmented) -> np.ndarray:
        """(h, w, 1) the label picture's part in the batch, in its own type."""
        assert augmented.label is not None
        return cut(augmented.label, augmented.label_window)
