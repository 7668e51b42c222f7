"""What feeds a deployed net: Input layers in place of data layers, and which blobs are labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from caffecompat.data.placeholder import Placeholders
from caffecompat.data.preprocess import is_set
from caffecompat.deploy.batch import BatchedNet
from caffecompat.errors import CaffeCompatError
from caffecompat.layers import class_of, layer_class
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.layers.shape import Silence
from caffecompat.net.graph import build_graph
from caffecompat.schema import NetDocument, pb
from caffecompat.schema.data_layers import Labels, data_layer, is_input

__all__ = [
    "DeployError", "Deployed", "add_inputs", "drop_unread_inputs", "feeds", "input_layers", "is_loss",
    "only_judges", "resolve_batch",
]  # fmt: skip


class DeployError(CaffeCompatError):
    """A net that cannot be made ready for deployment, or not as asked."""


@dataclass
class Deployed:
    """A net for deployment.

    Attributes:
        message: the NetParameter: fed by `Input` layers, without losses, scores, Dropout and Silence.
        inputs: shape of each fed blob.
        transform: mean and scale of the pictures that the net was made for, as a transform_param; None where nothing
            states them. The Input layer of these pictures has it, too.
        data: that data layer; None where the net was fed from outside already.
        own: shape of each fed blob with the batch that the net itself states; 1 where it states none.
        notes: what was done, a line each.
    """

    message: pb.NetParameter
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    transform: pb.TransformationParameter | None = None
    data: pb.LayerParameter | None = None
    own: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_loss(layer: pb.LayerParameter) -> bool:
    """Whether a layer's type is that of a loss."""
    return class_of(layer.type).is_loss or (layer_class(layer.type) is None and layer.type.endswith("Loss"))


def only_judges(layer: pb.LayerParameter) -> bool:
    """Whether a layer measures, or silences, and computes nothing that others need."""
    return class_of(layer.type) is Silence or class_of(layer.type).measures


def input_layers(message: pb.NetParameter) -> list[pb.LayerParameter]:
    """The layers of a NetParameter whose tops are given from outside."""
    return list(filter(is_input, message.layer))


def feeds(layer: pb.LayerParameter) -> bool:
    """Whether a layer gives a net what comes from outside."""
    code = class_of(layer.type) is PythonLayer
    return data_layer(layer.type) is not None or (code and not layer.bottom)


def add_inputs(
    deployed: Deployed,
    test: pb.NetParameter,
    train: pb.NetParameter,
    document: NetDocument,
    size: tuple[int, int] | None,
    batch: int | None,
    channels: int | None,
) -> set[str]:
    """Put Input layers in; returns the blobs that are labels."""
    feeding = [layer for layer in test.layer if feeds(layer)] or [layer for layer in train.layer if feeds(layer)]
    labels: set[str] = set()
    for layer in feeding:
        kind = data_layer(layer.type)  # None for a Python layer
        if is_input(layer):
            _resized_input(deployed, layer, size, batch)
            continue
        if kind is not None and kind.shapes_from_data:
            labels |= _add_arrays(deployed, layer, test, document, batch)
            continue
        if kind is None or kind.labels is not Labels.BY_NAME:
            labels.update(layer.top[1:])
        else:
            labels.update(top for top in layer.top if "label" in top)
        if not layer.top or (layer.top[0] in labels) or "label" in layer.top[0]:
            labels.update(layer.top)
            continue  # a second data layer that reads label pictures
        shape = _picture_shape(layer, document, size, channels)
        transform = _preparation(layer)
        _add_input(deployed, layer.top[0], (batch or 1, *shape[1:]), transform, own=shape)
        _add_others(deployed, layer, test, document, labels, batch)
        if deployed.data is None:
            deployed.data, deployed.transform = layer, transform
    if not deployed.inputs:
        missing = build_graph(test, document.message).problems  # of the first blob, what would make it
        at = missing[0].layer if missing else None
        why = "" if at is None else f": layer {test.layer[at].name!r}: {missing[0].text}"
        raise DeployError(f"{document.path or 'net'}: no layer makes the input: no Input layer, no data layer{why}")
    return labels


def _resized_input(
    deployed: Deployed, layer: pb.LayerParameter, size: tuple[int, int] | None, batch: int | None
) -> None:
    stated = [tuple(shape.dim) for shape in layer.input_param.shape]
    for index, top in enumerate(layer.top):
        shape = list(stated[index if len(stated) > 1 else 0]) if stated else []
        if len(shape) == 4 and size:
            shape[2:] = size
        own = tuple(shape)
        if shape and batch:
            shape[0] = batch
        transform = _preparation(layer) if index == 0 else None
        _add_input(deployed, top, tuple(shape), transform, own=own)
        if deployed.transform is None:
            deployed.transform = transform


def _picture_shape(
    layer: pb.LayerParameter, document: NetDocument, size: tuple[int, int] | None, channels: int | None
) -> tuple[int, ...]:
    if class_of(layer.type) is PythonLayer:
        if size is None:
            raise DeployError(
                f"layer {layer.name!r}: a Python layer makes the input; give its size: --size WIDTHxHEIGHT"
            )
        return (1, channels or 3, *size)
    shape = _shapes(layer, document, Placeholders(size, channels), "give --size WIDTHxHEIGHT")[0]
    return (*shape[:2], *size) if size and len(shape) == 4 else shape


def _shapes(
    layer: pb.LayerParameter, document: NetDocument, sources: Placeholders, remedy: str
) -> list[tuple[int, ...]]:
    try:
        source = sources(layer, pb.TEST, document.fork, document.relative_to)
    except CaffeCompatError as problem:
        raise DeployError(f"the input's shape is not known, {remedy}: {problem}") from None
    shapes = [tuple(shape) for shape in source.top_shapes]
    source.close()
    return shapes


def _add_others(
    deployed: Deployed,
    layer: pb.LayerParameter,
    net: pb.NetParameter,
    document: NetDocument,
    labels: set[str],
    batch: int | None,
) -> None:
    """Inputs for tops after the first that are no labels (of DummyData), where a layer computes with them."""
    others = {index: top for index, top in enumerate(layer.top) if index and top not in labels}
    others = {index: top for index, top in others.items() if not _only_judged(top, net)}
    shapes = _shapes(layer, document, Placeholders(), "put an Input in its place") if others else []
    for index, top in others.items():
        _add_input(deployed, top, (batch or 1, *shapes[index][1:]), own=shapes[index])


def _only_judged(top: str, net: pb.NetParameter) -> bool:
    """Whether losses and measures alone read a top."""
    return all(only_judges(reader) or is_loss(reader) for reader in net.layer if top in reader.bottom)


def _add_arrays(
    deployed: Deployed, layer: pb.LayerParameter, net: pb.NetParameter, document: NetDocument, batch: int | None
) -> set[str]:
    """Inputs for the arrays of HDF5Data, whose tops have no order; those that only losses and measures read are labels.

    --size does not cover them.
    """
    shapes = _shapes(layer, document, Placeholders(), "its data must be there, or an Input in its place")
    labels = {top for top in layer.top if _only_judged(top, net)}
    for top, shape in zip(layer.top, shapes, strict=True):
        if top not in labels:
            _add_input(deployed, top, (batch or 1, *shape[1:]), own=shape)
    return labels


def _preparation(layer: pb.LayerParameter) -> pb.TransformationParameter | None:
    """What a layer states of the preparation of its pictures, mean, scale and std of transform_param; None for nothing.

    A data layer of pictures that states none feeds raw pixels, which is scale 1.
    """
    given, kind = layer.transform_param, data_layer(layer.type)
    if not is_set(given) and (kind is None or not kind.prepares):
        return None
    kept = pb.TransformationParameter(mean_value=given.mean_value, scale=given.scale, std_value=given.std_value)
    if given.mean_file:
        kept.mean_file = given.mean_file
    return kept


def _add_input(
    deployed: Deployed,
    blob: str,
    shape: tuple[int, ...],
    transform: pb.TransformationParameter | None = None,
    *,
    own: tuple[int, ...],
) -> None:
    deployed.inputs[blob], deployed.own[blob] = shape, own
    layer = deployed.message.layer.add(name=blob, type="Input", top=[blob])
    layer.input_param.shape.add().dim.extend(shape)
    if transform is not None:
        layer.transform_param.CopyFrom(transform)


def resolve_batch(deployed: Deployed, document: NetDocument, batch: int | None) -> None:
    """Give the inputs back the batch that the net states, where it does not work on another one.

    Raises:
        DeployError: it does not, and `batch` asks for another one, or the net states none (a Python layer's data).
    """
    guessed = batch is None and deployed.data is not None and class_of(deployed.data.type) is PythonLayer
    if deployed.inputs == deployed.own and not guessed:
        return
    message = type(deployed.message)()
    message.CopyFrom(deployed.message)
    _set_shapes(message, deployed.own)
    made = BatchedNet(message, document.fork, document.path)
    if made.problem and guessed:
        raise DeployError(f"a Python layer makes the input, the batch 1 is a guess; give --batch N: {made.problem}")
    stated = " and ".join(map(str, sorted({shape[0] for shape in deployed.own.values() if shape})))
    if batch is not None:
        refused = "" if made.problem else made.refuses(deployed.inputs)
        if refused:
            raise DeployError(f"--batch {batch}: the net does not work on it as on its own batch, {stated}: {refused}")
        return
    fixed = "" if made.problem else made.what_fixes(deployed.inputs)
    if fixed:
        _set_shapes(deployed.message, deployed.own)
        deployed.inputs.update(deployed.own)
        deployed.notes.append(f"the input keeps its batch of {stated}: {fixed}")


def _set_shapes(message: pb.NetParameter, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for layer in input_layers(message):
        layer.input_param.shape[0].dim[:] = shapes[layer.top[0]]


def drop_unread_inputs(deployed: Deployed) -> None:
    """Take out Input layers whose blob no layer reads."""
    read = {blob for layer in deployed.message.layer for blob in layer.bottom}
    for layer in [layer for layer in input_layers(deployed.message) if layer.top[0] not in read]:
        del deployed.inputs[layer.top[0]], deployed.own[layer.top[0]]
        deployed.message.layer.remove(layer)
