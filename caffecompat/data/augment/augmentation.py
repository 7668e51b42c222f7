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
from caffecompat.data.augment.resampling import padded, part_of
from caffecompat.data.augment.resize import Resize
from caffecompat.data.augment.sample import Sample
from caffecompat.data.augment.sampled_part import SampledPart
from caffecompat.data.augment.scale_jitter import ScaleFactors
from caffecompat.data.boxes import FULL, mirrored
from caffecompat.data.source import AugmentError, DataError, Request
from caffecompat.data.transform import Draw, Transformer, Window, turned
from caffecompat.forks import Fork
from caffecompat.formats.picture import Rows

__all__ = ["Augmentation", "Augmented"]

_Operation = TypeVar("_Operation")
_UNUSED = np.random.default_rng(0)  # where nothing draws from it; to make one takes longer than to cut a picture


class Augmented(NamedTuple):
    """What of a sample goes into the batch, after all that changes its bytes but mirroring.

    Attributes:
        picture: (h, w, C). `label`: (h, w, 1), of another size where its layer divides it.
        window: of the whole picture that this is, and whether it is mirrored.
        size: (height, width) of what the picture shows: without padding and, as PSPNet's Caffe has it for its third
            top, before scale_factors.
        generator: of what is random about the floats (`Augmentation.erase`); None where that is nothing.
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
        height, width, channels = self.picture.shape
        return height, width, channels

    @property
    def label_shape(self) -> tuple[int, int, int]:
        """(H, W, 1) of the label picture in the batch."""
        assert self.label is not None
        height, width, channels = self.label.shape
        return height, width, channels


class Augmentation:
    """The `transform_param` of one layer; what readers call.

    In order, on a sample's bytes: distort_param; expand_param, in AnnotatedData with SSD's samplers; one of the ways to
    bring pictures to a size (`geometry`), scale_factors; resize_param; noise_param; the crop; rand_augment_param in
    TRAIN, as timm does it after the crop; padding up to the crop, whose color nothing changes any more; mirror. Then
    mean, scale and std as floats (`Transformer`), and random_erase_param in TRAIN.

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

    @property
    def erases(self) -> bool:
        """Whether random_erase_param overwrites floats."""
        return self._erase is not None

    def draw(self, generator: random.Random) -> Draw | None:
        """The random numbers of the next record; None where nothing is random."""
        return Draw.of(generator) if self._draws or self.transformer.draws else None

    def rows(self, draw: Draw | None) -> Rows | None:
        """How many rows from the top it looks at of a picture that is given with that draw; None: at all of them."""
        if self._pads or any((self._part, self._distortion, self._expansion, self._random_resize, self._noise)):
            return None
        if any((self._geometry, self._scale_factors, self._resize)) or self.transformer.crop is None:
            return None
        return lambda height, width: self.transformer.window(height, width, draw).bottom

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
        generator = np.random.default_rng(chance) if self._draws else _UNUSED
        for operation in (self._distortion, self._expansion, self._random_resize, self._geometry):
            if operation is not None:
                sample = operation(sample, generator)
        shown = sample.size
        if self._scale_factors is not None:
            sample = self._scale_factors(sample, chance)
        before = sample.size
        if self._resize is not None:
            sample = self._resize.chosen(sample, chance % self._resize.choices)
            shown = sample.size
        if self._noise is not None:
            sample = self._noise(sample, generator)
        window, whole = self._window(sample, draw), sample.size
        sample = self._seen(sample, window)
        if self._rand_augment is not None:
            sample = self._rand_augment(sample, generator).seen_in(FULL, self._emit)
        sample = self._padded(sample, window)
        boxes = sample.boxes
        if boxes is not None and window.mirror:
            boxes = mirrored(boxes)
        if boxes is not None and self._resize is not None:
            boxes = self._resize.extrapolated(boxes, *before, window.share(*whole))
        sample = sample.with_boxes(boxes)
        kept = generator if self.erases else None
        return Augmented(sample.picture, sample.label, sample.objects, window, shown, kept)

    def _window(self, sample: Sample, draw: Draw | None) -> Window:
        """What of the sample, padded to the size of the crop where it lacks that, goes into the batch."""
        height, width = sample.size
        if self._pads:
            height, width = map(max, sample.size, self.transformer.crop or (0, 0))
        self.transformer.output_shape(height, width, sample.picture.shape[2])  # does the crop fit?
        return self.transformer.window(height, width, draw)

    def _seen(self, sample: Sample, window: Window) -> Sample:
        """The part of the sample that lies in the window."""
        height, width = sample.size
        height, width = min(window.height, height - window.top), min(window.width, width - window.left)
        if (height, width) == sample.size:
            return sample.seen_in(FULL, self._emit)
        return part_of(sample, window.top, window.left, height, width, self._emit)

    def _padded(self, sample: Sample, window: Window) -> Sample:
        """The sample as large as the window."""
        size = window.height, window.width
        if sample.size == size:
            return sample
        mean = self.transformer.mean_color
        pixel = mean_pixel([] if mean is None else mean, sample.picture.shape[2])
        return padded(sample, (0, 0), size, pixel, self._ignore_label)

    def place(self, augmented: Augmented, out: np.ndarray) -> None:
        """Write the picture into its row (h, w, C) float32 of the batch."""
        self.transformer.place(augmented.picture, augmented.window, out)
        if augmented.generator is not None:
            self.erase(out, augmented.generator)

    def erase(self, out: np.ndarray, generator: np.random.Generator) -> None:
        """Overwrite what random_erase_param says of a row (h, w, C) float32 of the batch.

        Args:
            generator: the picture's own.
        """
        if self._erase is not None:
            self._erase(out, generator)

    @staticmethod
    def picture(augmented: Augmented) -> np.ndarray:
        """(h, w, C) the picture as the batch has it, but before mean, scale and std."""
        return turned(augmented.picture, augmented.window)

    @staticmethod
    def label(augmented: Augmented) -> np.ndarray:
        """(h, w, 1) the label picture as the batch has it, in its own type."""
        assert augmented.label is not None
        return turned(augmented.label, augmented.window)


def _of_training(request: Request, operation: _Operation | None, field: str) -> _Operation | None:
    """The operation in TRAIN; in TEST none, with a warning that it is not done."""
    if operation is None or request.train:
        return operation
    glog.warning(f"{request.layer.name}: {field} is for TRAIN; pictures of TEST stay as they are")
    return None
