"""The text of a RandAugment policy, in the grammar of timm's `--aa`: ``rand-m9-mstd0.5-inc1``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from caffecompat.data.source import DataError

__all__ = ["MAGNITUDES", "RandAugmentPolicy"]

MAGNITUDES = 10  # the magnitude of an operation's whole range
_MOST = 100  # of each whole number of a policy, so that a typing error neither hangs nor overflows
_PLAIN = [
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
]
_INCREASING = {"Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"}
_THREE = dict.fromkeys(("SolarizeIncreasing", "Desaturate", "GaussianBlur"), 1.0)
_WEIGHTED_THREE = {
    **dict.fromkeys(_THREE, 6.0),
    "Rotate": 3.0,
    "ShearX": 2.0,
    "ShearY": 2.0,
    "PosterizeIncreasing": 1.0,
    "AutoContrast": 1.0,
    "ColorIncreasing": 1.0,
    "SharpnessIncreasing": 1.0,
    "ContrastIncreasing": 1.0,
    "BrightnessIncreasing": 1.0,
    "Equalize": 1.0,
    "Invert": 1.0,
}
_WEIGHTED = {
    "Rotate": 3.0,
    "ShearX": 2.0,
    "ShearY": 2.0,
    "TranslateXRel": 1.0,
    "TranslateYRel": 1.0,
    "ColorIncreasing": 0.25,
    "SharpnessIncreasing": 0.25,
    "AutoContrast": 0.25,
    "SolarizeIncreasing": 0.05,
    "SolarizeAdd": 0.05,
    "ContrastIncreasing": 0.05,
    "BrightnessIncreasing": 0.05,
    "Equalize": 0.05,
    "PosterizeIncreasing": 0.05,
    "Invert": 0.05,
}
# Of timm before 0.8, by names without "Increasing".
_OLD_WEIGHTS = {
    "Rotate": 0.3,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateXRel": 0.1,
    "TranslateYRel": 0.1,
    "Color": 0.025,
    "Sharpness": 0.025,
    "AutoContrast": 0.025,
    "Solarize": 0.005,
    "SolarizeAdd": 0.005,
    "Contrast": 0.005,
    "Brightness": 0.005,
    "Equalize": 0.005,
    "Posterize": 0.0,
    "Invert": 0.0,
}
_SETS = {"weights": _WEIGHTED, "3a": _THREE, "3aw": _WEIGHTED_THREE}
_GRAMMAR = (
    "a policy is 'rand' and, each after a '-', any of m9 (magnitude, a whole number), n2 (operations a picture), p0.5 "
    "(probability of each), mstd0.5 (deviation of the magnitude; inf or more than 100: uniform from 0), mmax10 "
    "(largest magnitude), inc1 (operations that grow with it), tweights, t3a, t3aw or w0 (sets of operations)"
)


@dataclass(frozen=True)
class RandAugmentPolicy:
    """What a policy says.

    Attributes:
        operations: their names in timm, and their weights.
        replaced: an operation may be drawn several times for one picture (timm: where all weights are equal).
        count: how many are drawn for a picture.
        probability: with which each drawn one is done.
        magnitude: mean of the magnitude; the top of its range where `deviation` is infinite.
        deviation: of the normal distribution of the magnitude; 0 for none, infinite for a uniform one.
        most: no magnitude is more.
    """

    operations: dict[str, float]
    replaced: bool = True
    count: int = 2
    probability: float = 0.5
    magnitude: int = MAGNITUDES
    deviation: float = 0.0
    most: int = MAGNITUDES

    @classmethod
    def parse(cls, text: str) -> RandAugmentPolicy:
        """Read a policy.

        >>> policy = RandAugmentPolicy.parse("rand-m9-mstd0.5-inc1")
        >>> policy.magnitude, policy.deviation, policy.count, "PosterizeIncreasing" in policy.operations
        (9, 0.5, 2, True)

        Raises:
            DataError: it is none; the message names the piece that is wrong.
        """
        start, *pieces = text.split("-")
        if start != "rand":
            raise _mistake(text, start)
        found: dict[str, Any] = {}
        for piece in pieces:
            key, value = _read(text, piece)
            if key in found:
                raise DataError(f"rand_augment_param.policy {text!r}: {piece!r} gives {key} a second time")
            found[key] = value
        operations, replaced = _operations(text, found)
        policy = cls(operations, replaced, **{name: found[key] for key, name in _FIELDS.items() if key in found})
        possible = sum(weight > 0 for weight in operations.values())
        if not replaced and policy.count > possible:
            raise DataError(
                f"rand_augment_param.policy {text!r}: n{policy.count} draws more operations than the {possible} that "
                f"the set has, and a weighted set gives none twice"
            )
        return policy


_FIELDS = {"m": "magnitude", "n": "count", "p": "probability", "mstd": "deviation", "mmax": "most"}


def _mistake(text: str, piece: str) -> DataError:
    return DataError(f"rand_augment_param.policy {text!r}: {piece!r} is unknown; {_GRAMMAR}")


def _read(text: str, piece: str) -> tuple[str, Any]:
    """The key and the value of one piece."""
    if piece.startswith("t"):
        if piece[1:] not in _SETS:
            raise _mistake(text, piece)
        return "t", piece[1:]
    matched = re.fullmatch(r"(m|n|p|mstd|mmax|inc|w)(inf|\d.*)", piece)
    if matched is None:
        raise _mistake(text, piece)
    key, number = matched.groups()
    wanted, convert, allowed = _VALUES[key]
    try:
        value = convert(number)
        if allowed(value):
            return key, value
    except ValueError:
        pass
    raise DataError(f"rand_augment_param.policy {text!r}: {piece!r} needs {wanted} after {key}; {_GRAMMAR}")


def _deviation(number: str) -> float:
    value = float(number)
    return math.inf if value > 100 else value


_VALUES: dict[str, tuple[str, Callable[[str], Any], Callable[[Any], bool]]] = {
    "m": (f"a whole number of at most {_MOST}", int, lambda value: value <= _MOST),
    "n": (f"a whole number from 1 to {_MOST}", int, lambda value: 1 <= value <= _MOST),
    "p": ("a number from 0 to 1", float, lambda value: 0 <= value <= 1),
    "mstd": ("a number", _deviation, lambda value: not math.isnan(value)),
    "mmax": (f"a whole number from 1 to {_MOST}", int, lambda value: 1 <= value <= _MOST),
    "inc": ("a whole number", lambda number: bool(int(number)), lambda value: True),
    "w": ("0, the only set of weights", int, lambda value: value == 0),
}


def _operations(text: str, found: dict[str, Any]) -> tuple[dict[str, float], bool]:
    """The operations with their weights, and whether one may come several times."""
    increasing = found.get("inc", False)
    names = [name + "Increasing" if increasing and name in _INCREASING else name for name in _PLAIN]
    if "t" in found:
        if "w" in found:
            raise DataError(f"rand_augment_param.policy {text!r}: 't{found['t']}' and 'w0' both give a set")
        return _SETS[found["t"]], found["t"] == "3a"
    if "w" in found:
        return {name: _OLD_WEIGHTS[plain] for name, plain in zip(names, _PLAIN, strict=True)}, False
    return dict.fromkeys(names, 1.0), True
