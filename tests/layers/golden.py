"""Replays recorded layer cases on the layer classes, with no net around them.

A record (.npz) holds a small net's ``prototxt`` and ``phase``, its inputs ``in/BLOB`` and parameters
``param/LAYER/I``, what the original computed, ``out/BLOB`` and ``param_after/LAYER/I``, and, where there
was a backward pass, the gradients put in, ``topdiff/BLOB``, and those that came out, ``indiff/BLOB`` and
``paramdiff/LAYER/I``. A net without ``topdiff`` was differentiated from its losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.layers import Context, Layer, layer_class
from caffecompat.schema import parse_text, pb

# Outputs that count or choose are compared exactly, all else as float32 sums in another order.
EXACT = {"ArgMax", "Accuracy", "Threshold", "Filter", "BatchReindex"}

# Their top's shape depends on values, so there is none on meta tensors.
SHAPED_BY_VALUES = {"Filter", "DetectionOutput"}


@dataclass
class Replay:
    """One record, its layers built and run."""

    path: Path
    fork: Fork = Fork.BVLC
    memory_format: torch.memory_format = torch.contiguous_format
    layers: dict[str, Layer] = field(default_factory=dict)
    first: dict[str, Tensor] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    losses: list[tuple[Tensor, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        with np.load(self.path, allow_pickle=False) as record:
            self.record = {name: record[name] for name in record.files}
        self.net = parse_text(str(self.record["prototxt"]), pb.NetParameter())
        self.context = Context(int(self.record["phase"]), self.fork)

    @property
    def missing(self) -> list[str]:
        """Types of the record's net that no class implements."""
        fed = ("Input", "DummyData")
        return sorted({layer.type for layer in self.net.layer if layer.type not in fed and not layer_class(layer.type)})

    def problems(self) -> list[str]:
        """Everything in which the layers differ from the record."""
        self._forward()
        found = list(self._compare("out", {name: blob.detach() for name, blob in self.last.items()}))
        found += self._compare("param_after", self._parameters())
        if any(name.startswith(("indiff/", "paramdiff/")) for name in self.record):
            self._backward()
            found += self._compare("indiff", {name: _gradient(blob) for name, blob in self.first.items()})
            found += self._compare("paramdiff", {name: _gradient(p) for name, p in self._parameters().items()})
        return found

    def _forward(self) -> None:
        for name, values in self._entries("in"):
            self.first[name] = self.last[name] = self._input(values)
        for text in self.net.layer:
            if text.type == "Input":
                continue
            if text.type == "DummyData":
                blobs = make_source(text, self.context.phase).next()
                self.last.update(zip(text.top, map(torch.from_numpy, blobs), strict=True))
                continue
            bottoms = [self.last[name] for name in text.bottom]
            layer = self._build(text, bottoms)
            tops = _tuple(layer(*bottoms))
            if text.type not in SHAPED_BY_VALUES:
                self._check_meta_shapes(layer, bottoms, tops)
            for index, (name, top) in enumerate(zip(text.top, tops, strict=True)):
                if top.requires_grad:
                    top.retain_grad()
                self.first.setdefault(name, top)
                self.last[name] = top
                weight = text.loss_weight[index] if text.loss_weight else layer.default_loss_weight(index)
                if weight:
                    self.losses.append((top, weight))

    def _build(self, text: object, bottoms: list[Tensor]) -> Layer:
        cls = layer_class(text.type)
        assert cls is not None, f"no class implements {text.type}"
        layer = cls(text, [tuple(bottom.shape) for bottom in bottoms], self.context)
        for name, values in self._entries("param"):
            owner, index = name.rsplit("/", 1)
            if owner == text.name:
                blob = layer.blobs[int(index)]
                assert tuple(blob.shape) == values.shape, f"blob {name}: {tuple(blob.shape)}, recorded {values.shape}"
                blob.data.copy_(torch.from_numpy(values))
        for spec, blob in zip(text.param, layer.blobs, strict=False):
            if spec.lr_mult == 0:
                blob.requires_grad_(False)
        self.layers[text.name] = layer
        return layer

    def _check_meta_shapes(self, layer: Layer, bottoms: list[Tensor], tops: tuple[Tensor, ...]) -> None:
        copy = type(layer)(layer.param, [tuple(bottom.shape) for bottom in bottoms], self.context).to("meta")
        shapes = [top.shape for top in _tuple(copy(*(bottom.detach().to("meta") for bottom in bottoms)))]
        assert shapes == [top.shape for top in tops], f"{layer.type} on meta tensors: {shapes}"

    def _backward(self) -> None:
        # Caffe runs no backward for layers that no loss depends on, unless told to.
        diffs = dict(self._entries("topdiff")) if self.net.force_backward else {}
        tops = [self.last[name] for name in diffs] + [top for top, _ in self.losses]
        grads = [torch.from_numpy(values) for values in diffs.values()]
        grads += [torch.full_like(top, weight) for top, weight in self.losses]
        used = [(top, grad) for top, grad in zip(tops, grads, strict=True) if top.requires_grad]
        if used:
            torch.autograd.backward(*zip(*used, strict=True))

    def _input(self, values: np.ndarray) -> Tensor:
        blob = torch.from_numpy(values.astype(np.float32))
        if blob.dim() == 4:
            blob = blob.contiguous(memory_format=self.memory_format)
        return blob.requires_grad_()

    def _parameters(self) -> dict[str, Tensor]:
        return {f"{name}/{i}": p for name, layer in self.layers.items() for i, p in enumerate(layer.blobs)}

    def _entries(self, kind: str) -> Iterator[tuple[str, np.ndarray]]:
        return ((name[len(kind) + 1 :], values) for name, values in self.record.items() if name.startswith(f"{kind}/"))

    def _compare(self, kind: str, ours: dict[str, Tensor]) -> Iterator[str]:
        exact = kind == "out" and self.path.name.rsplit("-", 1)[0] in EXACT
        for name, theirs in self._entries(kind):
            difference = _difference(ours[name].detach().numpy(), theirs, exact)
            if difference:
                yield f"{kind}/{name}: {difference}"


def _tuple(tops: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tops if isinstance(tops, tuple) else (tops,)


def _gradient(blob: Tensor) -> Tensor:
    return torch.zeros_like(blob) if blob.grad is None else blob.grad


def _difference(ours: np.ndarray, theirs: np.ndarray, exact: bool) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, recorded {theirs.shape}"
    limit = 1e-6 + 1e-6 * np.abs(theirs) if exact else 2e-4 + 2e-3 * np.abs(theirs).max(initial=0)
    off = ~(np.abs(ours - theirs) <= limit)
    return f"{off.sum()} of {off.size} differ, worst {np.abs(ours - theirs).max():.3g}" if off.any() else ""
