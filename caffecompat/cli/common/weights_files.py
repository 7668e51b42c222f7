"""Files of weights of every format that the ``weights`` verbs take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_blobs"]


def read_blobs(path: str) -> dict[str, list[np.ndarray]]:
    """Blobs by layer of a caffemodel, HDF5, .safetensors or .npz file.

    An archive whose names are not LAYER.INDEX counts as layers with one blob each.

    Raises:
        CaffeCompatError: the file cannot be read.
    """
    from caffecompat.formats.archives import ARCHIVES, as_layers, read_archive
    from caffecompat.formats.weights import open_weights

    if not path.endswith(ARCHIVES):
        return open_weights(path).load()
    arrays = read_archive(path)
    layers = as_layers(arrays)
    return layers if layers is not None else {name: [values] for name, values in arrays.items()}
