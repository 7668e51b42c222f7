"""All that `transform_param` does to the records of one layer, in its order."""

from __future__ import annotations

import random
from typing import NamedTuple, TypeVar

import numpy as np

from caffecompat import glog
from caffecompat.data.augment.distort import Distortion
from caffecompat.data.augment.expansion import Expansion
from caffecompat.data.augment.fill import ignored_label, mean_pixel
from caffecompat.data.augment.geometry import geometry, named_geometry, refuse_combinations
from caffecompat.data.augment.noise import Noise
from caffecompat.data.augment.rand_augment import RandAugment
from caffecompat.data.augment.random_erase import RandomErase
from caffecompat.data.augment.random_resize import RandomResize
from caffecompat.data.augment.resampling import padded
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.sampled_part import SampledPart
from caffecompat.data.augment.scale_jitter import ScaleFactors
from caffecompat.data.boxes import mirrored
from caffecompat.data.source import AugmentError, DataError, Request
from caffecompat.data.transform import Draw, Transformer, Window, cut
from caffecompat.forks import Fork

__all__ = ["Augmentation", "Augmented"]

_Operation = TypeVar("_Operation")


class Augmented(NamedTuple):
    """A sample after all that changes its bytes, and the window of it that goes into the batch.

    Attributes:
        size: (height, width) of what the picture shows: without padding and, as PSPNet's Caffe has it for its third
            top, before scale_factors.
        generator: of what is random about the floats; None where that is nothing.
    """

    picture: np.ndarray
    label: np.ndarray | None
    objects: np.ndarray | None
    window: Window
    size: tuple[int, int]
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

    In order, on a sample's bytes: distort_param; expand_param, in AnnotatedData with SSD's samplers; one of the ways to
    bring pictures to a size (`geometry`), scale_factors, padding; resize_param; noise_param; rand_augment_param in
    TRAIN. Then crop and mirror, mean, scale and std as floats (`Transformer`), and random_erase_param in TRAIN.

    Attributes:
        transformer: crop, mirror, mean and scale.
        moves: whether anything but crop and mirror changes where things are in a picture.
    """

    def __init__(
        self,
        request: Request,
        *,
        mean_file_allowed: bool = True,
        resizes: bool | None = None,
        pads: bool = False,
    ) -> None:
        """
        Args:
            resizes: whether the layer obeys resize_param and noise_param; by default all but Xilinx's do.
            pads: whether pictures smaller than the crop are padded even where nothing scales them.
        """
        param = request.layer.transform_param
        resizes = request.fork is not Fork.XILINX if resizes is None else resizes
        refuse_combinations(param, resizes=resizes)
        if param.HasField("noise_param") and not resizes:
            raise DataError("transform_param has noise_param, which this layer does not support")
        self._part = SampledPart.of(request.layer)
        self._distortion = None if self._part else Distortion.of(param)
        self.transformer = Transformer(request, mean_file_allowed=mean_file_allowed, resizes=resizes)
        self._ignore_label = ignored_label(request.layer)
        self._expansion = None if self._part else Expansion.of(param, self._ignore_label)
        self._random_resize = RandomResize.of(param)
        self._geometry = geometry(request, self.transformer.crop, self._ignore_label)
        self._scale_factors = ScaleFactors.of(param)
        self._pads = pads or bool({"scale_min", "scale_factors"}.intersection(named_geometry(param)))
        self._resize = Resize.of(param, self._ignore_label) if resizes else None
        self._noise = Noise.of(param)
        self._rand_augment = _of_training(
            request, RandAugment.of(request.layer, self.transformer.mean_color), "rand_augment_param"
        )
        self._erase = _of_training(request, RandomErase.of(param), "random_erase_param")
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None

    @property
    def same_for_all(self) -> bool:
        """Whether each pixel's value alone decides what becomes of it: nothing cut, mirrored or read from a file."""
        return self.transformer.same_for_all and not (self._draws or self.moves)

    @property
    def moves(self) -> bool:
        operations = self._part, self._expansion, self._random_resize, self._geometry, self._scale_factors, self._resize
        return self._pads or any(operation is not None for operation in operations)

    @property
    def _draws(self) -> bool:
        """Whether anything but crop and mirror is random."""
        several = self._resize is not None and self._resize.choices > 1
        sizes = self._expansion, self._random_resize, self._geometry, self._scale_factors
        others = self._distortion, self._noise, self._rand_augment, self._erase
        return several or any(operation is not None for operation in (*sizes, *others))

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
        for operation in (self._distortion, self._expansion, self._random_resize, self._geometry):
            if operation is not None:
                sample = operation(sample, generator)
        shown = sample.size
        if self._scale_factors is not None:
            sample = self._scale_factors(sample, chance)
        if self._pads:
            sample = self._padded(sample)
        size = sample.size
        if self._resize is not None:
            sample = self._resize.chosen(sample, chance % self._resize.choices)
            shown = sample.size
        if self._noise is not None:
            sample = self._noise(sample, generator)
        if self._rand_augment is not None:
            sample = self._rand_augment(sample, generator)
        sample, window = self._cropped(sample, size, draw)
        return Augmented(*sample, window, shown, generator)

    def _padded(self, sample: Sample) -> Sample:
        """The sample at least as large as the crop."""
        size = [max(sides) for sides in zip(sample.size, self.transformer.crop or (0, 0), strict=True)]
        mean = self.transformer.mean_color
        pixel = mean_pixel([] if mean is None else mean, sample.picture.shape[2])
        return padded(sample, (0, 0), (size[0], size[1]), pixel, self._ignore_label)

    def _cropped(self, sample: Sample, size: tuple[int, int], draw: Draw | None) -> tuple[Sample, Window]:
        """The sample with the objects that its window shows, and the window; `size` is that before resize_param."""
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
        return sample, window

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


def _of_training(request: Request, operation: _Operation | None, field: str) -> _Operation | None:
    """The operation in TRAIN; in TEST none, with a warning that it is not done."""
    if operation is None or request.train:
        return operation
    glog.warning(f"{request.layer.name}: {field} is for TRAIN; pictures of TEST stay as they are")
    return None
