"""Outputs that are off at first sight: choices between near equals, rounding, or a mistake - and which layer began.

A layer that chooses (indices, boxes, the mask of max pooling) makes of a difference in the last
bit another index or row. So what it chooses from is held to the tolerance, and torch's layer, given onnxruntime's very
values, must choose what onnxruntime chose. All other outputs are held to the tolerance against the net in float64,
which no rounding blurs: a net that magnifies rounding can be off between two float32 computations though each is near
enough to what the net says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.compare.masks import MaskChoice, given_masks, masked_poolings
from caffecompat.deploy.onnx.compare import TOLERANCE, Difference, compare
from caffecompat.deploy.onnx.export import Export, ExportOptions, export_layer
from caffecompat.deploy.onnx.graph import Output, need_onnx
from caffecompat.deploy.onnx.run import forget_states, run_model, run_net
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer, Value
from caffecompat.net.trace import value_names

__all__ = ["compare_output", "resolve"]

_AT_ONCE = 2**27  # values held at once while looking for the first that is off


def compare_output(output: Output, layer: NetLayer, slot: int, found: np.ndarray, wanted: np.ndarray) -> Difference:
    """Compare an output: indices, labels and masks must be equal, the rest as near as TOLERANCE allows.

    Args:
        layer, slot: what makes it.
        wanted: the whole blob of the net.
    """
    wanted = _columns(output, wanted)
    if found.shape != wanted.shape:
        return compare(output.name, found, wanted)
    assert layer.module is not None
    fields = layer.module.fields(slot) if output.columns is None else [(..., output.columns == (1,))]
    parts = [compare(output.name, found[where], wanted[where], exact=exact) for where, exact in fields]
    worst = max(parts, key=lambda part: (not part.allowed, part.relative))
    worst.differ, worst.size = sum(part.differ for part in parts), wanted.size
    return worst


def _columns(output: Output, blob: np.ndarray) -> np.ndarray:
    """What of the net's blob is this output's: all, or columns of its rows."""
    if output.columns is None:
        return blob
    rows = blob.reshape(-1, blob.shape[-1])
    rows = rows[rows[:, 1] >= 0]  # no row for an image where nothing was found
    part = rows[:, list(output.columns)]
    return part if len(output.columns) > 1 else part[:, 0]


def _chooses(layer: NetLayer, slot: int) -> bool:
    """Whether a top is indices, boxes or positions."""
    module = layer.module
    return module is not None and ((module.chooses and slot == 0) or slot == module.mask_top)


def resolve(
    path: str | os.PathLike[str],
    export: Export,
    net: Net,
    options: ExportOptions,
    fed: Mapping[str, np.ndarray],
    prepared: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    differences: Sequence[Difference],
) -> None:
    """Decide about the differences that are not allowed yet, and say why in their remarks.

    Args:
        fed, prepared: the model's inputs and the net's.
        found: the model's outputs.
    """
    values = {value.blob: value for value in net.graph.outputs}
    masks = _masks_of(path, export, net, fed)
    with given_masks(net, masks, TOLERANCE) as choices:
        tops = run_net(net, prepared) if masks else {}
        moved = _moved(choices)
        for output, difference in zip(export.outputs, differences, strict=True) if moved else ():
            value = values[output.blob]
            again = compare_output(output, net.layers[value.maker], value.slot, found[output.name], tops[output.blob])
            if not difference.allowed and again.allowed:
                difference.allowed, difference.remark = True, f"{again.relative:.3g} {moved}"
        _resolve_rest(path, export, net, options, fed, prepared, found, differences)


def _masks_of(
    path: str | os.PathLike[str], export: Export, net: Net, fed: Mapping[str, np.ndarray]
) -> dict[int, torch.Tensor]:
    """The masks that onnxruntime's max poolings make, as far as torch's layers make them from the same bottoms.

    By place among `masked_poolings`.
    """
    poolings = masked_poolings(net)
    if not poolings:
        return {}
    bottoms = [layer.known_bottoms[0] for layer in poolings]
    theirs = _run_for(path, export, net, [*bottoms, *(layer.top_values[1] for layer in poolings)], fed)
    masks = {}
    for place, (layer, bottom) in enumerate(zip(poolings, bottoms, strict=True)):
        if bottom in theirs and layer.top_values[1] in theirs:
            assert layer.module is not None
            with torch.no_grad():
                own = layer.module(torch.from_numpy(np.array(theirs[bottom])))[1].numpy()
            if np.array_equal(own, theirs[layer.top_values[1]]):
                masks[place] = torch.from_numpy(own)
    return masks


def _moved(choices: Sequence[MaskChoice]) -> str:
    """What to report of masks that choose otherwise; "" where none does, or one not between near equals."""
    if not choices or any(choice.worst > TOLERANCE for choice in choices):
        return ""
    masks = ", ".join(f"{choice.moved} of {choice.size} of {choice.layer!r}" for choice in choices)
    worst = max(choice.worst for choice in choices)
    return f"with onnxruntime's masks, which choose otherwise ({masks}) between values that differ by {worst:.2g}"


def _resolve_rest(
    path: str | os.PathLike[str],
    export: Export,
    net: Net,
    options: ExportOptions,
    fed: Mapping[str, np.ndarray],
    prepared: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    differences: Sequence[Difference],
) -> None:
    """`resolve`, with the masks that the net has now."""
    values = {value.blob: value for value in net.graph.outputs}
    if all(difference.allowed for difference in differences):
        return
    exact = _in_double(net, prepared)
    for output, difference in zip(export.outputs, differences, strict=True):
        value = values[output.blob]
        if difference.allowed:
            continue
        if _chooses(net.layers[value.maker], value.slot):
            _judge_choice(path, export, net, output, value, fed, prepared, found[output.name], difference)
        elif exact is not None:
            layer = net.layers[value.maker]
            near = compare_output(output, layer, value.slot, found[output.name], exact[output.blob])
            if near.allowed:
                difference.allowed = True
                difference.remark = f"{near.relative:.3g} from the net in float64, torch itself rounds"
    unresolved = [difference for difference in differences if not difference.allowed and not difference.remark]
    if unresolved:
        cause = _first_off(path, export, net, options, fed, prepared)
        for difference in unresolved:
            difference.remark = cause


def _in_double(net: Net, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The net's outputs in float64, None where a layer computes in float32 only."""
    forget_states(net)
    net.double()
    try:
        with torch.no_grad():
            made = net({blob: np.asarray(inputs[blob], np.float64) for blob in net.fed})
        return {blob: top.numpy() for blob, top in made.items()}
    except RuntimeError:
        return None
    finally:
        net.float()


def _judge_choice(
    path: str | os.PathLike[str],
    export: Export,
    net: Net,
    output: Output,
    value: Value,
    fed: Mapping[str, np.ndarray],
    prepared: Mapping[str, np.ndarray],
    found: np.ndarray,
    difference: Difference,
) -> None:
    """Allow another choice where it was made from the same values, and torch's layer makes it from them too."""
    layer = net.layers[value.maker]
    bottoms = layer.known_bottoms
    theirs = _run_for(path, export, net, bottoms, fed)
    ours = _tops_of(net, {bottom.maker for bottom in bottoms}, prepared)
    worst, given = 0.0, []
    for bottom in bottoms:
        wanted = ours[bottom.maker][bottom.slot]
        # What the model computed beforehand (PriorBox) is not among its values.
        given.append(theirs.get(bottom, wanted))
        apart = compare(bottom.blob, given[-1], wanted)
        worst = max(worst, apart.relative)
        if not apart.allowed:
            difference.remark = f"it chooses from {apart}"
            return
    assert layer.module is not None
    with torch.no_grad():
        made = layer.module(*(torch.from_numpy(np.array(blob)) for blob in given))
    again = (made if isinstance(made, tuple) else (made,))[value.slot].numpy()
    chosen = compare_output(output, layer, value.slot, found, again)
    difference.allowed = chosen.allowed
    source = f"what {layer.name!r} chooses from differs by {worst:.3g}"
    difference.remark = (
        f"near equals: {source}, and from onnxruntime's values torch chooses the same"
        if chosen.allowed
        else f"{source}, and from onnxruntime's values torch chooses otherwise: {chosen.differ} values differ"
    )


def _run_for(
    path: str | os.PathLike[str], export: Export, net: Net, wanted: Sequence[Value], fed: Mapping[str, np.ndarray]
) -> dict[Value, np.ndarray]:
    """What onnxruntime computes for values of the net; those that are no values of the model are left out."""
    onnx = need_onnx()
    model = onnx.load(os.fspath(path), load_external_data=False)
    names = value_names(net, needed_alone=True)
    places = {value: export.values[names[value]] for value in wanted if names.get(value) in export.values}
    known = {info.name: info for info in model.graph.value_info}
    outputs = {info.name for info in model.graph.output}
    model.graph.output.extend(known[name] for name in dict.fromkeys(places.values()) if name in known)
    written = f"{os.fspath(path)}.values"  # weights that lie in a file of their own are looked for next to it
    try:
        with open(written, "wb") as file:
            file.write(model.SerializeToString())
        made = run_model(written, fed)
    finally:
        if os.path.exists(written):
            os.unlink(written)
    made.update(fed)
    return {value: made[name] for value, name in places.items() if name in known or name in outputs or name in fed}


def _tops_of(net: Net, nodes: set[int], prepared: Mapping[str, np.ndarray]) -> dict[int, list[np.ndarray]]:
    """The tops of some layers."""
    tops: dict[int, list[np.ndarray]] = {}
    hooks = []
    for layer in net.layers:
        if layer.module is None and layer.index in nodes:
            tops[layer.index] = [np.asarray(prepared[blob]) for blob in layer.tops]
        elif layer.index in nodes:
            assert layer.module is not None

            def keep(_: nn.Module, __: object, made: Tensor | tuple[Tensor, ...], index: int = layer.index) -> None:
                tops[index] = [top.detach().numpy().copy() for top in (made if isinstance(made, tuple) else (made,))]

            hooks.append(layer.module.register_forward_hook(keep))
    net.allow_inplace(False)
    try:
        run_net(net, prepared)
    finally:
        net.allow_inplace(True)
        for hook in hooks:
            hook.remove()
    return tops


def _first_off(
    path: str | os.PathLike[str],
    export: Export,
    net: Net,
    options: ExportOptions,
    fed: Mapping[str, np.ndarray],
    prepared: Mapping[str, np.ndarray],
) -> str:
    """Which layer's top is off first, and whether that layer is off by itself."""
    for values in _portions(net):
        theirs = _run_for(path, export, net, values, fed)
        makers = {value.maker for value in theirs}
        bottoms = {bottom.maker for maker in makers for bottom in net.layers[maker].known_bottoms}
        ours = _tops_of(net, makers | bottoms, prepared)
        for value, found in theirs.items():
            apart = compare(value.blob, found, ours[value.maker][value.slot])
            if apart.allowed:
                continue
            layer = net.layers[value.maker]
            given = [ours[b.maker][b.slot] for b in layer.known_bottoms]
            alone = _alone(net, layer, options, given, ours[value.maker])
            cause = (
                f"alone on the same input it differs by {alone:.3g}: the net magnifies rounding; compare on a picture "
                "such as it was trained on (--image, with --mean and --scale)"
                if alone <= TOLERANCE
                else f"so it is alone on the same input ({alone:.3g}), which is a bug in caffecompat"
            )
            return f"first off is layer {layer.name!r} ({layer.type}), by {apart.relative:.3g}; {cause}"
    return "no value before it is off"


def _portions(net: Net) -> Iterator[list[Value]]:
    portion: list[Value] = []
    held = 0
    for layer in net.layers:
        if layer.module is not None:
            portion += layer.top_values
            held += sum(int(np.prod(net.value_shapes[top])) for top in layer.top_values)
        if held > _AT_ONCE:
            yield portion
            portion, held = [], 0
    if portion:
        yield portion


def _alone(
    net: Net, layer: NetLayer, options: ExportOptions, bottoms: Sequence[np.ndarray], tops: Sequence[np.ndarray]
) -> float:
    model, names, outputs = export_layer(net, layer.index, options)
    made = run_model(model.SerializeToString(), dict(zip(names, bottoms, strict=True)))
    return max(compare(name, made[name], top).relative for name, top in zip(outputs, tops, strict=True))
