"""Every layer of a net against the limits of a target; and where a net trains one way and is tested another."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from caffecompat.deploy.batch_statistics import (
    asks_for_batch_statistics,
    states_its_statistics,
    use_running_statistics,
)
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.targets.facts import layer_facts
from caffecompat.deploy.targets.table import Judgment, TargetTable, load_table
from caffecompat.deprecation import RenamedAttribute
from caffecompat.forks import Fork, ForkName
from caffecompat.layers import class_of
from caffecompat.layers.multibox_loss import MultiBoxLoss
from caffecompat.net import Net
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetDocument, NetSource, as_document, pb
from caffecompat.schema.data_layers import is_input

__all__ = ["CheckedLayer", "TargetReport", "check", "check_net", "detection_warnings", "normalization_warnings"]


@dataclass
class CheckedLayer:
    """A layer and what the target makes of it."""

    name: str
    type: str
    judgment: Judgment

    judgement = RenamedAttribute("judgment")

    @property
    def verdict(self) -> str:
        return self.judgment.verdict


@dataclass
class TargetReport:
    """A net against one target.

    Attributes:
        layers: those of the deployed net in order, then those that deployment leaves out.
        notes: what was done to get from a net that trains to one that is deployed.
        model: of an ONNX model as a whole, where there is one.
        warnings: what makes the deployed net differ from the tested one, or this report less than whole.
    """

    table: TargetTable
    layers: list[CheckedLayer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model: Judgment | None = None
    warnings: list[str] = field(default_factory=list)

    def of(self, verdict: str) -> list[CheckedLayer]:
        return [layer for layer in self.layers if layer.verdict == verdict]


def check(
    model: NetSource,
    target: str,
    version: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fork: ForkName | None = None,
) -> TargetReport:
    """Judge every layer of a net by the published limits of inference hardware; of one that trains, as deployed.

    A Python layer whose code is not here is passed over, with a warning.

    Args:
        model: path of a prototxt, or a net that was read.
        target: "dpu" or "tidl".
        version: of the target's documents, as "1.4"; the newest known by default.
        size: (height, width) of the input in pixels, where the prototxt does not state it, or instead.
        channels: of pictures whose data cannot be opened (3).
        fork: the Caffe whose rules hold, where the text cannot show it.

    Returns:
        A report with a verdict for each layer: "runs", "rewritten", "cpu", "refused" or "left out".

    Raises:
        TargetError: there is no such target, or no such version of it.
        CaffeCompatError: the net cannot be read or built, or nothing states the size of its pictures.

    >>> import caffecompat
    >>> report = caffecompat.check("deploy.prototxt", "dpu")
    >>> [(layer.name, layer.verdict) for layer in report.layers]
    [('data', 'left out'), ('conv', 'runs'), ('fc', 'rewritten'), ('prob', 'cpu')]
    """
    document, table = as_document(model, fork=fork), load_table(str(target).lower(), version)
    with looking_at_nets(size, channels) as opaque:
        report = check_net(document, table, size=size, channels=channels)
    report.warnings = [*detection_warnings(document), *normalization_warnings(document), *opaque.lines()]
    return report


def check_net(
    document: NetDocument, table: TargetTable, *, size: tuple[int, int] | None = None, channels: int | None = None
) -> TargetReport:
    """Judge every layer of a net, of one that trains as it is when deployed.

    Args:
        size: (height, width) of the input where the prototxt does not give it, or instead.
        channels: of pictures whose data cannot be opened.

    Raises:
        CaffeCompatError: the net does not build, or nothing gives the size of its pictures.
    """
    deployed = deploy_net(document, size=size, channels=channels)
    message = pb.NetParameter()
    message.CopyFrom(deployed.message)
    _keep_learning_rates(message, document)
    use_running_statistics(message)
    made = NetDocument.from_message(message, document.path, like=document.fork_choice)
    net = Net(made, pb.TEST, log=False, meta=True)
    report = TargetReport(table, notes=deployed.notes)
    trains = any(layer.type.endswith("Loss") for layer in document.message.layer)
    for facts in layer_facts(net, trains):
        report.layers.append(CheckedLayer(facts["name"], facts["type"], table.judge(facts)))
    judged = {layer.name for layer in report.layers}
    for layer in document.message.layer:
        if layer.name not in judged and not is_input(layer):
            reason = "is for training and testing, or passes its bottom on"
            report.layers.append(CheckedLayer(layer.name, layer.type, Judgment("left out", [(reason, "check")])))
            judged.add(layer.name)
    return report


def _keep_learning_rates(message: pb.NetParameter, document: NetDocument) -> None:
    """Whether a layer's weights learn is known from the net that trains."""
    stated = {layer.name: layer.param for layer in document.message.layer if layer.param}
    for layer in message.layer:
        if not layer.param and layer.name in stated:
            layer.param.extend(stated[layer.name])


def normalization_warnings(document: NetDocument) -> list[str]:
    """Where BatchNorm's `use_global_stats` makes testing, training and deployment differ, a line for each way.

    BVLC and its like obey the flag in both phases. Xilinx trains by the statistics of the batch whatever it says, and
    In NVCaffe the phase alone decides; in TEST Xilinx obeys a flag that is there. What is deployed always has the
    running statistics.
    """
    ways: dict[str, list[str]] = defaultdict(list)
    for layer in document.message.layer:
        if not states_its_statistics(layer) or document.fork.is_nvcaffe:
            continue
        if asks_for_batch_statistics(layer):
            ways[
                "use_global_stats: false holds in TEST too: test scores and pictures come from each batch's own "
                "statistics, the deployed net has the running ones and gives others; remove the field"
            ].append(layer.name)
        elif document.fork is Fork.XILINX:
            ways[
                "use_global_stats: true is not obeyed in TRAIN by Xilinx's Caffe (nor here): training goes by the "
                "batch's statistics and moves the running ones; BVLC's would keep them as they are"
            ].append(layer.name)
        else:
            ways[
                "use_global_stats: true holds in TRAIN too: the statistics stay as they were loaded "
                "(mean 0, variance 0 in a fresh net)"
            ].append(layer.name)
    return [
        f"{len(names)} BatchNorm layer{'s' * (len(names) > 1)} ({_few(names)}): {text}" for text, names in ways.items()
    ]


def detection_warnings(document: NetDocument) -> list[str]:
    """Where nothing shows which layers a detector's target replaces by its own: that is read off DetectionOutput."""
    classes = {class_of(layer.type) for layer in document.message.layer}
    if MultiBoxLoss not in classes or any(cls.decodes_priors for cls in classes):
        return []
    return [
        "MultiBoxLoss, but no DetectionOutput: the layers of the detection head are judged one by one here, while the "
        "target cuts the head off or replaces it; check the deploy prototxt, or the one for testing"
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
