"""What a file of weights holds, whatever its format: layers by name, each with its blobs.

`open_weights` tells binary caffemodels and HDF5 files apart by their first bytes, as BVLC Caffe does.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork

__all__ = ["LayerWeights", "StoredBlob", "WeightFile", "WeightsError", "open_weights"]


class WeightsError(CaffeCompatError):
    """A file of weights or of solver state that cannot be read or written."""


class StoredBlob(ABC):
    """One parameter blob, whose values stay in the file until asked for.

    Attributes:
        shape: as the file states it; four dimensions (C3D: five) where `legacy`.
        legacy: the shape is the (num, channels, height, width) of files before mid-2014. Such a shape
            fits a blob of up to four axes whose own shape, padded with ones in front, equals it.
        dtype: of the stored values (float32, float64, or float16 in files of NVCaffe and Jacinto).
        encoding: "packed", "unpacked", "raw" (NVCaffe, Jacinto) or "hdf5".
    """

    __slots__ = ("dtype", "encoding", "legacy", "shape")
    shape: tuple[int, ...]
    legacy: bool
    dtype: np.dtype
    encoding: str

    @property
    def count(self) -> int:
        """How many values the shape has."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @abstractmethod
    def array(self) -> np.ndarray:
        """The values in `shape`: float32 or float64 (float16 is widened).

        A read-only view of the file where its values lie side by side, which is the usual case.

        Raises:
            WeightsError: the file holds another number of values than the shape says.
        """

    @abstractmethod
    def diff(self) -> np.ndarray | None:
        """The gradient as `array` gives the values; None where the file has none (snapshot_diff: false)."""

    @property
    @abstractmethod
    def has_diff(self) -> bool:
        """Whether the file has a gradient for this blob."""

    @abstractmethod
    def check(self) -> None:
        """Raise WeightsError where `array` would, without reading the values."""

    def copy(self) -> np.ndarray:
        """The values in memory of their own, writable and aligned."""
        return np.array(self.array(), order="C")


@dataclass(slots=True)
class LayerWeights:
    """A layer of the file: Caffe's present name for its type ("" in HDF5 files) and its blobs.

    A blob is None where an HDF5 file leaves it out because another layer owns it. `bottoms` and `tops` are the
    names of the layer's data blobs, as far as the file has them (HDF5 and V0 do not). `bn_mode` is "LEARN" or
    "INFERENCE" for ENet's and SegNet's BN in a caffemodel, whose two blobs mean different things by it; else "".
    """

    name: str
    type: str
    blobs: list[StoredBlob | None]
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    bn_mode: str = ""


@dataclass(slots=True)
class WeightFile:
    """An opened file of weights.

    Attributes:
        path: as given.
        name: the net's name ("" in HDF5 files).
        layers: in the file's order (HDF5: alphabetical).
        format: "V2", "V1" or "V0" after the generation of its layers, "V1+V2", ..., or "HDF5".
        fork: NVCaffe (Jacinto too) or Xilinx where fields that only they write give them away.
        size: of the file in bytes.
        trained_as: the fork that a person named for the net that was saved, in files of ours.
    """

    path: str
    name: str
    format: str
    size: int
    fork: Fork | None = None
    trained_as: Fork | None = None
    layers: list[LayerWeights] = field(default_factory=list)

    def load(self) -> dict[str, list[np.ndarray]]:
        """Copies of all blobs by layer name; layers without blobs are left out.

        Of layers with the same name the last one with blobs counts, as when Caffe copies them one after the other.
        Blobs that an HDF5 file leaves out (shared, owned by another layer) are left out here too.
        """
        return {
            layer.name: [blob.copy() for blob in layer.blobs if blob is not None]
            for layer in self.layers
            if layer.blobs
        }


def open_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Open a binary caffemodel or an HDF5 file of weights, told apart by content.

    Raises:
        WeightsError: the file is neither, is cut short or damaged, or cannot be read.
    """
    from caffecompat.formats.foreign import is_hdf5

    if is_hdf5(path):
        from caffecompat.formats.hdf5_weights import open_hdf5_weights

        return open_hdf5_weights(path)
    from caffecompat.formats.caffemodel import open_caffemodel

    return open_caffemodel(path)
