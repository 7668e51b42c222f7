"""Pictures on their way into an exported net: what prepares them, and random ones to compare on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from caffecompat.compare.inputs import valid_values
from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.graph import OnnxError
from caffecompat.formats.mean import MeanError, read_mean
from caffecompat.net import Net

if TYPE_CHECKING:
    from caffecompat.deploy.deploy_net import Deployed
    from caffecompat.deploy.onnx.export import ExportOptions

__all__ = ["fit_mean", "is_picture", "prepare", "prepared_inputs", "random_inputs", "with_preprocessing"]

_RECTANGLES = 200  # in a random picture


def is_picture(shape: Sequence[int]) -> bool:
    """Whether a blob of that shape holds pictures: (N, 1 or 3, H, W)."""
    return len(shape) == 4 and shape[1] in (1, 3)


# ------------------------------------------------------------------------------------------------ preprocessing


def with_preprocessing(
    options: ExportOptions, deployed: Deployed, net: Net, relative_to: str | None
) -> tuple[ExportOptions, list[Note]]:
    """The options with the preprocessing of the prototxt's data layer, where none was given; and what to report.

    Args:
        options: `mean_picture` of any size.
        net: its inputs are what the mean picture must fit.
        relative_to: the prototxt, next to which a mean file may be.

    Raises:
        OnnxError: the mean picture is to go into the graph and does not fit, or is not there.
    """
    notes: list[Note] = []
    transform = deployed.transform
    if options.preprocess is None and transform is not None:
        options = replace(options, preprocess=Preprocess.of(transform))
        if transform.mean_file and options.mean_picture is None:
            try:
                options = replace(options, mean_picture=read_mean(transform.mean_file, relative_to))
            except MeanError as problem:
                if options.bake:
                    raise OnnxError(f"{problem}; give --mean-file FILE, or --mean B,G,R") from None
                notes.append(Note("", f"{problem}: the metadata has no mean"))
                options = replace(options, preprocess=None)
    pictures = [shape for shape in net.fed_shapes.values() if is_picture(shape)]
    for name in ("mean", "std", "subtract"):
        count = len(getattr(options.preprocess, name, ()))
        if count > 1 and any(shape[1] != count for shape in pictures):
            raise OnnxError(f"{name} has {count} values, the input {pictures[0][1]} channel(s); give as many, or one")
    if options.mean_picture is None or not pictures:
        return replace(options, mean_picture=None), notes
    options, remarks = _with_mean(options, pictures[0])
    return options, notes + remarks


def _with_mean(options: ExportOptions, shape: Sequence[int]) -> tuple[ExportOptions, list[Note]]:
    """The mean picture as one value a channel where it is that, else as large as the input."""
    mean, p = options.mean_picture, options.preprocess or Preprocess()
    assert mean is not None
    if mean.ndim != 3:
        raise OnnxError(f"mean_picture has the shape {mean.shape}; expected (C, H, W)")
    channels = tuple(float(value) for value in mean.mean((1, 2), dtype=np.float64))
    if (mean == mean[:, :1, :1]).all():
        return replace(options, preprocess=replace(p, mean=tuple(mean[:, 0, 0].tolist())), mean_picture=None), []
    options = replace(options, preprocess=replace(p, mean=channels), mean_picture=None)
    try:
        return replace(options, mean_picture=fit_mean(mean, shape)), []
    except OnnxError as problem:
        if options.bake:
            raise
        return options, [Note("", f"{problem}; the metadata has the means of its channels")]


def fit_mean(mean: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The middle of a mean picture (C, H, W), as BVLC's data_transformer.cpp crops it together with the picture.

    Raises:
        OnnxError: it has other channels than an input of `shape` (N, C, H, W), or is smaller.
    """
    (channels, height, width), wanted = mean.shape, tuple(shape[1:])
    if channels != wanted[0] or height < wanted[1] or width < wanted[2]:
        raise OnnxError(
            f"the mean picture is {width}x{height} with {channels} channel(s), the input {wanted[2]}x{wanted[1]} with "
            f"{wanted[0]}; give a mean picture as large as the input or larger, or --mean with a value a channel"
        )
    top, left = (height - wanted[1]) // 2, (width - wanted[2]) // 2
    return np.ascontiguousarray(mean[:, top : top + wanted[1], left : left + wanted[2]])


def prepared_inputs(inputs: Mapping[str, np.ndarray], options: ExportOptions) -> dict[str, np.ndarray]:
    """What the net itself is fed, where the model takes pixels."""
    return {
        blob: prepare(values, options) if options.bake and is_picture(values.shape) else values
        for blob, values in inputs.items()
    }


def prepare(pixels: np.ndarray, options: ExportOptions) -> np.ndarray:
    """Pixels (N, C, H, W) in B, G, R order as the net's input."""
    p = options.preprocess or Preprocess()
    mean, factor, subtract = (
        np.array(part or (0,), np.float32).reshape(1, -1, 1, 1) for part in (p.mean, p.factors, p.subtract)
    )
    mean = mean if options.mean_picture is None else options.mean_picture
    return np.ascontiguousarray((pixels - mean) * factor - subtract, np.float32)


# ------------------------------------------------------------------------------------------------ random inputs


def random_inputs(net: Net, options: ExportOptions, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs for a net's fed blobs.

    Pictures are random scenes of rectangles: pixels through the preprocessing where that is known, else of mean 0 and
    deviation 1. White noise would be no fair input: in a net that normalizes by each batch's statistics (ENet) it
    leaves some channels nearly constant, which magnifies rounding of any float32 computation. Blobs that layers read
    as indices, masks or regions are such; the rest is normally distributed.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {}
    for blob in net.fed:
        shape = net.fed_shapes[blob]
        values = _scene(rng, shape) if is_picture(shape) else rng.standard_normal(shape, np.float32)
        if options.preprocess is not None and is_picture(shape):
            values = np.clip(np.round(values * 60 + 110), 0, 255)
            values = values if options.bake else prepare(values, options)
        valid = valid_values(net, blob, rng)
        inputs[blob] = values if valid is None else valid
    return inputs


def _scene(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Overlapping rectangles, each of a color and with more or less noise; mean 0 and deviation 1."""
    count, channels, height, width = shape
    color = np.zeros(shape, np.float32)
    roughness = np.full((count, 1, height, width), 0.1, np.float32)
    for _ in range(_RECTANGLES):
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = (rng.integers(1 + size // 30, 2 + size // 2) for size in (height, width))
        place = (slice(None), slice(None), slice(top, top + tall), slice(left, left + wide))
        shade = rng.standard_normal((count, 1, 1, 1), np.float32)  # channels of photos differ less than places do
        color[place] = 0.8 * shade + 0.2 * rng.standard_normal((count, channels, 1, 1), np.float32)
        roughness[place] = rng.uniform(0.05, 0.2)  # in a plane of one color only rounding would tell the maximum
    scene: np.ndarray = color + roughness * rng.standard_normal(shape, np.float32)
    scaled: np.ndarray = (scene - scene.mean()) / (scene.std() or 1)
    return scaled
