"""Mean pictures: the BlobProto files that `compute_image_mean` writes and `mean_file` names."""

from __future__ import annotations

import os

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.paths import find_file
from caffecompat.schema import pb

__all__ = ["MeanError", "read_mean", "write_mean"]


class MeanError(CaffeCompatError):
    """A mean file that cannot be read."""


def read_mean(path: str | os.PathLike[str], relative_to: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Read a mean file: (C, H, W) float32.

    Legacy files (num, channels, height, width) and those with a shape of three or four axes.

    Args:
        relative_to: the prototxt that names the file, next to which it may be.

    Raises:
        MeanError: the file cannot be read, is no binary BlobProto, or is not one picture.
    """
    if relative_to is not None:
        path = find_file(os.fspath(path), relative_to, MeanError, field="mean_file")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise MeanError(f"cannot read the mean file {path}: {error.strerror}") from None
    blob = pb.BlobProto()
    try:
        blob.ParseFromString(data)
    except Exception:  # DecodeError's module differs among protobuf versions
        raise MeanError(f"{path} is not a mean file (a binary BlobProto){_hint(data)}") from None
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    values = np.array(blob.double_data if blob.double_data else blob.data, np.float32)
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 3 or values.size == 0 or values.size != np.prod(shape):
        raise MeanError(
            f"{path} is not a mean file: its shape is {'x'.join(map(str, shape))} with {values.size} values; "
            f"expected 1 x channels x height x width{_hint(data)}"
        )
    return values.reshape(shape)


def write_mean(path: str | os.PathLike[str], mean: np.ndarray) -> None:
    """Write a (C, H, W) mean in the legacy form (num 1), as Caffe's compute_image_mean does; atomically."""
    from caffecompat.formats.atomic import atomic_write

    channels, height, width = mean.shape
    blob = pb.BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(np.asarray(mean, np.float32).reshape(-1).tolist())
    with atomic_write(path) as file:
        file.write(blob.SerializeToString())


def _hint(data: bytes) -> str:
    if data[:6] == b"\x93NUMPY":
        return "; this is a NumPy file, which only pycaffe's Classifier and Transformer take"
    if data[:1].isalpha() and data[:64].isascii():
        return "; this looks like text"
    return ""
