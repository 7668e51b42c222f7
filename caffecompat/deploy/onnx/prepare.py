"""What happens to a net before it is written as ONNX: where detection nets are cut, what a target need not compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.deploy.deploy_inputs import input_layers
from caffecompat.deploy.onnx.emission import Note
from caffecompat.deploy.onnx.graph import OnnxError
from caffecompat.layers import Layer, class_of
from caffecompat.layers.prior_box import PriorBox
from caffecompat.layers.reduction import ArgMax
from caffecompat.layers.softmax import Softmax
from caffecompat.schema import pb

__all__ = ["Head", "cut_detection", "drop_softmax", "find_heads"]


@dataclass
class Head:
    """SSD's heads.

    Attributes:
        detection: the layer that makes boxes of them.
        boxes, classes: blobs of the convolutions that predict, in the order of the priors.
        priors: the PriorBox layers, in the same order.
        converter: what turns predictions into scores: "SOFTMAX", "SIGMOID" or "IDENTITY".
    """

    detection: pb.LayerParameter
    boxes: list[str]
    classes: list[str]
    priors: list[pb.LayerParameter]
    converter: str


def find_heads(message: pb.NetParameter) -> Head | None:
    """The heads of a net that detects as SSD does; None of another.

    Raises:
        OnnxError: something else than SSD's layers lies between its heads and what makes boxes of them.
    """
    found = [index for index, layer in enumerate(message.layer) if class_of(layer.type).decodes_priors]
    if not found:
        return None
    layers, at = message.layer, found[-1]
    locations, scores, priors = layers[at].bottom[:3]
    passed: list[pb.LayerParameter] = []
    makers = [_maker(layers, at, blob) for blob in _sources(layers, at, priors, [], stop=PriorBox)]
    head = Head(
        layers[at],
        _sources(layers, at, locations, []),
        _sources(layers, at, scores, passed),
        [layer for layer in makers if layer is not None and class_of(layer.type) is PriorBox],
        "IDENTITY",
    )
    for kind in ("Softmax", "Sigmoid"):
        if kind in {layer.type for layer in passed}:
            head.converter = kind.upper()
    if len(head.boxes) != len(head.classes) or len(head.priors) != len(makers):
        raise OnnxError(
            f"layer {head.detection.name!r}: {len(head.boxes)} box and {len(head.classes)} class predictions lead to "
            "it; expected a pair for each PriorBox"
        )
    return head


def _maker(layers: Sequence[pb.LayerParameter], before: int, blob: str) -> pb.LayerParameter | None:
    """The last layer before `before` that has the blob as a top."""
    return next((layer for layer in reversed(list(layers)[:before]) if blob in layer.top), None)


def _sources(
    layers: Sequence[pb.LayerParameter],
    before: int,
    blob: str,
    passed: list[pb.LayerParameter],
    stop: type[Layer] | None = None,
) -> list[str]:
    """The blobs from which `blob` is only rearranged, in order; the layers on the way are added to `passed`."""
    index = next((i for i in reversed(range(before)) if blob in layers[i].top), None)
    if index is None:
        return [blob]
    kind = class_of(layers[index].type)
    if not kind.detection_head or kind is stop:
        return [blob]
    passed.append(layers[index])
    return [source for bottom in layers[index].bottom for source in _sources(layers, index, bottom, passed, stop)]


def cut_detection(message: pb.NetParameter, *, at_convolutions: bool) -> list[Note]:
    """Take the layer that makes boxes away, so that what it read are the outputs; changes `message`.

    Args:
        at_convolutions: also what lies between it and the convolutions of the heads, and the priors.
    """
    notes = []
    for layer in [layer for layer in message.layer if class_of(layer.type).decodes_priors]:
        message.layer.remove(layer)
        notes.append(Note(layer.name, "left out: the outputs are what it read"))
        ends = set(layer.bottom[:3])
        while at_convolutions and ends:
            read = {blob for other in message.layer for blob in other.bottom if blob not in other.top}
            unread = [
                other
                for other in message.layer
                if class_of(other.type).detection_head
                and ends.issuperset(other.top)
                and not read.intersection(other.top)
            ]
            ends = {blob for other in unread for blob in other.bottom}
            for other in unread:
                message.layer.remove(other)
        if at_convolutions:
            notes[-1].text = "left out with the layers after the heads' convolutions, whose tops are the outputs"
    if not notes:
        raise OnnxError("there is no DetectionOutput layer to cut; leave --cut-detection out")
    _drop_unread(message)
    return notes


def _drop_unread(message: pb.NetParameter) -> None:
    """Remove inputs that nothing reads any more."""
    read = {blob for layer in message.layer for blob in layer.bottom}
    for layer in [layer for layer in input_layers(message) if not read.intersection(layer.top)]:
        message.layer.remove(layer)


def drop_softmax(message: pb.NetParameter) -> list[Note]:
    """Take the Softmax in front of an ArgMax away: the greatest stays the greatest; changes `message`."""
    notes = []
    for layer in [
        layer for layer in message.layer if class_of(layer.type) is ArgMax and not layer.argmax_param.out_max_val
    ]:
        blob = layer.bottom[0]
        readers = [other for other in message.layer if blob in other.bottom]
        before = _maker(message.layer, list(message.layer).index(layer), blob)
        if before is None or class_of(before.type) is not Softmax or readers != [layer] or before.bottom[0] == blob:
            continue
        layer.bottom[0] = before.bottom[0]
        message.layer.remove(before)
        notes.append(Note(before.name, f"left out: {layer.name!r} finds the same maximum without it"))
    return notes
