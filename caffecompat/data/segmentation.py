"""`ImageSegData` and `DenseImageData`: pictures with label pictures, from a text list of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from caffecompat.data.augment.augmentation import Augmentation, Augmented
from caffecompat.data.augment.sample import Sample
from caffecompat.data.databases import prefetch_depth
from caffecompat.data.images import ListReader
from caffecompat.data.label_picture import warn_of_gray_reading
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw, Window, cut
from caffecompat.formats.image_list import ListedPair, open_pair_list
from caffecompat.formats.picture import resize_picture
from caffecompat.schema import pb

__all__ = ["DenseImageDataReader", "ImageSegDataReader", "PaddingImageSegDataReader", "Segmented"]


class Segmented(NamedTuple):
    """A picture and its label picture (h, w, 1) in the batch."""

    augmented: Augmented
    label: np.ndarray


class ImageSegDataReader(ListReader[ListedPair]):
    """Pictures with a label for every pixel, as Xilinx Caffe has them.

    Tops: data (N, C, H, W), label (N, 1, H, W) of the label file's gray values. With new_height and
    new_width both are resized bilinearly, which mixes labels at edges, as the fork does; under an
    interp_mode labels are resized by nearest neighbor. What transform_param does is the same for both;
    `image_data_param.mirror` has no effect, only `transform_param.mirror`.
    """

    tops: ClassVar[int] = 2
    mean_file_allowed: ClassVar[bool] = False
    resizing_evens_sizes: ClassVar[bool] = True  # picture and label may differ in size where both are resized
    pads: ClassVar[bool] = False  # up to the crop

    def __init__(self, request: Request) -> None:
        self._param = request.layer.image_data_param
        request.tops(self.tops)
        augmentation = Augmentation(request, mean_file_allowed=self.mean_file_allowed, pads=self.pads)
        super().__init__(request, self._param, "image_data_param", self._read_list, augmentation)
        self._color = self._param.is_color
        if self.tops == 2 or self._param.label_type == pb.ImageDataParameter.PIXEL:
            warn_of_gray_reading(request.layer.name, self._file(self._entries[0].label))

    def _read_list(self, path: str) -> Sequence[ListedPair]:
        return open_pair_list(path)

    def read(self, record: tuple[ListedPair, Draw | None]) -> Segmented:
        augmented = self._augmentation(self._decoded(*record), record[1])
        return Segmented(augmented, self._augmentation.label(augmented))

    def _decoded(self, entry: ListedPair, draw: Draw | None) -> Sample:
        """Picture and label picture, resized by new_height and new_width."""
        picture, height = self._read_rows(entry.image, entry.line, self._color, self._rows(draw))
        width = picture.shape[1]
        label = self._label(entry, height, width)
        evened = self._new_size and self.resizing_evens_sizes
        if not evened and (height, width) != label.shape[:2]:
            raise DataError(
                f"{self._list}:{entry.line}: the picture {entry.image} is {height}x{width}, "
                f"its label {entry.label} is {label.shape[0]}x{label.shape[1]} (height x width); they must be equal"
            )
        if self._new_size:
            return Sample(self._resized(picture), self._resized(label, label=True))
        return Sample.of_rows(picture, height, label)

    def _label(self, entry: ListedPair, height: int, width: int) -> np.ndarray:
        """The label picture of a picture of that size."""
        return self._read(entry.label, entry.line, False)

    def shapes(self, sample: Segmented) -> list[Shape]:
        return [sample.augmented.shape, sample.label.shape]

    def write_labels(self, sample: Segmented, arrays: Sequence[np.ndarray], at: int) -> None:
        np.copyto(arrays[0][at], sample.label)


class PaddingImageSegDataReader(ImageSegDataReader):
    """The layer of that name in PSPNet's and DeepLab's Caffe.

    A third top, data_dim (N, 1, 1, 2), holds the height and width of the picture in the batch, padding
    left out. `label_type` IMAGE (the default) makes a constant label of the number in the second column,
    NONE one of `ignore_label`. Pictures smaller than the crop are padded at the right and bottom by mean_value and
    `ignore_label`, as after scale_factors or scale_min and scale_max in every layer.
    """

    tops: ClassVar[int] = 3
    pads: ClassVar[bool] = True

    def _read_list(self, path: str) -> Sequence[ListedPair]:
        return open_pair_list(path, labels=self._param.label_type != pb.ImageDataParameter.NONE)

    def _label(self, entry: ListedPair, height: int, width: int) -> np.ndarray:
        kind = self._param.label_type
        if kind == pb.ImageDataParameter.PIXEL:
            return super()._label(entry, height, width)
        value = self._param.ignore_label if kind == pb.ImageDataParameter.NONE else _leading_number(entry.label)
        return np.full((height, width, 1), value, np.uint8)

    def shapes(self, sample: Segmented) -> list[Shape]:
        return [*super().shapes(sample), (1, 2, 1)]  # (H, W, C) as all rows: the top is (N, 1, 1, 2)

    def write_labels(self, sample: Segmented, arrays: Sequence[np.ndarray], at: int) -> None:
        super().write_labels(sample, arrays, at)
        arrays[1][at] = np.minimum(arrays[0].shape[1:3], sample.augmented.size).reshape(1, 2, 1)


class DenseImageDataReader(ListReader[ListedPair]):
    """Pictures with a label for every pixel, as SegNet's and ENet's Caffe have them.

    Tops: data (N, C, H, W), label (N, 1, H', W'). With new_height and new_width pictures are resized
    bilinearly and labels by nearest neighbor, to 1 / label_divide_factor of the size. The layer's own
    `mirror` and random crop (in both phases) come first and are the same for both; then `transform_param`,
    whose mean and scale leave labels alone. (The fork draws its mirror and crop apart for pictures and
    labels, which no one can want; here they go together.)
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.dense_image_data_param
        request.tops(2)
        super().__init__(request, param, "dense_image_data_param", open_pair_list, Augmentation(request))
        self._color = param.is_color
        self._mirror = param.mirror
        self._divide = max(1, param.label_divide_factor)
        if (param.crop_height > 0) != (param.crop_width > 0):
            raise DataError("dense_image_data_param needs crop_height and crop_width together, or neither")
        self._crop = (param.crop_height, param.crop_width) if param.crop_height else None
        if self._divide > 1 and (self._crop or self._augmentation.transformer.crop):
            raise DataError(
                "a crop cannot be combined with label_divide_factor: it would cut picture and label differently"
            )
        if self._divide > 1 and self._augmentation.moves:
            raise DataError("what resizes in transform_param cannot be combined with label_divide_factor")
        if self._divide > 1 and not self._new_size and self.batch_size > 1:
            raise DataError("label_divide_factor needs new_height and new_width")
        warn_of_gray_reading(request.layer.name, self._file(self._entries[0].label))

    def _draw(self) -> Any:
        bits = self._random.getrandbits
        own = Draw(bits(32), bits(32), bits(32), 0) if self._mirror or self._crop else None
        return own, super()._draw()

    def read(self, record: Any) -> Augmented:
        entry, (own, draw) = record
        picture = self._read(entry.image, entry.line, self._color)
        label = self._read(entry.label, entry.line, False)
        if self._new_size:
            height, width = self._new_size
            picture = self._resized(picture)
            label = resize_picture(label, height // self._divide, width // self._divide, nearest=True)
        if self._divide == 1 and picture.shape[:2] != label.shape[:2]:
            raise DataError(
                f"{self._list}:{entry.line}: the picture {entry.image} is {picture.shape[0]}x{picture.shape[1]}, "
                f"its label {entry.label} is {label.shape[0]}x{label.shape[1]} (height x width); they must be equal"
            )
        mirror = bool(self._mirror and own and own.mirror % 2)
        sample = Sample(self._cut(record, picture, own, mirror), self._cut(record, label, own, mirror))
        return self._augmentation(sample, draw)

    def _cut(self, record: Any, picture: np.ndarray, own: Draw | None, mirror: bool) -> np.ndarray:
        """The layer's own mirror, then its crop."""
        height, width = picture.shape[:2]
        window = Window(0, 0, height, width, mirror)
        picture = cut(picture, window) if mirror else picture
        if self._crop is None or own is None:
            return picture
        if self._crop[0] > height or self._crop[1] > width:
            raise DataError(
                f"{self.describe(record)}: crop_height x crop_width, {self._crop[0]}x{self._crop[1]}, is larger than "
                f"the picture, {height}x{width}"
            )
        down, right = height - self._crop[0], width - self._crop[1]
        return cut(picture, Window(own.top % (down + 1), own.left % (right + 1), *self._crop, False))

    def shapes(self, sample: Augmented) -> list[Shape]:
        return [sample.shape, sample.label_shape]

    def write_labels(self, sample: Augmented, arrays: Sequence[np.ndarray], at: int) -> None:
        np.copyto(arrays[0][at], self._augmentation.label(sample))


def _leading_number(text: str) -> int:
    """C's atoi: the number that the text begins with, or 0; as an 8-bit pixel holds it."""
    digits = ""
    for character in text:
        if not character.isdigit():
            break
        digits += character
    return min(int(digits or "0"), 255)


@register_source("ImageSegData")
def _image_seg_data(request: Request) -> Source:
    reader = (PaddingImageSegDataReader if len(request.layer.top) == 3 else ImageSegDataReader)(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)


@register_source("DenseImageData")
def _dense_image_data(request: Request) -> Source:
    reader = DenseImageDataReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)
