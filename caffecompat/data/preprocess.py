"""From a picture to what the net takes in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from caffecompat import glog
from caffecompat.data.per_channel import check_per_channel
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.mean import read_mean
from caffecompat.schema import pb
from caffecompat.schema.data_layers import is_input

__all__ = ["Preprocess", "choose_preprocess", "describe", "is_set", "stated_preprocess", "stated_transform"]


@dataclass(frozen=True)
class Preprocess:
    """How pixels become inputs: ``(pixel - mean) * scale / std - subtract``, channel by channel in B, G, R order.

    Caffe's transform_param has `mean` and `scale`, ours `std` too. `subtract` is for scripts that scale first and then
    take something off, as those that made the segmentation tutorial's published pictures do: ``pixel * 0.022 - 0.284``.

    Attributes:
        mean, subtract: one value, or one a channel; empty for none.
        scale: the factor.
        std: one value, or one a channel, all above 0; empty for 1.

    Raises:
        CaffeCompatError: a value is no finite number, or a std is not above 0.

    >>> import caffecompat, numpy
    >>> picture = numpy.full((4, 6, 3), 200, numpy.uint8)  # (H, W, C), B, G, R
    >>> batch = caffecompat.Preprocess(mean=(104, 117, 123), scale=0.5)(picture, 8, 8)
    >>> (batch.shape, batch.dtype.name, batch[0, :, 0, 0].tolist())
    ((1, 3, 8, 8), 'float32', [48.0, 41.5, 38.5])
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    subtract: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "scale", "subtract", "std"):
            given = getattr(self, name)
            try:
                values = tuple(np.asarray(() if given is None else given, np.float64).reshape(-1).tolist())
            except (TypeError, ValueError):
                values = (math.nan,)
            if not all(map(math.isfinite, values)) or (name == "scale" and len(values) != 1):
                wanted = "a finite number" if name == "scale" else "finite numbers, one or one a channel"
                raise CaffeCompatError(f"{name} {given!r}: expected {wanted}")
            object.__setattr__(self, name, values[0] if name == "scale" else values)
        if any(value <= 0 for value in self.std):
            raise CaffeCompatError(f"std {self.std!r}: expected numbers above 0")

    @classmethod
    def of(cls, transform: pb.TransformationParameter) -> Preprocess:
        """What a TransformationParameter states, but for a mean file."""
        return cls(tuple(transform.mean_value), transform.scale, std=tuple(transform.std_value))

    @property
    def factors(self) -> tuple[float, ...]:
        """scale / std: one value, or one a channel."""
        return tuple(self.scale / value for value in self.std) or (self.scale,)

    def __str__(self) -> str:
        parts = [f"mean {','.join(f'{value:g}' for value in self.mean)}"] if self.mean else []
        parts += [f"scale {self.scale:g}"] if self.scale != 1 else []
        parts += [f"std {','.join(f'{value:g}' for value in self.std)}"] if self.std else []
        parts += [f"subtract {','.join(f'{value:g}' for value in self.subtract)}"] if self.subtract else []
        return ", ".join(parts) or "raw pixels"

    def __call__(self, picture: np.ndarray, height: int, width: int) -> np.ndarray:
        """A picture as a batch of one.

        Args:
            picture: (H, W, C) uint8 or uint16, BGR.
            height, width: the net's input; the picture is resized to it bilinearly, as floats, before anything else.

        Returns:
            (1, C, height, width) float32, a view of (1, height, width, C) memory.

        Raises:
            CaffeCompatError: `mean`, `std` or `subtract` has neither one value nor one a channel.
        """
        from caffecompat.formats.picture import resize_picture

        channels = picture.shape[2]
        pixels = resize_picture(picture.astype(np.float32), height, width)
        if self.mean:
            pixels = pixels - _per_channel(self.mean, channels, "mean")
        if self.std:
            _per_channel(self.std, channels, "std")
        if self.factors != (1,):
            pixels = pixels * np.array(self.factors, np.float32)
        if self.subtract:
            pixels = pixels - _per_channel(self.subtract, channels, "subtract")
        batch: np.ndarray = np.ascontiguousarray(pixels).transpose(2, 0, 1)[None]
        return batch


def is_set(transform: pb.TransformationParameter) -> bool:
    """Whether a TransformationParameter states a mean, a scale or a std."""
    return bool(transform.mean_file or transform.mean_value or transform.HasField("scale") or transform.std_value)


def describe(transform: pb.TransformationParameter) -> str:
    """What a TransformationParameter does to pixels, in words."""
    preprocess = Preprocess.of(transform)
    if not transform.mean_file:
        return str(preprocess)
    file = f"mean file {transform.mean_file}"
    return file if preprocess.factors == (1,) else f"{file}, {preprocess}"


def stated_transform(layers: Iterable[pb.LayerParameter]) -> pb.TransformationParameter | None:
    """The transform_param by which an Input layer states how its pictures are prepared; None where none does.

    ``export deploy`` writes it, and so does Xilinx' vai_q_caffe; Caffe itself reads over it.
    """
    inputs = (layer.transform_param for layer in layers if is_input(layer))
    return next((transform for transform in inputs if is_set(transform)), None)


def stated_preprocess(
    layers: Iterable[pb.LayerParameter], relative_to: str | os.PathLike[str] | None
) -> Preprocess | None:
    """What an Input layer states of its pictures (see `stated_transform`); a mean file counts by its channels' means.

    Args:
        layers: LayerParameters of a deploy net.
        relative_to: the prototxt, next to which a mean file may be.

    Raises:
        MeanError: the mean file cannot be read.
    """
    transform = stated_transform(layers)
    if transform is None:
        return None
    if not transform.mean_file:
        return Preprocess.of(transform)
    mean = read_mean(transform.mean_file, relative_to).mean((1, 2), dtype=np.float64)
    return replace(Preprocess.of(transform), mean=tuple(mean.tolist()))


def choose_preprocess(
    layers: Iterable[pb.LayerParameter], path: str | os.PathLike[str], given: Preprocess | None = None
) -> Preprocess:
    """How pictures for a net are prepared: as given, else as its Input layer states; a log line says the second.

    Where neither says anything a warning does: few nets are trained on raw pixels.

    Args:
        layers: LayerParameters of a deploy net.
        path: its prototxt, next to which a mean file may be.

    Raises:
        MeanError: the mean file cannot be read.
    """
    layers = list(layers)
    if given is not None:
        transform = stated_transform(layers)
        if transform is not None and str(given) != describe(transform):
            glog.warning(
                f"{path} says of its pictures: {describe(transform)}; the settings given say: {given}, and count"
            )
        return given
    stated = stated_preprocess(layers, path)
    if stated is None:
        glog.warning(
            "no --mean, --scale, --std or --subtract: the net gets raw pixels (0 to 255); was it trained on them?"
        )
        return Preprocess()
    glog.info(f"pictures are prepared as {path} says: {stated}")
    return stated


def _per_channel(values: Sequence[float], channels: int, name: str) -> np.ndarray:
    check_per_channel(values, channels, f"{name} value", CaffeCompatError, "; the net takes gray pictures: give 1")
    return np.array(values, np.float32)
