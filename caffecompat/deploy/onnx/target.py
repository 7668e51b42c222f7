"""A net as a target wants it before it becomes ONNX, and what the target makes of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.compare.nets import load_blobs
from caffecompat.deploy.batch_statistics import use_running_statistics
from caffecompat.deploy.fold_norm import Folded, fold_norms, norms_as_convolutions
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.export import Export
from caffecompat.deploy.onnx.verify import effect_of
from caffecompat.deploy.targets.check import CheckedLayer, TargetReport
from caffecompat.deploy.targets.facts import layer_facts
from caffecompat.deploy.targets.operators import JudgedNode, judge_model
from caffecompat.deploy.targets.registry import TARGETS
from caffecompat.deploy.targets.table import Judgment, TargetTable
from caffecompat.net import Net
from caffecompat.schema import NetDocument, pb

__all__ = ["TargetNet", "judge_export", "measure_statistics", "net_for_target", "use_stored_statistics"]

_STORED = (
    "normalizes by its stored statistics, as every deployed net does; its prototxt asks for those of each batch "
    "(use_global_stats: false)"
)


def use_stored_statistics(message: pb.NetParameter) -> list[Note]:
    """Let normalizations that would use each batch's own statistics use the stored ones; changes `message`."""
    return [Note(name, _STORED, exact=False) for name in use_running_statistics(message)]


@torch.no_grad()
def measure_statistics(net: Net, notes: list[Note], inputs: Mapping[str, np.ndarray]) -> None:
    """Fill in the effect of `use_stored_statistics` on the net's outputs.

    Args:
        net: the one that uses them.
        inputs: its fed blobs.
    """
    stored = [note for note in notes if note.text == _STORED]
    if not stored:
        return
    names = {note.layer for note in stored}
    message = type(net.message)()
    message.CopyFrom(net.message)
    for layer in message.layer:
        if layer.name in names:
            layer.batch_norm_param.use_global_stats = False
    asked = Net(NetDocument.from_message(message, like=net.fork_choice), pb.TEST, log=False, quantized=False)
    load_blobs(asked, net.blobs_by_layer())
    before, after = asked(inputs), net(inputs)
    effects = {blob: effect_of(after[blob].numpy(), before[blob].numpy()) for blob in net.outputs}
    for note in stored:
        note.effect = "; ".join(f"output {blob!r}: {effect[0]}" for blob, effect in effects.items())


_NAMED, _KIND = re.compile(r"^'[^']*' \((\w+)\)"), r"the \1"  # so that layers left for one reason share a line


class TargetNet:
    """A net without the normalizations that its convolutions can take in.

    Attributes:
        net: what is exported.
        notes: a line for each layer that went or changed.
        left: a line for each normalization that stays one.
    """

    def __init__(self, net: Net, target: str) -> None:
        self.net = self._given = net
        self._target = target
        self.notes: list[Note] = []
        self.left: list[Note] = []
        self._into: dict[str, str] = {}

    def fold(self) -> bool:
        """Fold what can be folded."""
        folded = fold_norms(self.net, target=self._target)
        self.left = [Note(name, f"left as it is: {_NAMED.sub(_KIND, reason)}") for name, reason in folded.left]
        for name, into in folded.folded:
            self._into[name] = into
            self.notes.append(Note(name, f"folded into {into!r}"))
        return self._take(folded)

    def convolve(self) -> bool:
        """Make depthwise convolutions of normalizations that stay, the first of those that follow each other."""
        made = norms_as_convolutions(self.net)
        for name, _ in made.folded:
            self._into[name] = name
            self.notes.append(Note(name, "became a depthwise 1x1 convolution: nothing before it can take it in"))
        return self._take(made)

    def _take(self, changed: Folded) -> bool:
        if changed.folded:
            document = NetDocument.from_message(changed.message, like=self.net.fork_choice)
            self.net = Net(document, pb.TEST, log=False, quantized=False)
            load_blobs(self.net, changed.blobs)
        return bool(changed.folded)

    @torch.no_grad()
    def measure(self, inputs: Mapping[str, np.ndarray]) -> list[str]:
        """Fill in the notes' effects: each convolution on what really enters it, before and after.

        Args:
            inputs: the net's fed blobs.

        Returns:
            What is wrong: layers whose numbers change although they should not.
        """
        last = {into: name for name, into in self._into.items()}  # the last that each took in
        modules = {layer.name: layer.module for layer in self.net.layers if layer.module is not None}
        made: dict[str, np.ndarray] = {}
        effects: dict[str, tuple[str, float, bool]] = {}

        def begin(_: nn.Module, bottoms: tuple[Tensor, ...], __: object, name: str) -> None:
            made[name] = modules[name](*bottoms).numpy()

        def end(_: nn.Module, __: object, top: Tensor, name: str) -> None:
            effects[name] = effect_of(made.pop(name), top.numpy())

        hooks = []
        for layer in self._given.layers:
            for name, hook in ((layer.name, begin), (self._into.get(layer.name, ""), end)):
                if layer.module is not None and name in last and (hook is begin or last[name] == layer.name):
                    hooks.append(layer.module.register_forward_hook(_named(hook, name)))
        self._given.allow_inplace(False)
        self.net.allow_inplace(False)
        try:
            self._given.forward(dict(inputs))
        finally:
            self._given.allow_inplace(True)
            self.net.allow_inplace(True)
            for handle in hooks:
                handle.remove()
        for note in self.notes:
            note.effect, note.worst, _ = effects[self._into[note.layer]]
        return [f"layer {name!r} rewritten: {effect}" for name, (effect, _, changed) in effects.items() if changed]


def _named(hook: Any, name: str) -> Any:
    return lambda module, bottoms, top: hook(module, bottoms, top, name)


def net_for_target(net: Net, target: str) -> TargetNet:
    """Fold normalizations; for a target that has none, make convolutions of those that stay."""
    made = TargetNet(net, target)
    made.fold()
    while not TARGETS[target].normalizes and made.convolve():
        made.fold()
    return made


def judge_export(net: Net, export: Export, table: TargetTable) -> TargetReport:
    """What the target makes of each layer that the model has nodes of.

    The table's word on the layer counts, unless it was changed on purpose; where that is good, every node must be among
    the target's operators, or the layer falls to the CPU for the reason that its node does.
    """
    judged = judge_model(export.model, table, export.layers, export.weights)
    nodes: dict[str, list[JudgedNode]] = {}
    for node in judged.nodes:
        nodes.setdefault(node.layer, []).append(node)
    report = TargetReport(table, model=judged.whole)
    for facts in layer_facts(net, trains=False):
        own = nodes.pop(facts["name"] or facts["type"], [])
        if own:
            verdict = _joined(table.judge(facts), own, changed=facts["name"] in export.inexact)
            report.layers.append(CheckedLayer(facts["name"], facts["type"], verdict))
    for layer, rest in nodes.items():
        for node in rest:
            report.layers.append(CheckedLayer(layer or node.name, node.operator, node.judgment))
    return report


def _joined(layer: Judgment, nodes: list[JudgedNode], changed: bool) -> Judgment:
    """The verdict on a layer and on its nodes in one.

    Args:
        changed: the nodes compute something else than the layer, which was asked for.
    """
    if layer.replaced:
        return layer
    warned = [*layer.warned, *(text for node in nodes for text in node.judgment.warned)]
    outside = [node.judgment for node in nodes if node.judgment.verdict in ("cpu", "refused")]
    verdict, reasons, remedies = layer.verdict, layer.reasons, layer.remedies
    if outside and (changed or verdict != "cpu"):
        verdict, reasons = "cpu", [text for judgment in outside for text in judgment.reasons]
        remedies = [text for judgment in outside for text in judgment.remedies]
    elif changed and not outside:
        verdict, remedies = "rewritten", []
    return Judgment(
        verdict, list(dict.fromkeys(reasons)), list(dict.fromkeys(warned)), remedies=list(dict.fromkeys(remedies))
    )
