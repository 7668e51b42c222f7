"""A net made from a prototxt, which is a torch module: layers, parameters, computation, weights in and out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from caffecompat.deprecation import RenamedAttribute
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import Fork, ForkChoice
from caffecompat.layers import Context
from caffecompat.layers.fixed import computes_in_fixed_point
from caffecompat.layers.layer import exporting
from caffecompat.net import weights_io
from caffecompat.net.blob import push_written
from caffecompat.net.build import build_net
from caffecompat.net.computation import Computation, Tops
from caffecompat.net.inputs import BytePictures, blobs_by_name, missing_blobs, on_device
from caffecompat.net.layer import MakeSource, Shape, Step, Value
from caffecompat.net.layout import choose_channels_last
from caffecompat.net.learning import Learning
from caffecompat.net.log import log_steps
from caffecompat.net.module import check_traceable
from caffecompat.net.params import LearnableParam
from caffecompat.net.pass_errors import REFUSED, explain
from caffecompat.net.precision import Amp, apply_precision, with_amp
from caffecompat.net.problems import NetError
from caffecompat.net.quantization_plan import SAVED_AS, wants_quantization
from caffecompat.net.shapes import infer_shapes
from caffecompat.net.sharing import share_weights
from caffecompat.net.splits import message_with_splits
from caffecompat.net.weights import LoadReport, WeightPaths
from caffecompat.schema import NetDocument, as_document, as_phase, pb

if TYPE_CHECKING:
    from caffecompat.net.quantization import Quantization

__all__ = ["Net"]

Blob = Tensor | np.ndarray
FedBlob = Blob | BytePictures


class Net(Computation):
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
        meta: make parameters on torch's meta device, with shapes but neither memory nor values, for whoever asks for
            shapes alone.
        learning: what learns, and how fast, where it is not as the prototxt says.
        amp: "bf16" or "fp16": compute in 16 bits, as ``default_forward_type`` asks for; all layers but those whose own
            ``forward_type`` is FLOAT.
        quantized: compute in TI's dynamic fixed point where the prototxt asks for it (``quantize: true``).

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
        half_precision: whether some layers compute in 16 bits (``default_forward_type: BFLOAT16``).
        fork_choice: whose rules the net follows, and why.
        weights_writer: the fork whose blob format the loaded weights have; None where nothing shows it.
        relative_to: the file next to which relative paths in `message` may lead.
        execute: called with the fed tensors in place of the graph; None unless someone holds the net's blobs (pycaffe).
        quantization: TI's dynamic fixed point, for a net that asks for it; else None.
        after_read: called with each layer that has read a batch from its source, and the batch; None as a rule.
        seconds_reading: that batches from the sources were waited for.
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
    phase: int
    message: pb.NetParameter
    fork_choice: ForkChoice
    relative_to: str | None
    log: bool
    weights_writer: Fork | None
    params: list[LearnableParam]
    steps: list[Step]
    outputs: list[str]
    after_read: Callable[[Step, Sequence[Blob]], None] | None = None
    loss_weights: dict[str, float]
    blob_shapes: dict[str, Shape]
    value_shapes: dict[Value, Shape]
    loaded: LoadReport | None
    channels_last: bool
    half_precision: bool
    quantization: Quantization | None
    execute: Callable[..., Tops] | None
    input_values: Callable[[], dict[str, Tensor | np.ndarray]]
    seconds_reading: float

    beside = RenamedAttribute("relative_to")

    def __init__(
        self,
        document: str | os.PathLike[str] | NetDocument | pb.NetParameter,
        phase: int | str,
        *,
        level: int | None = None,
        stages: Sequence[str] = (),
        sources: MakeSource | None = None,
        log: bool = True,
        strict: bool = False,
        weights: WeightPaths | None = None,
        skip_mismatched: bool = False,
        meta: bool = False,
        learning: Learning = Learning(),  # noqa: B008 (frozen)
        amp: Amp | None = None,
        quantized: bool = True,
    ) -> None:
        phase = as_phase(phase)
        document = with_amp(as_document(document, strict=strict), amp)
        device = "meta" if meta else None
        context = Context(
            phase,
            document.fork,
            document.relative_to,
            fill=weights is None,
            device=device,
            frozen_norms=learning.freeze_bn,
            fixed_point=computes_in_fixed_point(document.message),
        )
        built = build_net(document, context, level=level, stages=stages, sources=sources, log=log, learning=learning)
        half_precision = apply_precision(built.message, built.graph.layers)
        super().__init__(built.message.name, built.graph, device)
        self.half_precision = half_precision
        self.execute = None
        self.input_values = dict
        self.seconds_reading = 0.0
        self.phase = phase
        self.fork_choice = document.fork_choice
        self.message = built.message
        self.relative_to = document.relative_to
        self.log = log
        self.weights_writer = None
        self.params = built.params
        self.steps = built.steps
        self._set_shapes(built.shapes)
        self.outputs = [value.blob for value in self.graph.outputs]
        self.loss_weights = {
            blob: weight
            for layer in self.layers
            for blob, weight in zip(layer.tops, layer.loss_weights, strict=False)
            if weight
        }
        self.channels_last = choose_channels_last(self.layers)
        if log:
            log_steps(self.steps, [self.step_shapes(step) for step in self.steps], self.params, self.outputs)
        self.quantization = None
        if wants_quantization(built.message) and quantized:
            from caffecompat.net.quantization import Quantization  # loads torch's compiler

            self.quantization = Quantization(built.message, phase, built.steps, log=log)
        self.loaded = None
        if weights is not None:
            self.loaded = weights_io.start_from(self, weights, skip_mismatched=skip_mismatched)

    def extra_repr(self) -> str:
        """Name and phase, for ``print(net)``."""
        return f"{self.name!r}, phase={'TRAIN' if self.phase == pb.TRAIN else 'TEST'}"

    @property
    def fork(self) -> Fork:
        """The Caffe whose rules the net follows."""
        return self.fork_choice.fork

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
        if self.quantization is None or exporting():
            return self._compute_outputs(blobs, named)
        self.quantization.begin()
        tops = self._compute_outputs(blobs, named)
        self.quantization.finish()
        return tops

    def _compute_outputs(self, blobs: tuple[Blob | Mapping[str, Blob], ...], named: Mapping[str, Blob]) -> Tops:
        batch = blobs_by_name(self.name, self.fed, blobs, named) if blobs or named else self._own_batch(as_bytes=True)
        given = self.fed_tensors(batch)
        if self.quantization is not None and any(map(self.quantization.writes_bottoms, self.layers)):
            given = {blob: tensor.clone() for blob, tensor in given.items()}  # what is given stays as it is
        if torch.compiler.is_compiling():
            if exporting():
                check_traceable(self.layers)
            return self.run_code(*given.values())
        try:
            return (self.execute or self.compute)(*given.values())
        except REFUSED as problem:
            shapes = {blob: tuple(tensor.shape) for blob, tensor in given.items()}
            explain(problem, lambda: infer_shapes(self.layers, shapes), self._fed_from_sources)
            raise

    def fed_tensors(self, batch: Mapping[str, FedBlob]) -> Tops:
        """The fed blobs out of a batch, on the net's device in its memory format.

        Raises:
            CaffeCompatError: one is missing.
        """
        try:
            return {blob: self.to_device(batch[blob]) for blob in self.fed}
        except KeyError:
            raise missing_blobs(self.name, [blob for blob in self.fed if blob not in batch]) from None

    def next_batch(self) -> dict[str, Blob]:
        """One batch from every source, and what `input_values` gives, by blob name."""
        return cast("dict[str, Blob]", self._own_batch(as_bytes=False))

    def _own_batch(self, *, as_bytes: bool) -> dict[str, FedBlob]:
        """The next batch; pictures as bytes, on request, where a GPU is to normalize them."""
        batch: dict[str, FedBlob] = dict(self.input_values())
        for layer in self._fed_from_sources:
            assert layer.source is not None
            seen = self.quantization is not None or self.after_read is not None or self.device.type == "cpu"
            if as_bytes and not seen:
                start = time.perf_counter()
                tops: Sequence[FedBlob] = layer.source.next_pixels()
                self.seconds_reading += time.perf_counter() - start
            else:
                tops = self.read(layer)
            batch.update(zip(layer.tops, tops, strict=False))
        return batch

    def read(self, layer: Step) -> Sequence[Blob]:
        """The next batch of one layer's source, one array a top."""
        assert layer.source is not None
        start = time.perf_counter()
        arrays = layer.source.next()
        self.seconds_reading += time.perf_counter() - start
        if self.after_read is not None:
            self.after_read(layer, arrays)
        return arrays if self.quantization is None else self.quantization.read(layer, arrays)

    def skip_batch(self) -> None:
        """Leave out the next batch of every source, which another process takes."""
        for layer in self._fed_from_sources:
            if layer.source is not None:
                layer.source.skip()

    def to_device(self, blob: FedBlob) -> Tensor:
        """A blob on the net's device in its memory format, float64 in a float64 net; copies to a GPU do not wait."""
        return on_device(blob, self._like, self.channels_last)

    def loss(self, tops: Tops) -> Tensor:
        """The scalar objective of one forward pass: the weighted sum of all loss tops."""
        total: Tensor | None = None
        for blob, weight in self.loss_weights.items():
            value = tops[blob] if tops[blob].dim() == 0 else tops[blob].sum()
            value = value if weight == 1 else value * weight
            total = value if total is None else total + value
        return torch.zeros((), device=self.device) if total is None else total

    def checkpoint_activations(self) -> None:
        """From now on hold fewer blobs for the backward pass, and compute the others again there (`checkpointed`)."""
        from caffecompat.net.checkpointed import CheckpointedCode  # loads torch's checkpointing

        code = CheckpointedCode(self.graph, self._shortcuts.pairs, self.value_shapes)
        for layer in code.parted:
            self._shortcuts = self._shortcuts.without(layer)
        self._code = code

    def take_written(self) -> None:
        """Take over what Python wrote into parameters and their gradients: on a GPU it writes into copies of them."""
        if self.device.type != "cpu":
            push_written(slot.parameter for layer in self.layers for slot in layer.slots)

    def close(self) -> None:
        """Stop the sources."""
        for layer in self.layers:
            layer.close()

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
        self.require_own_layers()
        self.take_written()
        return weights_io.load(self, paths, skip_mismatched=skip_mismatched)

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
        self.require_own_layers()
        self.take_written()
        return weights_io.blobs_by_layer(self.layers)

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
        self.require_own_layers()
        self.take_written()
        weights_io.save(self, path, diffs=diffs, raw=raw, hdf5=hdf5)

    def share_from(self, other: Net) -> None:
        """Use the parameters of `other` in layers of the same name (BVLC ``ShareTrainedLayersWith``).

        Raises:
            NetError: counts or shapes differ; every difference at once.
        """
        self.require_own_layers()
        other.require_own_layers()
        share_weights(self.layers, other.layers)

    def message_with_splits(self) -> pb.NetParameter:
        """The NetParameter as Caffe saves it: with Split layers, the phase in every layer, losses with weights."""
        message = message_with_splits(self.message, self.phase, self.steps)
        if self.message.HasField("quantize"):
            message.name += SAVED_AS
        if self.quantization is not None:
            self.quantization.store(message)
        return message

    # ------------------------------------------------------------------ shapes

    def step_shapes(self, step: Step) -> list[Shape]:
        """Shapes of a step's tops."""
        return [self.value_shapes[value] for value in step.top_values]

    def _set_shapes(self, shapes: dict[Value, Shape]) -> None:
        self.value_shapes = shapes
        self.blob_shapes = {value.blob: shape for value, shape in shapes.items()}
