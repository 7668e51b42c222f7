"""Data layers as sources of batches.

>>> source = make_source(layer_param, phase=0, fork=Fork.BVLC, relative_to="train_val.prototxt")  # doctest: +SKIP
>>> data, label = source.next()  # doctest: +SKIP
"""

from caffecompat.data import (  # noqa: F401  (they register themselves)
    annotated,
    databases,
    dummy,
    hdf5,
    image_label,
    image_label_list,
    image_labelmap,
    images,
    segmentation,
    video,
    windows,
)
from caffecompat.data.memory import MemorySource
from caffecompat.data.source import DataError, Source, make_source, seed

__all__ = ["DataError", "MemorySource", "Source", "make_source", "seed"]
