"""Data layers as sources of batches.

>>> source = make_source(layer_param, phase=0, dialect="B", beside="train_val.prototxt")  # doctest: +SKIP
>>> data, label = source.next()  # doctest: +SKIP
"""

from caffecompat.data import databases, dummy, hdf5, images, segmentation  # noqa: F401  (they register themselves)
from caffecompat.data.source import DataError, Source, is_data_layer, make_source, seed

__all__ = ["DataError", "Source", "is_data_layer", "make_source", "seed"]
