"""pycaffe's ``Net``, ``Blob`` and ``Layer`` over the interpreter."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from caffecompat import data, layers, net
from caffecompat.data import MemorySource
from caffecompat.errors import CaffeCompatError
from caffecompat.glog import configure_logging
from caffecompat.layers.python_blob import BlobFace, BlobVec, RawBlobVec, sizes_of
from caffecompat.layers.python_layer import PythonLayer, PythonLayerBase
from caffecompat.net.blob import Blob as KeptBlob
from caffecompat.net.blob import ParamBlob
from caffecompat.net.interpreter import Interpreter
from caffecompat.net.layer import Split, Step
from caffecompat.pycaffe import api_2014
from caffecompat.pycaffe.mode import current_device, current_fork
from caffecompat.pycaffe.process import NCCL
from caffecompat.python_code import allowing_python_layers
from caffecompat.schema import NetDocument, open_net
from caffecompat.schema.data_layers import data_layer_types
from caffecompat.wording import nearest

__all__ = ["Blob", "BlobVec", "Layer", "Net", "RawBlobVec", "layer_type_list"]


class Blob(BlobFace):
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

    def reshape(self, *shape: int) -> None:
        """Take another shape; layers follow at ``net.reshape()`` or the next forward pass.

        Raises:
            TypeError: the sizes are not whole numbers, one for each axis.
            ValueError: one is negative, or it is a parameter's blob.
        """
        if isinstance(self._kept, ParamBlob):
            raise ValueError(f"a parameter blob keeps its shape {self.shape}")
        self._kept.resize(sizes_of(shape))


class Layer:
    """One entry of ``net.layers``; for a Python layer the user's own object is there."""

    def __init__(self, step: Step, blobs: Sequence[BlobFace]) -> None:
        self.type = step.type
        self.blobs = BlobVec(blobs)


def _entry(step: Step, blobs: Sequence[BlobFace]) -> Layer | PythonLayerBase:
    if isinstance(step.module, PythonLayer) and step.module.instance is not None:
        return step.module.instance
    return Layer(step, [] if isinstance(step, Split) else blobs)


class Net:
    """pycaffe's Net; from now on the log goes to stderr, as Caffe's does.

    ``Net(model, phase, level=0, stages=[...], weights=...)``, or the older ``Net(model, weights, phase)``. The phase is
    ``caffe.TRAIN``, ``caffe.TEST`` or the name of one of them, in any case. In addition to pycaffe's own arguments
    ``fork="jacinto"`` names the Caffe whose rules it follows, and ``python_layers=False`` refuses a net that would run
    the code of Python layers.

    Attributes:
        blobs: every blob by name, in the order Caffe makes them.
        params: the parameter blobs of each layer that has any.
        layers, layer_dict: the layers, Splits included, in order and by name.
        name: of the prototxt; scripts may set another.
        inputs, outputs: names of the tops of Input layers, and of the blobs that no layer reads.
        top_names, bottom_names: blob names by layer name.

    Raises:
        TypeError: no phase is given.
        CaffeCompatError: the prototxt makes no net, or the weights do not fit.
    """

    def __init__(self, network_file: str | os.PathLike[str] | NetDocument, *args: Any, **kwargs: Any) -> None:
        configure_logging()
        options = _options(args, kwargs)
        stages = list(options.get("stages") or ())
        if not isinstance(network_file, NetDocument):
            network_file = open_net(network_file, fork=current_fork(options.get("fork")))
        with allowing_python_layers(options.get("python_layers", True)):
            core = net.Net(
                network_file, options["phase"], level=options.get("level", 0), stages=stages, sources=data.make_source,
                weights=options.get("weights"),
            )  # fmt: skip
        self._take(core.to(current_device()))

    @classmethod
    def _of(cls, core: net.Net) -> Net:
        """A face for a net that exists (a solver's); its passes through the solver leave the blobs readable."""
        face = cls.__new__(cls)
        face._take(core)
        face._interpreter.attach()
        return face

    def __getattr__(self, name: str) -> Any:
        raise api_2014.missing(f"{type(self).__name__!r} object", name, api_2014.NET)

    def _take(self, core: net.Net) -> None:
        self._core = core
        self.name = core.name  # scripts set it
        self._interpreter = Interpreter(core)
        steps = self._interpreter.steps
        self.blobs = OrderedDict((name, Blob(kept)) for name, kept in self._interpreter.blobs.items())
        self.params = OrderedDict((n, BlobVec(map(Blob, blobs))) for n, blobs in self._interpreter.params.items())
        self._layer_names = [step.name for step in steps]
        self.layers = [_entry(step, self.params.get(step.name, [])) for step in steps]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.top_names = OrderedDict((step.name, list(step.tops)) for step in steps)
        self.bottom_names = OrderedDict((step.name, step.split_bottoms) for step in steps)
        self.inputs = [blob for step in steps if step.is_input for blob in step.tops]
        self.outputs = list(core.outputs)

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def _blobs(self) -> list[Blob]:
        return list(self.blobs.values())

    @property
    def _inputs(self) -> list[int]:
        return self._ids(self.inputs)

    @property
    def _outputs(self) -> list[int]:
        return self._ids(self.outputs)

    def _top_ids(self, layer: int) -> list[int]:
        return self._ids(self.top_names[self._layer_names[layer]])

    def _bottom_ids(self, layer: int) -> list[int]:
        return self._ids(self.bottom_names[self._layer_names[layer]])

    def _ids(self, names: Sequence[str]) -> list[int]:
        """Positions of blobs in `_blobs`."""
        positions = {name: index for index, name in enumerate(self.blobs)}
        return [positions[name] for name in names]

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        steps = self._interpreter.steps
        weights = {n: w for step in steps for n, w in zip(step.tops, step.split_loss_weights, strict=False)}
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
        first = self._index(start) if start is not None else 0
        last = self._index(end) if end is not None else len(self.layers) - 1
        self._forward(first, last)
        names = self.top_names[end] if end is not None else self.outputs
        return {name: self.blobs[name].data for name in (*names, *(blobs or ()))}

    def _index(self, layer: str) -> int:
        """Position of a layer."""
        if layer not in self.layer_dict:
            near = nearest(layer, self.layer_dict)
            raise ValueError(f"the net has no layer {layer!r}" + (f"; did you mean {near!r}?" if near else ""))
        return self._layer_names.index(layer)

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
        first = self._index(start) if start is not None else len(self.layers) - 1
        last = self._index(end) if end is not None else 0
        self._backward(first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        return {name: self.blobs[name].diff for name in (*names, *(diffs or ()))}

    def _backward(self, start: int, end: int) -> None:
        self._interpreter.backward(start, end)

    def _checked(self, given: dict[str, np.ndarray], wanted: Sequence[str], what: str) -> dict[str, np.ndarray]:
        """Arrays given by blob name, which must be those wanted, with the blobs' batch sizes."""
        if set(given) != set(wanted):
            raise ValueError(f"{what} arguments {sorted(given)} do not match the net's {list(wanted)}")
        arrays = {name: np.asarray(value) for name, value in given.items()}
        for name, value in arrays.items():
            if value.shape[:1] != self.blobs[name].shape[:1]:
                raise ValueError(f"{what} {name} is not batch sized: {value.shape}, not {self.blobs[name].shape}")
        return arrays

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Forward any number of inputs in batches of the net's size; returns the outputs joined."""
        collected: dict[str, list[np.ndarray]] = {}
        for batch, padding in self._batches(kwargs):
            _collect(collected, self.forward(blobs, None, None, **batch), padding)
        return {name: np.concatenate(parts) for name, parts in collected.items()}

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **kwargs: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Forward and backward any number of inputs in batches of the net's size.

        Args:
            blobs, diffs: names of blobs whose data and diffs to return besides the outputs and the inputs' diffs.
            kwargs: inputs, and diffs of outputs, by blob name.

        Returns:
            The outputs and the diffs, each joined.
        """
        outs: dict[str, list[np.ndarray]] = {}
        grads: dict[str, list[np.ndarray]] = {}
        given = [{name: kwargs[name] for name in names if name in kwargs} for names in (self.inputs, self.outputs)]
        for (batch, padding), (tops, _) in zip_longest(*map(self._batches, given), fillvalue=({}, 0)):
            _collect(outs, self.forward(blobs, None, None, **batch), padding)
            _collect(grads, self.backward(diffs, None, None, **tops), padding)
        joined = [{name: np.concatenate(parts) for name, parts in made.items()} for made in (outs, grads)]
        return joined[0], joined[1]

    def _batches(self, given: dict[str, np.ndarray]) -> Iterator[tuple[dict[str, np.ndarray], int]]:
        """Slices of the net's batch size, the last one padded with zeros, and how many of its rows are padding."""
        if not given:
            return
        size = next(iter(self.blobs.values())).shape[0]
        count = len(next(iter(given.values())))
        for begin in range(0, count, size):
            batch = {name: np.asarray(value[begin : begin + size]) for name, value in given.items()}
            padding = size - len(next(iter(batch.values())))
            if padding:
                batch = {n: np.concatenate([v, np.zeros((padding, *v.shape[1:]), v.dtype)]) for n, v in batch.items()}
            yield batch, padding

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Let a MemoryData layer read from these arrays, again and again.

        Args:
            data: (M, C, H, W) float32, M a multiple of the batch size.
            labels: (M) float32.

        Raises:
            CaffeCompatError: the first layer is no MemoryData, or the arrays do not fit it.
        """
        source = self._core.layers[0].source
        if not isinstance(source, MemorySource):
            raise CaffeCompatError(
                f"set_input_arrays is for nets whose first layer is MemoryData; here it is {self._core.layers[0].type}"
            )
        source.set_arrays(data, labels)

    def before_forward(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the index of each layer before it runs forward."""
        self._interpreter.callbacks["before_forward"].append(callback)

    def after_forward(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the index of each layer after it ran forward."""
        self._interpreter.callbacks["after_forward"].append(callback)

    def before_backward(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with the index of each layer before it runs backward."""
        self._interpreter.callbacks["before_backward"].append(callback)

    def after_backward(self, callback: Callable[[int], None] | NCCL) -> None:
        """Call `callback` with the index of each layer after it ran backward."""
        if not isinstance(callback, NCCL):  # which would sum gradients of several solvers
            self._interpreter.callbacks["after_backward"].append(callback)

    def reshape(self) -> None:
        """Let all blobs follow the present shapes of the inputs."""
        self._interpreter.reshape()

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        self._core.take_written()
        for param in self._core.params:
            if param.blob.grad is not None:
                param.blob.grad.zero_()

    # ----------------------------------------------------------------- weights

    def copy_from(self, weights: str | os.PathLike[str]) -> None:
        """Copy weights by layer name from a caffemodel or HDF5 file."""
        self._core.load_weights(weights)

    def load_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Copy weights by layer name from an HDF5 file."""
        self._core.load_weights(path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a caffemodel, or HDF5 where `path` ends in ``.h5``."""
        self._core.save(path)

    def save_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Write the weights in Caffe's HDF5 form, whatever the file is called."""
        self._core.save(path, hdf5=True)

    def share_with(self, other: Net) -> None:
        """Use the other net's parameters in layers of the same name."""
        self._core.share_from(other._core)


def _options(args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of Net by name; where the second is a path, it is the older order (weights, phase)."""
    older = bool(args) and isinstance(args[0], (str, os.PathLike))
    if len(args) == 1 and "phase" not in kwargs and str(args[0]).upper() in ("TRAIN", "TEST"):
        older = False  # Net(model, "test"): no path, because then there would be no phase
    names = ("weights", "phase") if older else ("phase", "level", "stages", "weights")
    if len(args) > len(names):
        raise TypeError(f"Net takes {', '.join(('network_file', *names))}; {len(args) + 1} arguments were given")
    options = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in options or name not in ("phase", "level", "stages", "weights", "fork", "python_layers"):
            raise TypeError(f"Net was given {name!r} twice" if name in options else f"Net takes no argument {name!r}")
        options[name] = value
    if options.get("phase") is None:
        if older:
            raise TypeError(api_2014.TWO_ARGUMENTS)
        raise TypeError("Net needs a phase: caffe.TRAIN or caffe.TEST")
    return options


def _collect(collected: dict[str, list[np.ndarray]], blobs: dict[str, np.ndarray], padding: int) -> None:
    for name, array in blobs.items():
        collected.setdefault(name, []).append(array[: len(array) - padding].copy())


def layer_type_list() -> list[str]:
    """All layer types that nets can be made of."""
    return sorted({*layers.layer_types(), *data_layer_types()})
