"""Blobs as Caffe shows them: arrays that stay the same object while the net computes new values.

Caffe's ``SyncedMemory`` is the model: what Python holds is kept up to date,
what it writes is what the net computes with next. Nothing is copied for a blob
that nobody looks at.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, MutableMapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from caffecompat.net.params import BlobSlot

__all__ = ["Blob", "HostCopy", "HostMirror", "ParamBlob", "push_written"]

Shape = tuple[int, ...]


class HostMirror:
    """The data or the diff of a blob: the tensor that computes, and the array that Python sees while it holds it.

    On the CPU there is one or the other, never both, so a blob is in memory once. An array that nobody holds any more
    (it or a view of it) need not follow what the net computes; the values are copied again when Python asks again.

    `fill` is the value before anything was computed or written.
    """

    def __init__(self, shape: Shape, fill: float = 0.0) -> None:
        self.shape = shape
        self.fill = fill
        self._tensor: Tensor | None = None
        self._host: Tensor | None = None  # C order, on the CPU; its numpy view is what Python holds
        self._array: weakref.ref[np.ndarray] | None = None  # that view; views of it keep it alive
        self._host_stale = False  # the tensor is newer (GPU only: on the CPU the two are kept equal)
        self._host_touched = False  # Python may have written since the tensor was made

    def array(self) -> np.ndarray:
        """The live array."""
        if self._host is None:
            if self._tensor is None:
                self._host = torch.full(self.shape, self.fill)
            else:
                self._host = torch.empty(self.shape)
                _copy(self._tensor.detach().cpu(), self._host)
        elif self._host_stale and self._tensor is not None:
            self._host.copy_(self._tensor)
        if self._tensor is not None and self._tensor.device.type == "cpu":
            self._tensor = None
        self._host_stale, self._host_touched = False, True
        array = self._array() if self._array is not None else None
        if array is None:
            array = self._host.numpy()
            self._array = weakref.ref(array)
        seen: np.ndarray = array.view()  # whose shape may be set, and which keeps the array alive
        return seen

    @property
    def may_be_written(self) -> bool:
        """Whether Python may have put other values here since the net last wrote."""
        return self._host is not None and self._host_touched

    def read(self, device: torch.device) -> Tensor:
        """The values to compute with."""
        if self._host is not None and self._host_touched:
            if device.type == "cpu":
                return self._host
            self._tensor = self._host.to(device)
            self._host_touched = False
        if self._tensor is None:
            self._tensor = torch.full(self.shape, self.fill, device=device)
        return self._tensor if self._tensor.device == device else self._tensor.to(device)

    def write(self, tensor: Tensor) -> None:
        """Take new values."""
        self.shape = tuple(tensor.shape)
        if self._host is not None and (self._host.shape != tensor.shape or not self._is_held()):
            self._drop_host()
        if self._host is not None and tensor.device.type == "cpu":
            _copy(tensor, self._host)
            return
        self._tensor = tensor
        self._host_stale, self._host_touched = self._host is not None, False

    def release(self) -> None:
        """Let go of values that are about to be replaced, so that the new ones can take their memory."""
        self._tensor = None
        if not self._is_held():
            self._drop_host()

    def _is_held(self) -> bool:
        return self._array is not None and self._array() is not None

    def _drop_host(self) -> None:
        self._host = self._array = None
        self._host_stale = self._host_touched = False

    def reshape(self, shape: Shape) -> None:
        """Take another shape.

        What Python wrote stays as far as it fits, in order, as Caffe's blobs keep their memory. Values are `fill`
        again where there are more of them than before, or only the net made them.
        """
        if shape == self.shape:
            return
        count = math.prod(shape)
        kept = self._host if self.may_be_written else None
        self.shape = shape
        self._tensor = None
        self._drop_host()
        if kept is not None and count <= kept.numel():
            self._host, self._host_touched = kept.view(-1)[:count].view(shape), True


def _copy(tensor: Tensor, host: Tensor) -> None:
    """Copy values into memory of C order.

    Out of channels_last torch copies large pictures three times as fast as matrices
    (by blocks) than by four strides; with few channels or pixels it does not.
    """
    large = tensor.dim() == 4 and tensor.shape[1] >= 8 and tensor.shape[2] * tensor.shape[3] >= 8192
    if large and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        for source, target in zip(tensor, host, strict=True):
            target.flatten(1).copy_(source.flatten(1))
    else:
        host.copy_(tensor)


class Blob:
    """A named blob between layers: `data` and `diff` are live numpy arrays of shape `shape`."""

    def __init__(self, shape: Shape, loss_weight: float = 0.0) -> None:
        self.data_mirror = HostMirror(shape)
        self.diff_mirror = HostMirror(shape, loss_weight)

    @property
    def shape(self) -> Shape:
        return self.data_mirror.shape

    @property
    def data(self) -> np.ndarray:
        return self.data_mirror.array()

    @property
    def diff(self) -> np.ndarray:
        self.diff_mirror.reshape(self.shape)
        return self.diff_mirror.array()

    def resize(self, shape: Sequence[int]) -> None:
        """Take another shape."""
        self.data_mirror.reshape(tuple(shape))
        self.diff_mirror.reshape(tuple(shape))


class ParamBlob:
    """A parameter blob of a layer: `data` is its values, `diff` its accumulated gradient, both live and in C order."""

    def __init__(self, slot: BlobSlot) -> None:
        self.slot = slot

    @property
    def shape(self) -> Shape:
        return self.slot.shape

    @property
    def data(self) -> np.ndarray:
        return _live_array(self.slot.parameter.detach(), self.slot.parameter, self.shape)

    @property
    def diff(self) -> np.ndarray:
        parameter = self.slot.parameter
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        return _live_array(parameter.grad, parameter.grad, self.shape)


def _live_array(values: Tensor, holder: Tensor, shape: Shape) -> np.ndarray:
    """The values of a parameter or gradient (`holder`) as Python sees them, in the shape of the layer that asks."""
    if values.device.type != "cpu":
        copy = _copies.get(holder)
        if copy is None:
            copy = _copies[holder] = HostCopy(values)
        values = copy.values(holder)
    # First flat: an axis of one value may have any stride, which numpy's view() to another type would not take.
    return values.view(-1).view(shape).numpy()


class HostCopy:
    """A tensor of a GPU on the host, where Python reads and writes it (Caffe's ``SyncedMemory``).

    What Python writes goes to the GPU with `push`, before the net computes; what the net computes is
    read again when Python asks for the values.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values = torch.empty(tensor.shape)
        self._version: int | None = None  # of the tensor when the two were last equal
        self._touched = False  # Python may have written since then

    def values(self, tensor: Tensor) -> Tensor:
        if self._version != tensor._version:
            self._values.copy_(tensor.detach())
            self._version = tensor._version
        self._touched = True
        return self._values

    def push(self, tensor: Tensor) -> None:
        if self._touched and self._version == tensor._version:
            tensor.detach().copy_(self._values)
            self._version = tensor._version
        self._touched = False


# By parameter and gradient, because nets that share one see the same memory.
_copies: MutableMapping[Tensor, HostCopy] = WeakTensorKeyDictionary()


def push_written(parameters: Iterable[nn.Parameter]) -> None:
    """Bring to the GPU what Python may have written into the host's copies of parameters and their gradients."""
    for parameter in parameters:
        for holder in (parameter, parameter.grad):
            if holder is not None and holder in _copies:
                _copies[holder].push(holder)
