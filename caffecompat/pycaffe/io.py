"""Pictures and arrays on their way into and out of nets: pycaffe's ``caffe.io``.

Pictures here are (H, W, C) float32 in [0, 1] with channels in RGB order, as scikit-image has them; a
:class:`Transformer` turns them into a net's (C, H, W) input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.blob_proto import blob_pieces
from caffecompat.formats.picture import read_picture
from caffecompat.pycaffe.proto import caffe_pb2
from caffecompat.schema import pb

__all__ = [
    "ImageError",
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

_GRAY = np.array([0.2125, 0.7154, 0.0721])  # of R, G, B in scikit-image's rgb2gray


class ImageError(CaffeCompatError, ValueError):
    """A picture, an array or a message cannot be what it is used as."""


# -------------------------------------------------------------------- messages


def blobproto_to_array(blob: pb.BlobProto, return_diff: bool = False) -> np.ndarray:
    """The values (or the diff) of a BlobProto as a float64 array of its shape, 4-D where the shape is a legacy one.

    Raises:
        ValueError: the count of values does not fit the shape.
    """
    values = np.array(blob.diff if return_diff else blob.data, dtype=np.float64)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        shape: tuple[int, ...] = (blob.num, blob.channels, blob.height, blob.width)
    else:
        shape = tuple(blob.shape.dim)
    return _shaped(values, shape, "blob")


def _shaped(values: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise ImageError(f"the {what} holds {values.size} values, which do not fill the shape {shape} that it states")
    return values.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> pb.BlobProto:
    """A BlobProto of an array of any shape, and of a diff."""
    _, pieces = blob_pieces(np.asarray(arr, np.float32), None if diff is None else np.asarray(diff, np.float32))
    return pb.BlobProto.FromString(b"".join(pieces))


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """Arrays as the bytes of a BlobProtoVector."""
    return pb.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist]).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in the bytes of a BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> pb.Datum:
    """A Datum of a (C, H, W) array: bytes from uint8, floats from anything else.

    Raises:
        ValueError: the array has not three axes.
    """
    if arr.ndim != 3:
        raise ImageError(f"Incorrect array shape: a Datum holds (channels, height, width), not {arr.shape}")
    channels, height, width = arr.shape
    datum = pb.Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).ravel().tolist())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: pb.Datum) -> np.ndarray:
    """The (C, H, W) array of a Datum: uint8, or float64 from float_data. The label is the caller's to read.

    Raises:
        ValueError: the Datum is an encoded picture, or has not the count of values that its shape needs.
    """
    if datum.encoded:
        raise ImageError("the Datum holds an encoded picture (JPEG, PNG): decode datum.data with an image library")
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        values: np.ndarray = _shaped(np.frombuffer(datum.data, np.uint8), shape, "Datum").copy()
        return values
    return _shaped(np.array(datum.float_data, dtype=np.float64), shape, "Datum")


# -------------------------------------------------------------------- pictures


def load_image(filename: str | os.PathLike[str], color: bool = True) -> np.ndarray:
    """Read a picture.

    Args:
        color: True gives three channels, also of a gray picture; False gives one.

    Returns:
        (H, W, 3) RGB or (H, W, 1) float32 in [0, 1]; alpha is dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: the file is no picture.
    """
    picture = read_picture(filename, None)
    if picture is None:
        if not os.path.exists(filename):
            raise FileNotFoundError(f"no such picture: {os.fspath(filename)}")
        raise ImageError(f"{os.fspath(filename)}: not a picture that can be decoded")
    most = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    if picture.shape[2] == 1:
        image = (picture / most).astype(np.float32)
        return np.tile(image, (1, 1, 3)) if color else image
    rgb = picture[:, :, 2::-1] / most
    if not color:
        rgb = (rgb @ _GRAY)[:, :, np.newaxis]
    return np.ascontiguousarray(rgb, np.float32)


def resize_image(im: np.ndarray, new_dims: Sequence[int] | np.ndarray, interp_order: int = 1) -> np.ndarray:
    """Resize (H, W, C) to `new_dims` (height, width).

    With one or three channels this is what scikit-image's ``resize`` did in pycaffe's days: pixels are areas (centers
    at half units), there is no smoothing before shrinking, and what lies outside counts as the picture's minimum,
    which darkens the rim of an enlarged picture. Any other count of channels uses SciPy's ``zoom``, where the
    centers of the corner pixels stay in the corners.

    Args:
        interp_order: 1 bilinear, 0 nearest.

    Returns:
        (new height, new width, C) float32.

    Raises:
        ImageError: the array is not (H, W, C), or the order another one.
    """
    if im.ndim != 3 or not im.size:
        raise ImageError(f"a picture to resize is (height, width, channels), not {im.shape}")
    if interp_order not in (0, 1):
        raise ImageError(f"interp_order {interp_order}: pictures are resized with order 1 (bilinear) or 0 (nearest)")
    height, width = (int(size) for size in new_dims)
    if im.shape[2] not in (1, 3):
        return _zoom(im.astype(np.float64), (height, width), interp_order).astype(np.float32)
    least, most = im.min(), im.max()
    if not most > least:
        return np.full((height, width, im.shape[2]), least, np.float32)
    unit = ((im - least) / (most - least)).astype(np.float64)
    rows, columns = (_centers(new, old) for new, old in zip((height, width), im.shape, strict=False))
    resized = _sample(_sample(unit, rows, 0, interp_order), columns, 1, interp_order)
    restored: np.ndarray = (resized * (most - least) + least).astype(np.float32)
    return restored


def _centers(new: int, old: int) -> np.ndarray:
    """Where the centers of `new` pixels lie among those of `old` on the same length."""
    centers: np.ndarray = (np.arange(new) + 0.5) * (old / new) - 0.5
    return centers


def _zoom(im: np.ndarray, dims: tuple[int, int], order: int) -> np.ndarray:
    for axis, size in enumerate(dims):
        im = _sample(im, np.linspace(0, im.shape[axis] - 1, size) if size > 1 else np.zeros(size), axis, order)
    return im


def _sample(values: np.ndarray, at: np.ndarray, axis: int, order: int) -> np.ndarray:
    """Values at fractional positions along an axis; zero outside."""
    last = values.shape[axis] - 1
    if order == 0:
        at = np.floor(at + 0.5)
    low = np.floor(at).astype(int)
    weight = (at - low).reshape((-1,) + (1,) * (values.ndim - axis - 1))

    def taken(index: np.ndarray) -> np.ndarray:
        inside = ((index >= 0) & (index <= last)).reshape(weight.shape)
        found: np.ndarray = np.take(values, index.clip(0, last), axis) * inside
        return found

    if order == 0 or not weight.any():
        return taken(low)
    between: np.ndarray = taken(low) * (1 - weight) + taken(low + 1) * weight
    return between


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int] | np.ndarray) -> np.ndarray:
    """Ten crops of each picture: the corners and the center, then the same mirrored.

    Args:
        images: (H, W, C) each, all of the first one's size.
        crop_dims: height and width of a crop.

    Returns:
        (10 N, height, width, C) float32.

    Raises:
        ImageError: a crop does not fit into a picture.
    """
    height, width, channels = images[0].shape
    crop_height, crop_width = (int(size) for size in crop_dims)
    if crop_height > height or crop_width > width:
        raise ImageError(f"crops of {crop_height}x{crop_width} do not fit into a picture of {height}x{width}")
    bottom, right = height - crop_height, width - crop_width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = np.empty((len(images), 10, crop_height, crop_width, channels), np.float32)
    for image, out in zip(images, crops, strict=True):
        for index, (top, left) in enumerate(corners):
            out[index] = image[top : top + crop_height, left : left + crop_width]
        out[5:] = out[:5, :, ::-1]
    return crops.reshape(-1, crop_height, crop_width, channels)


class Transformer:
    """Turns pictures into the arrays that a net's inputs want, and back.

    What is set is applied in this order: resize to the input's size, transpose, channel swap, raw scale, mean, input
    scale. Mean and scales are in the order that the net has them, after the swap.

    Args:
        inputs: shape (N, C, H, W) of each input by name.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = dict(inputs)
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float | np.ndarray] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        """Shape of an input without the batch."""
        if in_ not in self.inputs:
            raise ImageError(f"{in_} is not one of the net inputs: {list(self.inputs)}")
        return tuple(self.inputs[in_])[1:]

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """A picture (H, W, C) as the input `in_` wants it; the picture itself is left as it is.

        Raises:
            ImageError: the net has no such input, or the picture is not of a kind that fits it.
        """
        dims = self._shape(in_)[1:]
        caffe_in = np.array(data, np.float32)
        if len(dims) == 2 and caffe_in.shape[:2] != dims:
            caffe_in = resize_image(caffe_in, dims)
        if in_ in self.transpose:
            caffe_in = caffe_in.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            caffe_in = caffe_in[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            caffe_in *= self.raw_scale[in_]
        if in_ in self.mean:
            caffe_in -= self.mean[in_]
        if in_ in self.input_scale:
            caffe_in *= self.input_scale[in_]
        return caffe_in

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """The picture that gave an input array; size and batch axes of 1 stay away."""
        self._shape(in_)
        decaf_in: np.ndarray = data.copy().squeeze()
        if in_ in self.input_scale:
            decaf_in /= self.input_scale[in_]
        if in_ in self.mean:
            decaf_in += self.mean[in_]
        if in_ in self.raw_scale:
            decaf_in /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            decaf_in = decaf_in[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            decaf_in = decaf_in.transpose(np.argsort(self.transpose[in_]))
        return decaf_in

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the axes: (2, 0, 1) makes (C, H, W) of (H, W, C).

        Raises:
            ImageError: there are more or fewer axes.
        """
        if len(order) != len(self._shape(in_)):
            raise ImageError(
                "Transpose order needs to have the same number of dimensions as the input: "
                f"{len(order)} given, {len(self._shape(in_))} wanted"
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels: (2, 1, 0) makes BGR, which Caffe's models mostly take, of RGB.

        Raises:
            ImageError: the input has another count of channels.
        """
        if len(order) != self._shape(in_)[0]:
            raise ImageError(
                "Channel swap needs to have the same number of dimensions as the input channels: "
                f"{len(order)} given, {self._shape(in_)[0]} wanted"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Factor before the mean: 255 makes [0, 255] of pictures in [0, 1]."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """What to subtract: one value a channel (C,), or a mean picture (C, H, W) or (H, W), resized to the input.

        Raises:
            ImageError: the shape fits neither.
        """
        shape = self._shape(in_)
        if mean.ndim == 1:
            if len(mean) != shape[0]:
                raise ImageError(f"Mean channels incompatible with input: {len(mean)} values, {shape[0]} channels")
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.ndim == 2:
            mean = mean[np.newaxis]
        if mean.ndim != 3 or mean.shape[0] not in (1, shape[0]):
            raise ImageError(f"Mean shape invalid: {mean.shape} for an input of (channels, height, width) {shape}")
        if mean.shape[1:] not in ((1, 1), shape[1:]):
            mean = _resize_mean(mean, shape[1:])
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float | np.ndarray) -> None:
        """Factor after the mean: a number, or an array that fits (channels, height, width)."""
        self._shape(in_)
        self.input_scale[in_] = scale


def _resize_mean(mean: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """A mean picture (C, H, W) in another size, brought into [0, 1] on the way as pycaffe does."""
    least, most = mean.min(), mean.max()
    if not most > least:
        return np.full((mean.shape[0], *dims), least, mean.dtype)
    unit = ((mean - least) / (most - least)).transpose(1, 2, 0)
    resized: np.ndarray = resize_image(unit, dims).transpose(2, 0, 1) * (most - least) + least
    return resized
