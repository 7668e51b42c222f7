"""The `MemoryData` layer: batches from arrays that the program gives."""

from __future__ import annotations

import numpy as np

from caffecompat import glog
from caffecompat.data.source import DataError, Request, Source, batch_size_remarks, register_source
from caffecompat.resumable import State, stored_place

__all__ = ["MemorySource"]


@register_source("MemoryData")
class MemorySource(Source):
    """Items of the arrays given to `set_arrays`, in order, over and over (BVLC memory_data_layer.cpp).

    Tops: data (N, C, H, W) and, when there are two, label (N). Nothing is transformed.
    """

    def __init__(self, request: Request) -> None:
        param = request.layer.memory_data_param
        shape = (param.batch_size, param.channels, param.height, param.width)
        if 0 in shape:
            raise DataError("memory_data_param needs batch_size, channels, height and width, all at least 1")
        if request.layer.HasField("transform_param"):
            glog.warning(f"{request.layer.name}: MemoryData does not transform arrays; transform_param has no effect")
        self.top_shapes = [shape, (param.batch_size,)][: request.tops(1, 2)]
        self._batch_size = param.batch_size
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._at = 0
        self._resumed = False  # the next arrays are those of the run that goes on

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Read from these arrays from now on; they are not copied, so what is written into them later counts.

        Reading begins with their first item, after `restore` without arrays at the place where it was.

        Args:
            data: (M, C, H, W) float32, M a multiple of the batch size.
            labels: (M) or (M, 1, 1, 1) float32.

        Raises:
            DataError: a shape or type does not fit the layer.
        """
        for name, array in (("data", data), ("labels", labels)):
            if array.dtype != np.float32:
                raise DataError(f"the {name} must be float32, they are {array.dtype}")
        item = self.top_shapes[0][1:]
        if data.ndim != 4 or data.shape[1:] != item:
            raise DataError(f"the data must have shape (M, {', '.join(map(str, item))}), not {data.shape}")
        if labels.size != len(data) or labels.shape[:1] != data.shape[:1]:
            raise DataError(f"{len(data)} items need as many labels, one each; the labels have shape {labels.shape}")
        if not len(data) or len(data) % self._batch_size:
            raise DataError(
                f"the number of items, {len(data)}, must be a multiple of the batch size, {self._batch_size}"
            )
        self._arrays = data, labels.reshape(-1)
        self._at = self._batch_at(self._at) if self._resumed else 0
        self._resumed = False

    def _batch_at(self, item: int) -> int:
        """The first item of the batch that this one is in."""
        assert self._arrays is not None
        data, _ = self._arrays
        return int(item % len(data) // self._batch_size * self._batch_size)

    def state(self) -> State:
        return {"batch_size": self._batch_size, "at": self._at}

    def restore(self, state: State) -> list[str]:
        at = stored_place(state, "at")
        remarks = batch_size_remarks(state, self._batch_size)
        self._at, self._resumed = at, self._arrays is None
        if self._arrays is not None:
            self._at = self._batch_at(at)
            if self._at != at:
                remarks.append(f"item {at} was next; of {len(self._arrays[0])} items {self._at} comes next")
        return remarks

    def next(self) -> tuple[np.ndarray, ...]:
        if self._arrays is None:
            raise DataError("MemoryData has no data yet; set some with net.set_input_arrays(data, labels)")
        rows = slice(self._at, self._at + self._batch_size)
        self._at = rows.stop % len(self._arrays[0])
        return tuple(array[rows] for array in self._arrays[: len(self.top_shapes)])
