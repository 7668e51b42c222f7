"""`ImageSegData`: pictures with label pictures, from a text list of pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffecompat.data.databases import prefetch_depth
from caffecompat.data.images import ListReader
from caffecompat.data.loader import LoadedSource, Rows
from caffecompat.data.source import DataError, Request, Shape, Source, register_source
from caffecompat.data.transform import Draw, Transformer, cut
from caffecompat.formats.image_list import ListedPair, read_pair_list

__all__ = ["ImageSegDataReader"]


class _Sample(NamedTuple):
    picture: np.ndarray
    label: np.ndarray
    draw: Draw | None


class ImageSegDataReader(ListReader[ListedPair]):
    """Pictures with a label for every pixel, as Xilinx Caffe has them.

    Tops: data (N, C, H, W), label (N, 1, H, W) of the label file's grey values. With new_height and
    new_width both are resized bilinearly, which mixes labels at edges, as the fork does. Crop and
    mirror are the same for both; `image_data_param.mirror` has no effect, only `transform_param.mirror`.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.image_data_param
        request.tops(2)
        transformer = Transformer(request, mean_file_allowed=False)
        super().__init__(request, param, "image_data_param", read_pair_list, transformer)
        self._color = param.is_color

    def read(self, record: tuple[ListedPair, Draw | None]) -> _Sample:
        entry, draw = record
        picture = self._read(entry.image, entry.line, self._color)
        label = self._read(entry.label, entry.line, False)
        if not self._new_size and picture.shape[:2] != label.shape[:2]:
            raise DataError(
                f"{self._list}:{entry.line}: the picture {entry.image} is {picture.shape[0]}x{picture.shape[1]}, "
                f"its label {entry.label} is {label.shape[0]}x{label.shape[1]} (height x width); they must be equal"
            )
        return _Sample(self._resized(picture), self._resized(label), draw)

    def shapes(self, sample: _Sample) -> list[Shape]:
        shape = self._transformer.output_shape(*sample.picture.shape)
        return [shape, (*shape[:2], 1)]

    def write(self, sample: _Sample, rows: Rows) -> None:
        height, width = sample.picture.shape[:2]
        window = self._transformer.window(height, width, sample.draw)
        self._transformer.place(sample.picture, window, rows[0])
        np.copyto(rows[1], cut(sample.label, window))


@register_source("ImageSegData")
def _image_seg_data(request: Request) -> Source:
    reader = ImageSegDataReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer))
