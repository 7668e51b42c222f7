"""A net made from a prototxt, which is a torch module: layers, parameters, computation, weights in and out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from caffecompat import glog
from caffecompat.deprecation import RenamedAttribute
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork, ForkChoice
from caffecompat.formats import save_caffemodel
from caffecompat.layers import Context
from caffecompat.layers.layer import exporting
from caffecompat.net.alignment import crop_doubts
from caffecompat.net.backward_needs import mark_needs
from caffecompat.net.blob import push_written
from caffecompat.net.build import build_layers, check_layers
from caffecompat.net.filter import filter_net, make_state
from caffecompat.net.graph import Graph, build_graph
from caffecompat.net.inplace import InPlace, find_inplace
from caffecompat.net.inputs import blobs_by_name
from caffecompat.net.layer import MakeSource, NetLayer, Shape, Step, Value
from caffecompat.net.layout import choose_channels_last
from caffecompat.net.log import log_steps
from caffecompat.net.module import make_module
from caffecompat.net.params import LearnableParam, collect_params
from caffecompat.net.precision import apply_precision
from caffecompat.net.problems import NetError, Problem, described
from caffecompat.net.records import naming_records
from caffecompat.net.shapes import infer_shapes, naming_layers
from caffecompat.net.sharing import share_weights
from caffecompat.net.splits import message_with_splits, put_splits
from caffecompat.net.stored import blobs_by_layer, diffs_by_layer, save_hdf5
from caffecompat.net.weights import LoadReport, WeightPaths, copy_weights, weight_paths
from caffecompat.schema import NetDocument, as_document, as_phase, pb, write_text
from caffecompat.wording import few

__all__ = ["Net"]

Tops = dict[str, Tensor]
Blob = Tensor | np.ndarray


class Net(nn.Module):
    """A Caffe net on torch: a module whose children are the layers that compute, under their names.

    Calling it computes the outputs (see :meth:`forward`). All that torch does with a module it does with this one:
    ``to``, ``double``, ``train`` and ``eval``, ``state_dict`` and ``load_state_dict`` (keys: layer and blob, as in
    ``conv1.weight``), hooks, ``copy.deepcopy``, ``pickle``, ``torch.compile``, ``torch.export``,
    ``DistributedDataParallel``. What the layers of a data source need of threads and databases stays with the net that
    opened them: copies and pickles are nets fed from outside.

    Args:
        document: path of a prototxt, a NetDocument, or a NetParameter.
        phase: ``pb.TRAIN`` (0) or ``pb.TEST`` (1), or its name in any case.
        level: NetState level; None is what the prototxt's own state says.
        stages: NetState stages on top of the prototxt's own.
        sources: makes the sources of data layers, as ``caffecompat.data.make_source``;
            without it only nets fed from outside (`Input`, `MemoryData`) can be made.
        log: print the lines that Caffe prints while it sets a net up.
        strict: unknown fields in a prototxt given by path are errors.
        weights: file(s) to start from, as for :meth:`load_weights`; quicker than loading them afterwards, as only
            blobs that they do not have are filled.
        skip_mismatched: as for :meth:`load_weights`.

    Attributes:
        name, phase, message: of the net; `message` is the NetParameter filtered by its state.
        graph_module: the computation as a torch.fx.GraphModule with one call per layer; takes the fed blobs, returns
            a dict. It has the same layers as the net.
        layers: every layer in order, data layers included.
        steps: the layers and Splits as Caffe runs them.
        params: the learnable parameters in Caffe's order (that of the solver's history).
        fed: names of the blobs that come from outside or from sources, in the order of the net's arguments.
        outputs: names of the blobs that no layer reads, sorted as Caffe sorts them.
        loss_weights: weight in the objective of each top that has one.
        blob_shapes, value_shapes: shape of each blob (of its last value where layers work in place), of each value.
        loaded: what loading `weights` did; None without any.
        channels_last: whether pictures are laid out so while the net computes (see `memory_format`).
        half_precision: whether some layers compute in 16 bits (``default_forward_type: FLOAT16``).
        fork_choice: whose rules the net follows, and why.
        weights_writer: the fork whose blob format the loaded weights have; None where nothing shows it.
        relative_to: the file next to which relative paths in `message` may lead.
        execute: called with the fed tensors in place of the graph; None unless someone holds the net's blobs (pycaffe).
        input_values: called for the blobs of Input layers where :meth:`forward` is given none; there are none
            unless someone holds the net's blobs.

    Raises:
        NetError: the prototxt makes no net; all problems at once.
        WeightsMismatch, CaffeCompatError: as for :meth:`load_weights`; a file cannot be read.

    >>> from caffecompat import Net
    >>> net = Net("deploy.prototxt", "TEST", log=False, weights="net.caffemodel")
    >>> net.fed, net.outputs, net.blob_shapes["conv"]
    (['data'], ['prob'], (1, 4, 8, 8))
    >>> [name for name, _ in net.named_parameters()]
    ['conv.weight', 'conv.bias', 'fc.weight']
    """

    # Declared here, for a layer may have none of these names in the module.
    name: str
    phase: int
    message: Any
    fork_choice: ForkChoice
    relative_to: str | None
    log: bool
    weights_writer: Fork | None
    graph: Graph
    graph_module: fx.GraphModule
    layers: list[NetLayer]
    params: list[LearnableParam]
    steps: list[Step]
    fed: list[str]
    outputs: list[str]
    loss_weights: dict[str, float]
    blob_shapes: dict[str, Shape]
    value_shapes: dict[Value, Shape]
    loaded: LoadReport | None
    channels_last: bool
    half_precision: bool
    execute: Callable[..., Tops] | None
    input_values: Callable[[], dict[str, Tensor | np.ndarray]]

    beside = RenamedAttribute("relative_to")

    def __init__(
        self,
        document: str | os.PathLike[str] | NetDocument | Any,
        phase: int | str,
        *,
        level: int | None = None,
        stages: Sequence[str] = (),
        sources: MakeSource | None = None,
        log: bool = True,
        strict: bool = False,
        weights: WeightPaths | None = None,
        skip_mismatched: bool = False,
    ) -> None:
        super().__init__()
        phase = as_phase(phase)
        document = as_document(document, strict=strict)
        if document.path and not document.message.layer:
            raise NetError([f"{document.path}: has no layers; an empty or cut-off file, or not a net"])
        state = make_state(document.message, phase, level, stages)
        say = _net_log if log else _silent
        message, kept, problems = filter_net(document.message, state, lambda line: say(line, "net.cpp:296"))
        if not document.fork_choice.why:  # else said when the text was read
            say(f"{document.path}: {document.fork_choice}", "net.cpp:49")
        say(f"Initializing net from parameters: \n{write_text(message).rstrip()}", "net.cpp:53")
        self.name = message.name
        self.phase = phase
        self.fork_choice = document.fork_choice
        self.message = message
        self.relative_to = document.relative_to
        self.log = log
        self.weights_writer = None
        self._like = torch.empty(0)  # of the net's device and type
        self.graph = build_graph(message, document.message)
        self.layers = self.graph.layers
        context = Context(phase, document.fork, document.relative_to, weights is None)
        shapes, made_badly = build_layers(self.graph, context, sources, document.relative_to)
        found = self.graph.problems + made_badly + check_layers(self.layers)
        self.params, more = collect_params(self.layers, message.force_backward)
        places = [Problem(kept[p.layer] if p.layer is not None else None, p.text) for p in found + more]
        if problems or places:
            self.close()
            raise NetError(described(document, problems + places))
        if not document.fork_choice.why:
            doubts = [Problem(kept[index], text) for index, text in crop_doubts(self.graph).items()]
            for line in described(document, doubts):
                _warn_once(line)
        self._set_shapes(shapes)
        self.outputs = [value.blob for value in self.graph.outputs]
        self.loss_weights = self._find_loss_weights()
        self.steps = put_splits(self.layers)
        mark_needs(self.steps, self.params, message.force_backward)
        self.channels_last = choose_channels_last(self.layers)
        self.half_precision = apply_precision(message, self.layers)
        self.execute = None
        self.input_values = dict
        self._in_place = InPlace(find_inplace(self.graph, self.layers))
        self._fed_from_sources = [layer for layer in self.layers if layer.source is not None]
        self._write_graph_module()
        for name, module in self.graph_module.named_children():
            self.add_module(name, module)
        self.training = self.graph_module.training
        if log:
            log_steps(self.steps, [self.step_shapes(step) for step in self.steps], self.params, self.outputs)
        self.loaded = None if weights is None else self._start_from(weights, skip_mismatched)

    def _write_graph_module(self) -> None:
        """Write the graph as code; a child of its own it must not be, as it has the same layers as the net."""
        reserved = {*dir(Net), *Net.__annotations__}
        module, self.fed = make_module(self.name, self.graph, self.layers, taken=reserved)
        object.__setattr__(self, "graph_module", module)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles are made of: the sources stay here, and the code is written again."""
        state = self.__dict__ | {"execute": None, "input_values": dict, "_fed_from_sources": []}
        del state["graph_module"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._write_graph_module()

    def extra_repr(self) -> str:
        """Name and phase, for ``print(net)``."""
        return f"{self.name!r}, phase={'TRAIN' if self.phase == pb.TRAIN else 'TEST'}"

    @property
    def code(self) -> str:
        """The computation as Python code, a line a layer."""
        return str(self.graph_module.code)

    @property
    def device(self) -> torch.device:
        """Where the net's parameters are and where it computes."""
        return self._like.device

    @property
    def fork(self) -> Fork:
        """The Caffe whose rules the net follows."""
        return self.fork_choice.fork

    def _start_from(self, weights: WeightPaths, skip_mismatched: bool) -> LoadReport:
        try:
            report = self.load_weights(weights, skip_mismatched=skip_mismatched)
        except BaseException:
            self.close()
            raise
        for layer in self.layers:
            if layer.module is not None:
                layer.module.fill_blobs()
        return report

    @property
    def fed_shapes(self) -> dict[str, Shape]:
        """Shapes of the fed blobs as they come in, before layers work on them in place (DeephiResize, for one)."""
        first = {value.blob: shape for value, shape in self.value_shapes.items() if value.version == 0}
        return {blob: first[blob] for blob in self.fed}

    @property
    def memory_format(self) -> torch.memory_format:
        """In which the net computes."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    # ----------------------------------------------------------------- running

    def forward(self, *blobs: Blob | Mapping[str, Blob], **named: Blob) -> Tops:
        """Compute the outputs.

        Args:
            blobs: the fed blobs in the order of `fed`, float32 as a rule, pictures (N, C, H, W); or a mapping of them
                by name, which may have more.
            named: fed blobs by name. Without any argument the next batch comes from the sources and `input_values`.

        Returns:
            The output blobs and every top with a loss weight, by blob name.

        Raises:
            CaffeCompatError: a fed blob is neither given nor made by a source, what is given is no blob of the net's,
                a layer cannot work on the shapes that come of them, or torch.export cannot trace one.

        >>> from caffecompat.schema import parse_text, pb
        >>> net = Net(parse_text('''
        ...     layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
        ...     layer { name: "sum" type: "Reduction" bottom: "data" top: "sum" reduction_param { axis: 1 } }
        ... ''', pb.NetParameter()), "TEST", log=False)
        >>> net(torch.ones(2, 3, 4, 4))
        {'sum': tensor([48., 48.])}
        >>> net(data=torch.ones(2, 3, 4, 4))["sum"].equal(net({"data": torch.ones(2, 3, 4, 4)})["sum"])
        True
        """
        batch = blobs_by_name(self.name, self.fed, blobs, named) if blobs or named else self.next_batch()
        given = self.fed_tensors(batch)
        if torch.compiler.is_compiling():
            if exporting():
                self._check_traceable()
            return self._run_code(*given.values())
        execute = self.execute or self._compute
        with naming_records(self._fed_from_sources), naming_layers(lambda: self._shapes_from(given)):
            return execute(*given.values())

    def _check_traceable(self) -> None:
        for layer in self.layers:
            if layer.module is not None and layer.module.untraceable:
                raise CaffeCompatError(
                    f"layer {layer.name!r} ({layer.type}) cannot be exported by torch.export: "
                    f"{layer.module.untraceable}; export the net without it"
                )

    def _compute(self, *fed: Tensor) -> Tops:
        self._in_place.settle()
        return self._run_code(*fed)

    def _run_code(self, *fed: Tensor) -> Tops:
        """The graph's code, run on the net's own children."""
        tops: Tops = type(self.graph_module).forward(self, *fed)
        return tops

    def fed_tensors(self, batch: Mapping[str, Blob]) -> Tops:
        """The fed blobs out of a batch, on the net's device in its memory format.

        Raises:
            CaffeCompatError: one is missing.
        """
        missing = [blob for blob in self.fed if blob not in batch]
        if missing:
            raise CaffeCompatError(f"net {self.name!r} needs inputs for {few([repr(blob) for blob in missing], 8)}")
        return {blob: self.to_device(batch[blob]) for blob in self.fed}

    def _shapes_from(self, given: Tops) -> dict[Value, Shape]:
        return infer_shapes(self.layers, {blob: tuple(tensor.shape) for blob, tensor in given.items()})

    def next_batch(self) -> dict[str, Blob]:
        """One batch from every source, and what `input_values` gives, by blob name."""
        return self.input_values() | {
            blob: array
            for layer in self._fed_from_sources
            if layer.source is not None
            for blob, array in zip(layer.tops, layer.source.next(), strict=False)
        }

    def to_device(self, blob: Blob) -> Tensor:
        """A blob on the net's device in its memory format, float64 in a float64 net; copies to a GPU do not wait."""
        tensor = torch.from_numpy(blob) if isinstance(blob, np.ndarray) else blob
        if tensor.device != self.device:
            if self.device.type == "cuda" and not tensor.is_cuda:
                tensor = tensor.pin_memory()
            tensor = tensor.to(self.device, non_blocking=True)
        if tensor.dtype == torch.float32 and self._like.dtype == torch.float64:
            tensor = tensor.double()
        return tensor.contiguous(memory_format=self.memory_format) if tensor.dim() == 4 else tensor

    def loss(self, tops: Tops) -> Tensor:
        """The scalar objective of one forward pass: the weighted sum of all loss tops."""
        total: Tensor | None = None
        for blob, weight in self.loss_weights.items():
            value = tops[blob] if tops[blob].dim() == 0 else tops[blob].sum()
            value = value if weight == 1 else value * weight
            total = value if total is None else total + value
        return torch.zeros((), device=self.device) if total is None else total

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Net:
        """What ``to``, ``double`` and the like do to every parameter; those that layers share stay shared."""
        super()._apply(fn, recurse)
        self._like = fn(self._like)
        for layer in self.layers:
            for slot in layer.slots:
                if slot.owner is not None and slot.parameter is not slot.owner.parameter:
                    slot.share(slot.owner.parameter)
        return self

    def take_written(self) -> None:
        """Take over what Python wrote into parameters and their gradients: on a GPU it writes into copies of them."""
        if self.device.type != "cpu":
            push_written(slot.parameter for layer in self.layers for slot in layer.slots)

    def allow_inplace(self, allowed: bool) -> None:
        """Let layers write over bottoms that nobody else needs; off for whoever wants to see every blob."""
        self._in_place.allow(allowed)

    @property
    def inplace_layers(self) -> list[NetLayer]:
        """The layers that may write over their bottoms."""
        return self._in_place.layers

    def close(self) -> None:
        """Stop the sources."""
        for layer in self.layers:
            if layer.source is not None:
                layer.source.close()

    def reshape(self, shapes: Mapping[str, Shape]) -> None:
        """Infer all shapes again for fed blobs of other shapes.

        Raises:
            CaffeCompatError: a layer cannot work on the shapes that result.
        """
        self._set_shapes(infer_shapes(self.layers, dict(shapes)))

    # ----------------------------------------------------------------- weights

    def load_weights(self, paths: WeightPaths, *, skip_mismatched: bool = False) -> LoadReport:
        """Copy weights by layer name from one file or several; later files win.

        Args:
            paths: a path or a list of paths.
            skip_mismatched: leave layers that do not fit at their initial values.

        Raises:
            WeightsMismatch: blob counts or shapes differ; every mismatch at once.
            CaffeCompatError: a file cannot be read, or none is named.
        """
        known = {step.name for step in self.steps}
        self.take_written()
        report = copy_weights(self.layers, known, weight_paths(paths), skip_mismatched=skip_mismatched, log=self.log)
        self.weights_writer = report.writer or self.weights_writer
        if report.trained_as not in (None, self.fork):
            named, file = report.trained_as, weight_paths(paths)[-1]
            glog.warning(
                f"{file}: trained under the rules of {named.value}, named by the user; this run follows those of "
                f"{self.fork.value} (--fork {named.name.lower()}, or fork=, chooses the same)"
            )
        return report

    def check_files(self) -> None:
        """Make sure that files which layers read later can be read, before any computing is spent.

        Raises:
            NetError: one cannot; the message names the layer.
        """
        for layer in self.layers:
            if layer.module is not None:
                try:
                    layer.module.check_files()
                except CaffeCompatError as problem:
                    raise NetError([f"layer {layer.name!r} ({layer.type}): {problem}"]) from None

    def blobs_by_layer(self) -> dict[str, list[np.ndarray]]:
        """The parameter blobs of each layer that has any, in Caffe's order, as float32 arrays in C order."""
        self.take_written()
        return blobs_by_layer(self.layers)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        diffs: Mapping[int, Tensor] | None = None,
        raw: bool = False,
        hdf5: bool = False,
    ) -> None:
        """Write a caffemodel, or Caffe's HDF5 form where `path` ends in ``.h5``.

        Args:
            diffs: stored as the blobs' diffs, by position in `params`; blobs without one get zeros.
            raw: a caffemodel in NVCaffe's own blob format.
            hdf5: write HDF5 whatever `path` ends in.

        Raises:
            CaffeCompatError: the file cannot be written; an old one stays whole.
        """
        self.take_written()
        stored_diffs = diffs_by_layer(self.layers, self.params, diffs) if diffs is not None else None
        if hdf5 or os.fspath(path).endswith(".h5"):
            save_hdf5(path, self.layers, [step.name for step in self.steps], stored_diffs, self.fork_choice.kept)
        else:
            message, blobs = self.message_with_splits(), self.blobs_by_layer()
            save_caffemodel(path, message, blobs, stored_diffs, raw=raw, fork=self.fork_choice.kept)

    def share_from(self, other: Net) -> None:
        """Use the parameters of `other` in layers of the same name (BVLC ``ShareTrainedLayersWith``).

        Raises:
            NetError: counts or shapes differ; every difference at once.
        """
        share_weights(self.layers, other.layers)

    def message_with_splits(self) -> Any:
        """The NetParameter as Caffe saves it: with Split layers, the phase in every layer, losses with weights."""
        return message_with_splits(self.message, self.phase, self.steps)

    # ------------------------------------------------------------------ shapes

    def step_shapes(self, step: Step) -> list[Shape]:
        """Shapes of a step's tops."""
        return [self.value_shapes[value] for value in step.top_values]

    def _set_shapes(self, shapes: dict[Value, Shape]) -> None:
        self.value_shapes = shapes
        self.blob_shapes = {value.blob: shape for value, shape in shapes.items()}

    def _find_loss_weights(self) -> dict[str, float]:
        return {
            blob: weight
            for layer in self.layers
            for blob, weight in zip(layer.tops, layer.loss_weights, strict=False)
            if weight
        }


@cache
def _warn_once(line: str) -> None:
    """A warning of what every net made of the same text would bring again."""
    glog.warning(line)


def _net_log(line: str, where: str) -> None:
    glog.info(line, where)


def _silent(line: str, where: str) -> None:
    pass
