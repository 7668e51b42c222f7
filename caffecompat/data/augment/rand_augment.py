"""`rand_augment_param`: RandAugment with the operations, magnitudes and draws of timm (timm/data/auto_augment.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffecompat.data.augment import affine, color
from caffecompat.data.augment.fill import ignored_label
from caffecompat.data.augment.rand_augment_policy import MAGNITUDES, RandAugmentPolicy
from caffecompat.data.augment.sample import Sample
from caffecompat.data.per_channel import check_per_channel
from caffecompat.data.source import DataError
from caffecompat.schema import pb

__all__ = ["RandAugment"]

_GRAY = 128.0  # timm's fill without a mean
Argument = Callable[[float, np.random.Generator], float]


class RandAugment:
    """A RandAugmentParameter: some operations drawn for each picture, each done with a probability.

    Rotation, shears and translations move label pictures (nearest neighbor, filled with the ignore label) and boxes
    (to the upright rectangle around the moved box, cut off at the picture's edge) with the picture, which is
    bilinear or bicubic by the toss of a coin and filled with the mean color. All other operations leave labels alone.
    Pictures are uint8, BGR or gray; color operations leave gray ones as they are.
    """

    def __init__(self, policy: RandAugmentPolicy, mean: np.ndarray | None, ignore_label: int) -> None:
        """`mean` (1 or C values) fills what comes to lie outside; without one it is 128, as in timm."""
        self._policy = policy
        self._names = list(self._policy.operations)
        weights = np.array(list(self._policy.operations.values()))
        self._weights = weights / weights.sum()
        self._mean = np.full(1, _GRAY) if mean is None else np.rint(mean).clip(0, 255)
        self._ignore_label = ignore_label

    @classmethod
    def of(cls, layer: pb.LayerParameter, mean: np.ndarray | None) -> RandAugment | None:
        """What the transform_param of a layer asks for, or None; `mean` as above."""
        param = layer.transform_param.rand_augment_param
        if not layer.transform_param.HasField("rand_augment_param"):
            return None
        if not param.policy:
            raise DataError('rand_augment_param needs a policy, as "rand-m9-mstd0.5-inc1"')
        return cls(RandAugmentPolicy.parse(param.policy), mean, ignored_label(layer))

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        picture = sample.picture
        if picture.dtype != np.uint8 or picture.shape[2] not in (1, 3):
            raise DataError(
                f"rand_augment_param needs 8-bit pictures of 1 or 3 channels; this one has {picture.shape[2]} of "
                f"{picture.dtype}"
            )
        policy = self._policy
        chosen = generator.choice(len(self._names), policy.count, replace=policy.replaced, p=self._weights)
        for number in chosen.tolist():
            if policy.probability == 1 or generator.random() < policy.probability:
                sample = self._changed(sample, self._names[number], self._magnitude(generator), generator)
        return sample

    def _magnitude(self, generator: np.random.Generator) -> float:
        policy = self._policy
        magnitude = float(policy.magnitude)
        if np.isinf(policy.deviation):
            magnitude = generator.uniform(0, magnitude)
        elif policy.deviation:
            magnitude = generator.normal(magnitude, policy.deviation)
        return min(max(magnitude, 0.0), policy.most)

    def _changed(self, sample: Sample, name: str, magnitude: float, generator: np.random.Generator) -> Sample:
        level = magnitude / MAGNITUDES
        if name in _COLOR:
            argument, operation = _COLOR[name]
            return sample._replace(picture=operation(sample.picture, argument(level, generator)))
        argument, matrix = _GEOMETRY[name]
        height, width = sample.size
        return self._moved(sample, matrix(argument(level, generator), height, width), bool(generator.random() < 0.5))

    def _moved(self, sample: Sample, matrix: np.ndarray, cubic: bool) -> Sample:
        height, width, channels = sample.picture.shape
        check_per_channel(self._mean, channels, "mean_value")
        fill = np.broadcast_to(self._mean, channels).tolist()
        moved = sample._replace(picture=affine.move_picture(sample.picture, matrix, fill, cubic=cubic))
        if sample.label is not None:
            label = affine.move_labels(sample.label, matrix, (height, width), self._ignore_label)
            moved = moved._replace(label=label)
        if sample.boxes is not None:
            moved = moved.with_boxes(affine.move_boxes(sample.boxes, matrix, height, width))
        return moved


def _signed(value: float, generator: np.random.Generator) -> float:
    """Either sign by the toss of a coin."""
    return -value if generator.random() < 0.5 else value


def _none(level: float, generator: np.random.Generator) -> float:
    return 0.0


def _both_ways(most: float) -> Argument:
    return lambda level, generator: _signed(level * most, generator)


def _between(low: float, high: float) -> Argument:
    return lambda level, generator: low + (high - low) * min(level, 1.0)


def _enhancement(level: float, generator: np.random.Generator) -> float:
    return level * 1.8 + 0.1


def _growing_enhancement(level: float, generator: np.random.Generator) -> float:
    return max(0.1, 1 + _signed(level * 0.9, generator))


def _bits(level: float, generator: np.random.Generator) -> float:
    return int(level * 4)


def _fewer_bits(level: float, generator: np.random.Generator) -> float:
    return max(0, 4 - int(level * 4))


def _threshold(level: float, generator: np.random.Generator) -> float:
    return min(256, int(level * 256))


def _falling_threshold(level: float, generator: np.random.Generator) -> float:
    return 256 - min(256, int(level * 256))


def _addition(level: float, generator: np.random.Generator) -> float:
    return min(128, int(level * 110))


# What a level (magnitude / 10) makes of it, and the operation.
_COLOR: dict[str, tuple[Argument, Callable[[np.ndarray, float], np.ndarray]]] = {
    "AutoContrast": (_none, lambda picture, _: color.auto_contrast(picture)),
    "Equalize": (_none, lambda picture, _: color.equalize(picture)),
    "Invert": (_none, lambda picture, _: ~picture),
    "Posterize": (_bits, lambda picture, bits: color.posterize(picture, min(int(bits), 8))),
    "PosterizeIncreasing": (_fewer_bits, lambda picture, bits: color.posterize(picture, int(bits))),
    "Solarize": (_threshold, lambda picture, threshold: color.solarize(picture, int(threshold))),
    "SolarizeIncreasing": (_falling_threshold, lambda picture, threshold: color.solarize(picture, int(threshold))),
    "SolarizeAdd": (_addition, lambda picture, amount: color.solarize_add(picture, int(amount))),
    "Color": (_enhancement, color.adjust_saturation),
    "ColorIncreasing": (_growing_enhancement, color.adjust_saturation),
    "Contrast": (_enhancement, color.adjust_contrast),
    "ContrastIncreasing": (_growing_enhancement, color.adjust_contrast),
    "Brightness": (_enhancement, color.adjust_brightness),
    "BrightnessIncreasing": (_growing_enhancement, color.adjust_brightness),
    "Sharpness": (_enhancement, color.adjust_sharpness),
    "SharpnessIncreasing": (_growing_enhancement, color.adjust_sharpness),
    "Desaturate": (_between(0.5, 1), lambda picture, amount: color.adjust_saturation(picture, 1 - amount)),
    "GaussianBlur": (_between(0.1, 2), color.blur),
}
_GEOMETRY: dict[str, tuple[Argument, Callable[[float, int, int], np.ndarray]]] = {
    "Rotate": (_both_ways(30), affine.rotation),
    "ShearX": (_both_ways(0.3), lambda factor, height, width: affine.shear_x(factor)),
    "ShearY": (_both_ways(0.3), lambda factor, height, width: affine.shear_y(factor)),
    "TranslateXRel": (_both_ways(0.45), lambda share, height, width: affine.translation(share * width, 0)),
    "TranslateYRel": (_both_ways(0.45), lambda share, height, width: affine.translation(0, share * height)),
}
