"""Blobs as the code of a Python layer sees them: NumPy arrays `data` and `diff` of a shape."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.layers.layer import Layer, LayerError

__all__ = ["ArrayBlob", "BlobFace", "BlobVec", "ParameterBlob", "RawBlobVec", "sizes_of"]

Shape = tuple[int, ...]


class BlobFace(ABC):
    """What every blob of pycaffe has: live arrays, the shape, and its old four-axis names."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Sizes of the axes."""

    @property
    @abstractmethod
    def data(self) -> np.ndarray:
        """The values; writing into the array changes the blob."""

    @property
    @abstractmethod
    def diff(self) -> np.ndarray:
        """The gradient; writing into the array changes the blob."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("data", "diff"):
            raise AttributeError(f"a blob's {name} cannot be replaced; write into it: blob.{name}[...] = value")
        super().__setattr__(name, value)

    @property
    def count(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise ValueError(f"num, channels, height and width are for blobs of up to 4 axes, this one is {self.shape}")
        return (*self.shape, 1, 1, 1, 1)[axis]

    @property
    def num(self) -> int:
        """Size of axis 0, or 1."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Size of axis 1, or 1."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Size of axis 2, or 1."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Size of axis 3, or 1."""
        return self._legacy(3)


def sizes_of(shape: Sequence[Any]) -> Shape:
    """The arguments of a blob's ``reshape`` as a shape.

    Raises:
        TypeError: they are not whole numbers, one for each axis.
        ValueError: one is negative.
    """
    given = ", ".join(map(repr, shape))
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        several = len(shape) == 1 and isinstance(shape[0], list | tuple | np.ndarray)
        hint = f"; write reshape(*{given})" if several else ""
        raise TypeError(f"reshape takes whole numbers, one for each axis, not reshape({given}){hint}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"a blob cannot have the shape {sizes}: no axis has a negative size")
    return sizes


class ArrayBlob(BlobFace):
    """A bottom or top of a Python layer: float32 arrays in C order that keep their values until they must grow."""

    def __init__(self, shape: Shape = ()) -> None:
        self._shape = shape
        self._flat: dict[str, np.ndarray] = {}

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def data(self) -> np.ndarray:
        return self._array("data")

    @property
    def diff(self) -> np.ndarray:
        return self._array("diff")

    def reshape(self, *shape: int) -> None:
        """Take another shape; values stay as far as the memory reaches, more memory begins with zeros."""
        self._shape = sizes_of(shape)

    def take(self, tensor: Tensor) -> None:
        """Hold the values of a tensor on the CPU, without a copy where it is float32 in C order."""
        # Code of Python layers counts on C order: it flattens, and passes pointers on.
        array = tensor.detach().float().contiguous().numpy()
        self._shape = array.shape
        self._flat["data"] = array.reshape(-1)

    def _array(self, side: str) -> np.ndarray:
        flat, count = self._flat.get(side), self.count
        if flat is None or flat.size < count:
            flat = self._flat[side] = np.zeros(count, np.float32)
        return flat[:count].reshape(self._shape)


class ParameterBlob(BlobFace):
    """A blob of `self.blobs`: a parameter of the torch module, wherever it lives.

    On the CPU the arrays are its memory. On a GPU they are copies, which `push` writes back.
    """

    def __init__(self, module: Layer, name: str) -> None:
        self._module = module
        self._name = name
        self._copies: list[tuple[Tensor, Tensor]] = []  # what was handed out, and where it belongs

    @property
    def shape(self) -> Shape:
        return tuple(getattr(self._module, self._name).shape)

    @property
    def data(self) -> np.ndarray:
        return self._array(self._parameter.detach())

    @property
    def diff(self) -> np.ndarray:
        parameter = self._parameter
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        return self._array(parameter.grad)

    @property
    def _parameter(self) -> nn.Parameter:
        parameter = self._module._parameters[self._name]  # sharing with another net replaces it
        assert parameter is not None
        return parameter

    def reshape(self, *shape: int) -> None:
        """Parameters keep their shape."""
        if tuple(shape) != self.shape:
            raise ValueError(f"a parameter blob keeps its shape {self.shape}")

    def _array(self, tensor: Tensor) -> np.ndarray:
        if tensor.is_meta:
            return np.zeros(self.shape, np.float32)
        tensor = tensor.view(self.shape)
        if tensor.device.type == "cpu":
            return tensor.numpy()
        for copy, origin in self._copies:
            if origin.data_ptr() == tensor.data_ptr():
                return copy.numpy()
        copy = tensor.cpu()
        self._copies.append((copy, tensor))
        return copy.numpy()

    def push(self) -> None:
        """Write the copies back."""
        for copy, origin in self._copies:
            origin.copy_(copy)
        self._copies.clear()


class RawBlobVec(list[ArrayBlob]):
    """The bottoms or tops of a Python layer, in order; pycaffe's name for the type."""


class BlobVec(list[BlobFace]):
    """The parameter blobs of a layer, in order: an entry of ``net.params``, or `self.blobs` of a Python layer.

    The name is pycaffe's. Indices, slices, `len` and loops work as for every list.
    """

    def __init__(self, blobs: Iterable[BlobFace] = ()) -> None:
        super().__init__(blobs)
        self._module: Layer | None = None

    def open(self, module: Layer) -> None:
        """From now on `add_blob` adds parameters to the module."""
        self._module = module

    def close(self) -> None:
        """From now on the parameters are fixed."""
        self._module = None

    def add_blob(self, *shape: int) -> None:
        """Add a parameter of that shape, filled with zeros; in a Python layer's ``setup`` alone."""
        if self._module is None:
            raise LayerError("self.blobs.add_blob belongs in setup: a net's parameters are fixed once it is made")
        name = f"blob{len(self)}"
        self._module.add_blob(name, sizes_of(shape))
        self.append(ParameterBlob(self._module, name))

    def push(self) -> None:
        """Write all copies back."""
        for blob in self:
            if isinstance(blob, ParameterBlob):
                blob.push()
