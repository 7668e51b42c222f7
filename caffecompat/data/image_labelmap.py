"""`ImageLabelmapData`: pictures with maps of edges, from a text list of pairs, as HED's and RCF's Caffe read them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from caffecompat.data.databases import prefetch_depth
from caffecompat.data.loaded_source import LoadedSource
from caffecompat.data.segmentation import ImageSegDataReader, Segmented
from caffecompat.data.source import Request, Source, register_source
from caffecompat.data.transform import Draw
from caffecompat.forks import Fork
from caffecompat.formats.image_list import ListedPair

__all__ = ["ImageLabelmapDataReader"]


class ImageLabelmapDataReader(ImageSegDataReader):
    """Pictures with a map of how many people saw an edge in each pixel (s9xie/hed image_labelmap_data_layer.cpp).

    Tops: data (N, C, H, W), label (N, 1, H, W). The map's gray values g are 0 to 255. HED's labels are g / 255 rounded,
    so 1 from 128 on and 0 below; RCF's (yun-liu/RCF) are 1 from 128 on and g / 255 below, which its loss leaves out but
    for 0. With new_height and new_width picture and map are both resized bilinearly before that. Crop and mirror are
    the same for both; mean and scale are the picture's alone.

    A crop is the center in TEST, where the original, which draws one, ends for want of a generator.
    """

    mean_file_allowed: ClassVar[bool] = True
    resizing_evens_sizes: ClassVar[bool] = False

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._keeps_uncertain = request.fork is Fork.RCF

    def read(self, record: tuple[ListedPair, Draw | None]) -> Segmented:
        sample = super().read(record)
        gray = sample.label
        labels = (gray >= 128).astype(np.float32)
        if self._keeps_uncertain:
            labels = np.where(gray >= 128, labels, gray / np.float32(255))
        return sample._replace(label=labels)


@register_source("ImageLabelmapData")
def _image_labelmap_data(request: Request) -> Source:
    reader = ImageLabelmapDataReader(request)
    return LoadedSource(reader, reader.first(), depth=prefetch_depth(request.layer), share=request.share)
