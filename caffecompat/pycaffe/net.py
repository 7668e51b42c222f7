"""pycaffe's ``Net``, ``Blob`` and ``Layer`` over the interpreter."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from caffecompat import data, layers, net
from caffecompat.net.blob import Blob as KeptBlob
from caffecompat.net.blob import ParamBlob
from caffecompat.net.build import DATA_TYPES, FED_TYPES
from caffecompat.net.interpreter import Interpreter
from caffecompat.net.steps import Step
from caffecompat.pycaffe.mode import current_device

__all__ = ["Blob", "Layer", "Net", "layer_type_list"]


class Blob:
    """A blob as pycaffe shows it: `data` and `diff` are live arrays that may be written."""

    def __init__(self, kept: KeptBlob | ParamBlob) -> None:
        self._kept = kept

    @property
    def data(self) -> np.ndarray:
        return self._kept.data

    @property
    def diff(self) -> np.ndarray:
        return self._kept.diff

    @property
    def shape(self) -> tuple[int, ...]:
        return self._kept.shape

    @property
    def count(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def reshape(self, *shape: int) -> None:
        """Take another shape; layers follow at ``net.reshape()`` or the next forward pass."""
        if isinstance(self._kept, ParamBlob):
            raise ValueError(f"a parameter blob keeps its shape {self.shape}")
        self._kept.resize(shape)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise ValueError(f"num, channels, height and width are for blobs of up to 4 axes, this one is {self.shape}")
        return ((*self.shape, 1, 1, 1, 1)[:4])[axis]

    @property
    def num(self) -> int:
        return self._legacy(0)

    @property
    def channels(self) -> int:
        return self._legacy(1)

    @property
    def height(self) -> int:
        return self._legacy(2)

    @property
    def width(self) -> int:
        return self._legacy(3)


class Layer:
    """One entry of ``net.layers``."""

    def __init__(self, step: Step, blobs: Sequence[Blob]) -> None:
        self.type = step.type
        self.blobs = list(blobs)


class Net:
    """pycaffe's Net.

    ``Net(model, phase)``, ``Net(model, weights, phase)`` or
    ``Net(model, phase, weights=..., level=0, stages=[...])``.
    """

    def __init__(
        self,
        network_file: str | os.PathLike[str],
        *args: Any,
        phase: int | None = None,
        weights: str | os.PathLike[str] | None = None,
        level: int = 0,
        stages: Sequence[str] = (),
    ) -> None:
        for given in args:
            if isinstance(given, (str, os.PathLike)):
                weights = given
            else:
                phase = given
        if phase is None:
            raise TypeError("Net needs a phase: caffe.TRAIN or caffe.TEST")
        core = net.Net(network_file, phase, level=level, stages=stages, sources=data.make_source)
        self._take(core.to(current_device()))
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def _of(cls, core: net.Net) -> Net:
        """A face for a net that exists (a solver's); its passes through the solver leave the blobs readable."""
        face = cls.__new__(cls)
        face._take(core)
        face._interpreter.attach()
        return face

    def _take(self, core: net.Net) -> None:
        self._core = core
        self._interpreter = Interpreter(core)
        steps = self._interpreter.steps
        self.blobs = OrderedDict((name, Blob(kept)) for name, kept in self._interpreter.blobs.items())
        self.params = OrderedDict((n, [Blob(b) for b in blobs]) for n, blobs in self._interpreter.params.items())
        self._layer_names = [step.name for step in steps]
        self.layers = [Layer(step, self.params.get(step.name, []) if step.layer else []) for step in steps]
        self.top_names = OrderedDict((step.name, list(step.tops)) for step in steps)
        self.bottom_names = OrderedDict((step.name, list(step.bottoms)) for step in steps)
        self.inputs = [blob for step in steps if step.type == "Input" for blob in step.tops]
        read = {blob for step in steps for blob in step.bottoms}
        self.outputs = sorted(name for name in self.blobs if name not in read)

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        weights = {n: w for step in self._interpreter.steps for n, w in zip(step.tops, step.loss_weights, strict=False)}
        return OrderedDict((name, weights.get(name, 0.0)) for name in self.blobs)

    # ----------------------------------------------------------------- running

    def forward(
        self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Run the net, or its layers from `start` to `end`.

        Args:
            blobs: names of blobs to return besides the outputs.
            kwargs: input blobs by name; all of them or none.

        Returns:
            Live arrays of the outputs (of the tops of `end` where it is given).
        """
        if kwargs:
            for name, value in self._checked(kwargs, self.inputs, "Input blob").items():
                self.blobs[name].data[...] = value
        first = self._layer_names.index(start) if start is not None else 0
        last = self._layer_names.index(end) if end is not None else len(self.layers) - 1
        self._forward(first, last)
        names = self.top_names[end] if end is not None else self.outputs
        return {name: self.blobs[name].data for name in (*names, *(blobs or ()))}

    def _forward(self, start: int, end: int) -> float:
        return self._interpreter.forward(start, end)

    def backward(
        self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Run backward, from layer `start` down to `end`.

        Args:
            diffs: names of blobs whose diffs to return besides the inputs'.
            kwargs: diffs of the outputs by name; all of them or none.

        Returns:
            Live diff arrays of the inputs (of the bottoms of `end` where it is given).
        """
        if kwargs:
            for name, value in self._checked(kwargs, self.outputs, "Top diff").items():
                self.blobs[name].diff[...] = value
        first = self._layer_names.index(start) if start is not None else len(self.layers) - 1
        last = self._layer_names.index(end) if end is not None else 0
        self._backward(first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        return {name: self.blobs[name].diff for name in (*names, *(diffs or ()))}

    def _backward(self, start: int, end: int) -> None:
        self._interpreter.backward(start, end)

    def _checked(self, given: dict[str, np.ndarray], wanted: Sequence[str], what: str) -> dict[str, np.ndarray]:
        """Arrays given by blob name, which must be those wanted, with the blobs' batch sizes."""
        if set(given) != set(wanted):
            raise ValueError(f"{what} arguments {sorted(given)} do not match the net's {list(wanted)}")
        for name, value in given.items():
            if value.shape[0] != self.blobs[name].shape[0]:
                raise ValueError(f"{what} {name} is not batch sized: {value.shape}, not {self.blobs[name].shape}")
        return given

    def _forward_batch(self, batch: dict[str, np.ndarray], blobs: Sequence[str] | None) -> dict[str, np.ndarray]:
        return self.forward(blobs, None, None, **batch)

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Forward any number of inputs in batches of the net's size; returns the outputs joined."""
        collected: dict[str, list[np.ndarray]] = {}
        for batch, padding in self._batches(kwargs):
            for name, out in self._forward_batch(batch, blobs).items():
                collected.setdefault(name, []).append(out[: len(out) - padding].copy())
        return {name: np.concatenate(parts) for name, parts in collected.items()}

    def _batches(self, inputs: dict[str, np.ndarray]) -> Iterator[tuple[dict[str, np.ndarray], int]]:
        """Slices of the net's batch size, the last one padded with zeros, and how many of its rows are padding."""
        size = self.blobs[self.inputs[0]].shape[0]
        count = len(next(iter(inputs.values())))
        for begin in range(0, count, size):
            batch = {name: np.asarray(value[begin : begin + size]) for name, value in inputs.items()}
            padding = size - len(next(iter(batch.values())))
            if padding:
                batch = {n: np.concatenate([v, np.zeros((padding, *v.shape[1:]), v.dtype)]) for n, v in batch.items()}
            yield batch, padding

    def reshape(self) -> None:
        """Let all blobs follow the present shapes of the inputs."""
        self._interpreter.reshape()

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        for param in self._core.params:
            if param.blob.grad is not None:
                param.blob.grad.zero_()

    # ----------------------------------------------------------------- weights

    def copy_from(self, weights: str | os.PathLike[str]) -> None:
        """Copy weights by layer name from a caffemodel or HDF5 file."""
        self._core.load_weights(weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a caffemodel."""
        self._core.save(path)

    def share_with(self, other: Net) -> None:
        """Use the other net's parameters in layers of the same name."""
        self._core.share_from(other._core)


def layer_type_list() -> list[str]:
    """All layer types that nets can be made of."""
    return sorted({*layers.layer_types(), *(t for t in DATA_TYPES if data.is_data_layer(t)), *FED_TYPES})
