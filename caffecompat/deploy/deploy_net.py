"""From the net that trains to the net that is deployed: train_val.prototxt to deploy.prototxt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from caffecompat.arguments import as_count, as_size
from caffecompat.deploy.deploy_inputs import (
    Deployed,
    DeployError,
    add_inputs,
    drop_unread_inputs,
    feeds,
    input_layers,
    is_loss,
    only_judges,
    resolve_batch,
)
from caffecompat.forks import ForkName
from caffecompat.layers import class_of
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.layers.shape import Permute, Silence
from caffecompat.layers.softmax import Softmax
from caffecompat.net.alignment import state_offsets
from caffecompat.net.filter import filter_net, make_state
from caffecompat.net.mixing import bypass_mixing
from caffecompat.schema import NetDocument, NetSource, as_document, pb
from caffecompat.schema.data_layers import is_input
from caffecompat.wording import few

__all__ = ["DeployError", "Deployed", "deploy_net", "reads_data"]

_ONLY_TRAINING = ("include", "exclude", "loss_weight", "propagate_down")
# What a net says as a whole that inference follows too (types of caffe-jacinto's and NVCaffe's forward pass).
_OF_THE_NET = ("name", "default_forward_type", "default_forward_math", "quantize", "net_quantization_param")


def deploy_net(
    model: NetSource,
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    channels: int | None = None,
    head: str | None = None,
    head_name: str | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    fork: ForkName | None = None,
) -> Deployed:
    """Turn a net with data layers and losses, or one that is deployed already, into one for deployment.

    The layers are those of the TEST phase; where that has no data layer (the segmentation tutorial's nets include it
    in TRAIN alone), the data layer of TRAIN gives the input. An auxiliary classifier, whose loss weighs less than
    another of its type on the same labels (GoogLeNet), is left out with its branch.

    Args:
        model: path of a prototxt, or a net that was read.
        size: (height, width) of the input instead of what the prototxt and the data say.
        batch: of the input; by default what an `Input` states, and 1 for what had a data layer, whose own batch stays
            where a layer needs it (a Reshape to fixed sizes, sequences).
        channels: of pictures whose data cannot be opened (3).
        head: "softmax" puts what the loss applies to the scores (Softmax, or Sigmoid for a cross-entropy of
            sigmoids) in its place, "argmax" an ArgMax over the channels.
        head_name: of these layers and their tops; "prob" and "argmax" by default.
        level, stages: of the NetState that layers are included by.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        PrototxtError: the file cannot be read or is not a net.
        DeployError: the input's shape is not known, the net needs another batch than `batch`, or there are no scores
            to put `head` after.

    >>> import caffecompat
    >>> deployed = caffecompat.deploy_net("train_val.prototxt", size=(8, 8), head="softmax")
    >>> deployed.inputs
    {'data': (1, 3, 8, 8)}
    >>> [layer.type for layer in deployed.message.layer]
    ['Input', 'Convolution', 'InnerProduct', 'Softmax']
    """
    if head not in (None, "softmax", "argmax"):
        raise DeployError(f"head {head!r}: expected softmax or argmax")
    size, batch, channels = as_size(size), as_count(batch, "batch"), as_count(channels, "channels")
    document = as_document(model, fork=fork)
    state = make_state(document.message, pb.TEST, level, stages)
    test, _, _ = filter_net(document.message, state, lambda line: None)
    state.phase = pb.TRAIN
    train, _, _ = filter_net(document.message, state, lambda line: None)
    deployed = Deployed(_with_settings_of(test))
    _without_mixing(test, deployed.notes)
    _without_mixing(train)
    labels = add_inputs(deployed, test, train, document, size, batch, channels)
    body = [layer for layer in test.layer if not feeds(layer)]
    losses = _losses(test.layer)
    ends = [layer for layer in body if only_judges(layer) or layer in losses or _reorders_for_measures(layer, body)]
    losses = losses or _losses(train.layer)
    auxiliary = _auxiliary(losses)
    dropped = {layer.name for layer in auxiliary}
    losses = [loss for loss in losses if loss.name not in dropped]
    body = _without_labels([layer for layer in body if layer not in ends], labels)
    wanted = _wanted(body, ends, labels | {loss.bottom[0] for loss in auxiliary})
    kept = _leading_to(body, wanted)
    _report_removed(deployed.notes, test, [*_losses(test.layer), *_losses(train.layer)], ends, train, kept, dropped)
    kept, renamed = _without_passing_on(kept, deployed.notes)
    deployed.message.layer.extend(_bare(layer) for layer in kept)
    if stated := state_offsets(deployed.message, document.fork):
        deployed.notes.append(f"now Crop with an offset stated: {', '.join(stated)}")
    _stop_dropping(deployed)
    drop_unread_inputs(deployed)
    if head:
        _add_head(deployed, head, head_name, losses, renamed)
    if not deployed.message.layer or len(deployed.message.layer) == len(deployed.inputs):
        name = document.path or "net"
        raise DeployError(f"{name}: nothing is left: every layer depends on labels or only computes metrics")
    resolve_batch(deployed, document, batch)
    return deployed


def reads_data(document: NetDocument, *, level: int | None = None, stages: Sequence[str] = ()) -> bool:
    """Whether a net's TEST phase reads data, or has no input but that which TRAIN reads."""
    state = make_state(document.message, pb.TEST, level, stages)
    test, _, _ = filter_net(document.message, state, lambda line: None)
    state.phase = pb.TRAIN
    train, _, _ = filter_net(document.message, state, lambda line: None)
    if input_layers(test):
        return False
    return any(feeds(layer) for layer in [*test.layer, *train.layer])


def _with_settings_of(net: pb.NetParameter) -> pb.NetParameter:
    """A NetParameter without layers that says what inference takes from the net as a whole."""
    message = pb.NetParameter()
    for descriptor, value in net.ListFields():
        if descriptor.name in _OF_THE_NET:
            if descriptor.message_type is None:
                setattr(message, descriptor.name, value)
            else:
                getattr(message, descriptor.name).CopyFrom(value)
    return message


# --------------------------------------------------------------------------------------------------- what stays


def _losses(layers: Sequence[pb.LayerParameter]) -> list[pb.LayerParameter]:
    """The layers that are losses: by their type, or because their tops weigh something and nothing reads them."""
    read = {blob for layer in layers for blob in layer.bottom if blob not in layer.top}
    return [
        layer
        for layer in layers
        if is_loss(layer) or (any(layer.loss_weight) and not any(blob in read for blob in layer.top))
    ]


def _reorders(layer: pb.LayerParameter) -> bool:
    return issubclass(class_of(layer.type), Permute)


def _reorders_for_measures(layer: pb.LayerParameter, layers: Sequence[pb.LayerParameter]) -> bool:
    """Whether a layer only puts the axes in the order that a measure wants (CRNN's, of the scores that it learns)."""
    if not _reorders(layer):
        return False
    readers = [other for other in layers if any(blob in layer.top for blob in other.bottom)]
    return bool(readers) and all(class_of(other.type).measures for other in readers)


def _auxiliary(losses: Sequence[pb.LayerParameter]) -> list[pb.LayerParameter]:
    """Losses that weigh less than another of their type on the same labels."""

    def weight(loss: pb.LayerParameter) -> float:
        return float(loss.loss_weight[0]) if loss.loss_weight else 1.0

    return [
        loss
        for loss in losses
        if any(
            other.type == loss.type and other.bottom[1:] == loss.bottom[1:] and weight(other) > weight(loss)
            for other in losses
        )
    ]


def _without_labels(layers: Iterable[pb.LayerParameter], labels: set[str]) -> list[pb.LayerParameter]:
    """The layers that do not depend on labels; `labels` grows by what the others make."""
    free = []
    for layer in layers:
        if any(blob in labels for blob in layer.bottom):
            labels.update(layer.top)
        else:
            free.append(layer)
    return free


def _wanted(body: Sequence[pb.LayerParameter], ends: Sequence[pb.LayerParameter], others: set[str]) -> set[str]:
    """The blobs for whose sake the net exists: what no layer reads, and what losses and scores judge; not `others`."""
    read = {blob for layer in body for blob in layer.bottom if blob not in layer.top}
    judged: dict[str, bool] = {}
    for end in ends:
        kind = class_of(end.type)
        count = 0 if kind is Silence else len(end.bottom) if kind.judges_all else 1
        for place, blob in enumerate(end.bottom):
            judged[blob] = judged.get(blob, False) or place < count
    made = [blob for layer in body for blob in layer.top]
    return {blob for blob in made if blob not in read and judged.get(blob, True) and blob not in others}


def _leading_to(body: Sequence[pb.LayerParameter], wanted: set[str]) -> list[pb.LayerParameter]:
    needed, kept = set(wanted), []
    for layer in reversed(body):
        if any(blob in needed for blob in layer.top):
            needed.update(layer.bottom)
            kept.append(layer)
    return kept[::-1]


def _report_removed(
    notes: list[str],
    test: pb.NetParameter,
    losses: Sequence[pb.LayerParameter],
    ends: Sequence[pb.LayerParameter],
    train: pb.NetParameter,
    kept: Sequence[pb.LayerParameter],
    dropped: set[str],
) -> None:
    names = {layer.name for layer in kept}

    def report(what: str, holds: Callable[[pb.LayerParameter], bool], layers: Iterable[pb.LayerParameter]) -> None:
        gone = [layer for layer in layers if holds(layer) and layer.name not in names]
        found = list(dict.fromkeys(layer.name or next(iter(layer.top), layer.type) for layer in gone))
        if found:
            notes.append(f"{what}: {few(found, 12)}")

    everything = [*test.layer, *train.layer]
    report("data layers, now Input", lambda layer: feeds(layer) and not is_input(layer), everything)
    report("losses left out", lambda layer: True, losses)
    report("metrics left out", lambda layer: class_of(layer.type).measures, test.layer)
    report("axis permutations for metrics left out", lambda layer: _reorders(layer) and layer in ends, test.layer)
    report("Silence left out", lambda layer: class_of(layer.type) is Silence, test.layer)
    if dropped:
        notes.append(f"auxiliary classifiers left out with their branches: {few(sorted(dropped), 12)}")
    rest = [layer.name for layer in test.layer if not (feeds(layer) or layer in ends or layer.name in names)]
    if rest:
        notes.append(f"only losses, metrics or labels used these: {few(rest, 12)}")


def _without_passing_on(
    layers: Sequence[pb.LayerParameter], notes: list[str]
) -> tuple[list[pb.LayerParameter], dict[str, str]]:
    """Leave out what passes its bottom on in TEST (Dropout); returns also what became of the names of its tops."""
    kept: list[pb.LayerParameter] = []
    renamed: dict[str, str] = {}
    removed: dict[str, list[str]] = {}
    last_names = {layer.top[0] for layer in layers if _passes_on(layer)} - {b for x in layers for b in x.bottom}
    for given in layers:
        layer = type(given)()
        layer.CopyFrom(given)
        layer.bottom[:] = [renamed.get(blob, blob) for blob in given.bottom]
        if not _passes_on(layer) or given.top[0] in last_names:
            in_place = {new: old for old, new in zip(given.bottom, layer.bottom, strict=True)}
            layer.top[:] = [renamed.get(b, b) if renamed.get(b) in in_place else b for b in given.top]
            kept.append(layer)
            continue
        removed.setdefault(layer.type, []).append(layer.name)
        if layer.top[0] != layer.bottom[0]:
            renamed[given.top[0]] = layer.bottom[0]
    notes += [f"{kind} left out: {few(names, 12)}" for kind, names in removed.items()]
    return kept, renamed


def _passes_on(layer: pb.LayerParameter) -> bool:
    return class_of(layer.type).passes_on(layer)


def _without_mixing(net: pb.NetParameter, notes: list[str] | None = None) -> None:
    """Take layers that mix what a net trains on out of it, in place."""
    kept = bypass_mixing(net.layer)
    if len(kept) == len(net.layer):
        return
    if notes is not None:
        gone = [layer.name for index, layer in enumerate(net.layer) if index not in kept]
        notes.append(f"mixing of training items left out: {few(gone, 12)}")
    layers = [net.layer[index] for index in kept]
    del net.layer[:]
    net.layer.extend(layers)


def _stop_dropping(deployed: Deployed) -> None:
    """ENet's Python dropout has its phase as text; its published deploy nets have TEST."""
    found = []
    for layer in deployed.message.layer:
        param = layer.python_param
        if (
            class_of(layer.type) is PythonLayer
            and param.layer == "SpatialDropoutLayer"
            and "'TRAIN'" in param.param_str
        ):
            param.param_str = param.param_str.replace("'TRAIN'", "'TEST'")
            found.append(layer.name)
    if found:
        deployed.notes.append(f"SpatialDropoutLayer, now in phase TEST, drops nothing: {few(found, 12)}")


def _bare(layer: pb.LayerParameter) -> pb.LayerParameter:
    for name in _ONLY_TRAINING:
        layer.ClearField(name)
    layer.ClearField("phase")
    layer.ClearField("blobs")
    return layer


# --------------------------------------------------------------------------------------------------------- head


def _add_head(
    deployed: Deployed, head: str, name: str | None, losses: Sequence[pb.LayerParameter], renamed: dict[str, str]
) -> None:
    message = deployed.message
    made = {blob for layer in message.layer for blob in layer.top}
    judged = {renamed.get(loss.bottom[0], loss.bottom[0]): loss for loss in losses if class_of(loss.type).deploy_head}
    scores: dict[str, pb.LayerParameter | None] = {blob: loss for blob, loss in judged.items() if blob in made}
    if not scores and head == "argmax":
        scores = dict.fromkeys(_outputs(message))
        for blob in list(scores):
            maker = next(layer for layer in reversed(message.layer) if blob in layer.top)
            if class_of(maker.type) is Softmax and maker.bottom[0] != blob:
                message.layer.remove(maker)  # the greatest stays the greatest
                del scores[blob]
                scores[maker.bottom[0]] = None
                deployed.notes.append(f"Softmax in front of ArgMax left out: {maker.name}")
    if not scores:
        raise DeployError(
            f"--{head}: there is no loss with scores to put it after (SoftmaxWithLoss or SigmoidCrossEntropyLoss); "
            f"the net's outputs are {', '.join(_outputs(message))}"
        )
    for blob, loss in scores.items():
        kind = class_of(loss.type).deploy_head if loss is not None and head == "softmax" else "ArgMax"
        chosen = name or ("prob" if head == "softmax" else "argmax")
        if len(scores) > 1 or chosen in made or chosen in {layer.name for layer in message.layer}:
            chosen = f"{blob}_{chosen}"
        layer = message.layer.add(name=chosen, type=kind, bottom=[blob], top=[chosen])
        if kind == "ArgMax":
            layer.argmax_param.axis = _class_axis(loss)
        elif kind == "Softmax" and _class_axis(loss) != 1:
            layer.softmax_param.axis = _class_axis(loss)
        deployed.notes.append(f"{kind} {chosen!r} put after {blob!r}")


def _class_axis(loss: pb.LayerParameter | None) -> int:
    """The axis of the scores that a loss judges (1 where there is none) along which the classes lie."""
    if loss is None:
        return 1
    fixed = class_of(loss.type).class_axis
    return int(loss.softmax_param.axis) if fixed is None else fixed


def _outputs(message: pb.NetParameter) -> list[str]:
    read = {blob for layer in message.layer for blob in layer.bottom if blob not in layer.top}
    return list(dict.fromkeys(blob for layer in message.layer for blob in layer.top if blob not in read))
