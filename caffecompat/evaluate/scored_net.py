"""A net cut off at its scores, fed with pictures or by its own data layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from caffecompat.arguments import as_size
from caffecompat.data import make_source
from caffecompat.data.preprocess import Preprocess, choose_preprocess
from caffecompat.deploy.inference.inference_net import Engine, InferenceNet, as_engine
from caffecompat.deploy.input_size import fitting_sizes
from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Layer, class_of
from caffecompat.layers.accuracy import Accuracy
from caffecompat.layers.class_scores import holds_shares
from caffecompat.layers.reduction import ArgMax
from caffecompat.layers.softmax import Softmax
from caffecompat.layers.softmax_loss import SoftmaxWithLoss
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.filter import filter_net, make_state
from caffecompat.net.mixing import bypass_mixing
from caffecompat.net.weights import WeightPaths
from caffecompat.schema import NetDocument, open_net, pb
from caffecompat.schema.data_layers import reads_data

__all__ = ["ScoredNet", "own_pictures", "own_records"]


class ScoredNet:
    """A net without what follows its scores (losses, accuracies; softmax where it changes no answer).

    Args:
        model: path of a deploy prototxt (or the net that was read from one), fed with pictures; or of a train_val
            prototxt, whose TEST phase brings its own.
        weights: a weight file, or a list of them; None leaves initial values.
        blob: name of the scores; None finds them: what the last softmax, loss or accuracy reads, else the only output.
        device: where to compute.
        size: (height, width) of the input instead of the prototxt's.
        engine: what computes the scores, with normalization folded: "torch", "onnxruntime" (on CPUs), or the one of
            the two that is expected to be faster ("auto").

    Attributes:
        net: the net, without the layers after the scores.
        scores: name of the blob of scores.
        labels: name of the blob of labels; None in a deploy net.
        classes: number of classes, the scores' second axis.
        input_shape: (N, C, H, W) of the fed blob; None when the net reads its own data.
        loaded: what became of the weight file; None before any was loaded.

    Raises:
        CaffeCompatError: the files cannot be read, or the net has no such scores.
    """

    keeps_softmax: ClassVar[bool] = False  # its scores are probabilities for people, not only an order
    # Layers that end such a net; what they read first are the scores.
    ends: ClassVar[tuple[type[Layer], ...]] = (Accuracy, ArgMax, Softmax, SoftmaxWithLoss)
    scored: ClassVar[tuple[type[Layer], ...]] = (Accuracy, SoftmaxWithLoss)  # their second bottom are labels

    def __init__(
        self,
        model: str | os.PathLike[str] | NetDocument,
        weights: WeightPaths | None = None,
        *,
        blob: str | None = None,
        device: torch.device | str = "cpu",
        size: tuple[int, int] | None = None,
        level: int | None = None,
        stages: Sequence[str] = (),
        engine: Engine = "auto",
    ) -> None:
        size, device = as_size(size), as_device(device)
        self.engine: Engine = as_engine(engine)
        self._inference: InferenceNet | None = None
        document = model if isinstance(model, NetDocument) else open_net(model)
        self.path, self.relative_to = document.path, document.relative_to
        state = make_state(document.message, pb.TEST, level, stages)
        _, kept, _ = filter_net(document.message, state, lambda line: None)
        document = document.keeping(kept)
        document = document.keeping(bypass_mixing(document.message.layer))
        self.scores, ends_at = self._find_scores(document, blob)
        own_data = any(map(reads_data, document.message.layer))
        self.labels = self._find_labels(document) if own_data else None
        document = document.keeping(_ancestors(document.message.layer, self.scores, ends_at, self.labels))
        self._document = document
        self.net = Net(document, pb.TEST, level=level, stages=stages, sources=make_source, log=False, weights=weights)
        self.input_shape = None if own_data else self._input_shape(size)
        shape = self.net.blob_shapes[self.scores]
        self._check_scores(shape)
        self._check_labels(shape)
        self.classes = shape[1]
        self.loaded = self.net.loaded
        self.net.to(device)

    def _check_scores(self, shape: tuple[int, ...]) -> None:
        """Raise CaffeCompatError where scores of that shape are none."""
        raise NotImplementedError

    def _check_labels(self, scores: tuple[int, ...]) -> None:
        labels = self.net.blob_shapes[self.labels] if self.labels is not None else ()
        if labels and holds_shares(scores, labels, 1):
            raise CaffeCompatError(
                f"{self.path}: the labels {self.labels!r} are soft, of shape {labels} like the scores; scoring "
                "takes class numbers, one for each position"
            )

    def load(self, weights: WeightPaths) -> None:
        """Load (other) weights."""
        self._inference = None
        self.loaded = self.net.load_weights(weights)

    @property
    def layers(self) -> list[pb.LayerParameter]:
        """The net's layers, as its prototxt has them."""
        return [layer.param for layer in self.net.layers]

    def choose_preprocess(self, given: Preprocess | None = None) -> Preprocess:
        """How pictures are prepared: as given, else as the net states; see `data.preprocess.choose_preprocess`."""
        return choose_preprocess(self.layers, self.path, given)

    def _input_shape(self, size: tuple[int, int] | None) -> tuple[int, int, int, int]:
        shape = self.net.fed_shapes[self.net.fed[0]] if self.net.fed else ()
        if len(self.net.fed) != 1 or len(shape) != 4 or shape[1] not in (1, 3):
            fed = ", ".join(f"{name} {self.net.fed_shapes[name]}" for name in self.net.fed) or "nothing"
            raise CaffeCompatError(
                f"{self.path}: a picture goes into one input of 1 or 3 channels; this net takes {fed}"
            )
        if size:
            shape = (1, shape[1], *size)
            self.net.reshape({self.net.fed[0]: shape})
        return shape[0], shape[1], shape[2], shape[3]

    @property
    def color(self) -> bool:
        """Whether the net takes three channels rather than one."""
        return self.input_shape is None or self.input_shape[1] == 3

    @torch.no_grad()
    def score(self, batch: np.ndarray) -> Tensor:
        """Scores (N, classes, ...) of prepared pictures."""
        scores: Tensor = self.inference({self.net.fed[0]: batch})[self.scores]
        return scores

    @property
    def inference(self) -> InferenceNet:
        """The net as `engine` computes it, with the weights that it had when it first computed after `load`."""
        if self._inference is None:
            self._inference = InferenceNet(self.net, self.engine, hesitates=self.engine == "auto")
        return self._inference

    @torch.no_grad()
    def next(self) -> tuple[Tensor, np.ndarray]:
        """Of a net that reads its own data: scores of the next batch and its labels, float32 as the layer has them."""
        assert self.labels is not None
        tops = self.inference()
        return tops[self.scores], tops[self.labels].cpu().numpy()

    def fitting_sizes(self, size: tuple[int, int]) -> str:
        """Which sizes near a (height, width) fit, to add to an error about it; "" where none is known."""
        hint = fitting_sizes(self._document, size)
        return f"; {hint}" if hint else ""

    def describe(self, row: int) -> str:
        """Of a net that reads its own data: which record filled a row of the newest batch's labels, "" if not known."""
        sources = (layer.source for layer in self.net.layers if layer.source is not None and self.labels in layer.tops)
        return next((source.describe(row) for source in sources), "")

    def _find_scores(self, document: NetDocument, blob: str | None) -> tuple[str, int]:
        """The blob of scores, and the index of the layer after those it needs."""
        layers = document.message.layer
        if blob is not None:
            if not any(blob in layer.top for layer in layers):
                tops = dict.fromkeys(top for layer in layers for top in layer.top)
                raise CaffeCompatError(
                    f"{document.path}: no blob {blob!r}; the last ones are {', '.join(list(tops)[-5:])}"
                )
            return blob, len(layers)
        for index in reversed(range(len(layers))):
            layer, kind = layers[index], class_of(layers[index].type)
            if self.keeps_softmax and issubclass(kind, Softmax) and layer.top:
                return str(layer.top[0]), index + 1
            if issubclass(kind, self.ends) and layer.bottom:
                return self._before_softmax(layers, layer.bottom[0], index)
        unread: dict[str, None] = {}
        for layer in layers:
            for bottom in layer.bottom:
                unread.pop(bottom, None)
            unread.update(dict.fromkeys(layer.top))
        if len(unread) == 1:
            return next(iter(unread)), len(layers)
        outputs = ", ".join(unread) or "none"
        raise CaffeCompatError(
            f"{document.path}: which of the outputs holds the scores ({outputs})? Name it with --blob"
        )

    def _before_softmax(self, layers: Sequence[pb.LayerParameter], blob: str, end: int) -> tuple[str, int]:
        """Where a softmax made the blob, what it read: the order of scores is the same, and rounding makes no ties."""
        for index in reversed(range(end)):
            if blob in layers[index].top:
                if issubclass(class_of(layers[index].type), Softmax) and not self.keeps_softmax:
                    return layers[index].bottom[0], index
                break
        return blob, end

    def _find_labels(self, document: NetDocument) -> str:
        for layer in reversed(document.message.layer):
            if issubclass(class_of(layer.type), self.scored) and len(layer.bottom) > 1:
                return str(layer.bottom[1])
        raise CaffeCompatError(
            f"{document.path}: this net reads its own data, but no loss or accuracy in phase TEST says which blob "
            "holds the labels; score a deploy prototxt with --list instead"
        )


def own_records(scored: ScoredNet) -> tuple[int, int] | None:
    """(records, batch size) of the data layer that brings the labels; None where its source does not know."""
    for layer in scored.net.layers:
        if layer.source is None or scored.labels not in layer.tops:
            continue
        if layer.source.records is not None:
            return layer.source.records, layer.source.top_shapes[0][0]
    return None


def own_pictures(scored: ScoredNet, iterations: int | None) -> tuple[int, int]:
    """(pictures, batches) to score of what a net's own data layers bring: `iterations` batches, or all of it once.

    Raises:
        CaffeCompatError: the number of batches is not given, and nothing shows how much data there is.
    """
    known = own_records(scored)
    if iterations:
        return iterations * (known[1] if known else scored.net.blob_shapes[scored.net.fed[0]][0]), iterations
    if known is None:
        raise CaffeCompatError(f"give --iterations: how many batches of {scored.path}'s data")
    return known[0], -(-known[0] // known[1])


def _ancestors(layers: Sequence[pb.LayerParameter], scores: str, ends_at: int, labels: str | None) -> list[int]:
    """Indices of the layers that the scores (as they are before layer `ends_at`) and the labels need."""
    needed, kept = {scores}, []
    if labels is not None:
        needed.add(labels)
    for index in reversed(range(ends_at)):
        layer = layers[index]
        if needed.intersection(layer.top):
            needed.update(layer.bottom)
            kept.append(index)
    return kept[::-1]
