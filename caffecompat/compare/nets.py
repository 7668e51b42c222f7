"""Whether two nets compute the same: both run on one random input, outputs compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caffecompat.compare.arrays import count_nonfinite, gaps, magnitude
from caffecompat.compare.draws import SameDraws
from caffecompat.compare.inputs import valid_values
from caffecompat.compare.masks import MaskChoice, given_masks, recorded_masks
from caffecompat.compare.nonfinite import watch_values
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.schema import NetDocument
from caffecompat.wording import few

__all__ = [
    "TOLERANCE",
    "Difference",
    "DifferentNumbers",
    "compare_nets",
    "compare_outputs",
    "in_single_precision",
    "load_blobs",
    "random_inputs",
    "remarked",
]

TOLERANCE = 1e-5  # of the largest value: what a rewrite that keeps the numbers may change by rounding


class DifferentNumbers(CaffeCompatError):
    """What was written computes something else than the net; it was not kept."""

    status = 1


@dataclass
class Difference:
    """How far an output of one net is from another's.

    Attributes:
        blob: its name.
        largest: the largest absolute difference; for layers that choose (indices, boxes) the share of
            values that differ.
        relative: `largest` over the largest magnitude of the first net's output, or over 1 for probabilities.
        chosen: whether the output is a choice.
        excused: a choice that came out otherwise between equals: what was chosen from is the same.
        nonfinite: how many values of the first net's output are NaN or infinity.
        remark: what else to report.
    """

    blob: str
    largest: float
    relative: float
    chosen: bool
    excused: bool = False
    nonfinite: int = 0
    remark: str = ""

    def line(self) -> str:
        """For people."""
        if self.chosen:
            why = ", between equals: what is chosen from is the same" if self.excused else ""
            text = f"{self.blob}: {self.largest:.2%} of the values differ{why}"
        else:
            text = f"{self.blob}: largest difference {self.largest:.2g} ({self.relative:.2g} of the largest value)"
        text += f", {self.nonfinite} values are NaN or infinity" if self.nonfinite else ""
        return f"{text}; {self.remark}" if self.remark else text


def random_inputs(net: Net, seed: int = 1) -> dict[str, torch.Tensor]:
    """Normally distributed values for every fed blob; numbers of rows or items, 0 and 1 where layers read these."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for blob in net.fed:
        valid = valid_values(net, blob, rng)
        inputs[blob] = rng.standard_normal(net.fed_shapes[blob], np.float32) if valid is None else valid
    return {blob: torch.from_numpy(np.asarray(values)) for blob, values in inputs.items()}


def load_blobs(net: Net, blobs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Give a net the parameter blobs of its layers, each in the layer's own arrangement."""
    for layer in net.layers:
        for slot, array in zip(layer.slots, blobs.get(layer.name, ()), strict=bool(layer.slots)):
            slot.tensor().copy_(torch.from_numpy(np.ascontiguousarray(array)).view(slot.shape))


def in_single_precision(net: Net) -> Net:
    """The net itself, or where its types make it compute in 16 bits one of the same numbers that does not."""
    if not net.half_precision:
        return net
    message = type(net.message)()
    message.CopyFrom(net.message)
    message.ClearField("default_forward_type")
    for layer in message.layer:
        layer.ClearField("forward_type")
    copy = Net(
        NetDocument.from_message(message, like=net.fork_choice, relative_to=net.relative_to),
        net.phase,
        log=False,
        quantized=net.quantization is not None,
    )
    load_blobs(copy, net.blobs_by_layer())
    return copy


@torch.no_grad()
def compare_nets(first: Net, second: Net, seed: int = 1, *, allow_nonfinite: bool = False) -> list[Difference]:
    """Run both on the same input, in 32 bits, and compare the outputs that have the same name.

    Where the last layers choose (indices, boxes), what they choose from is compared, too; a choice between
    equals may come out otherwise. So may masks of max pooling, between near equals: see `caffecompat.compare.masks`.

    Args:
        allow_nonfinite: compare though the first net holds NaN or infinity, which must be at the same places in both.

    Raises:
        CaffeCompatError: they have no output in common, or an output's shape differs.
        NonFiniteError: the first net holds NaN or infinity, or computes them.
    """
    inputs = random_inputs(first, seed)
    reference = in_single_precision(first)
    with watch_values(reference) as values:
        ours, read = _run(reference, inputs)
    values.refuse(allow_nonfinite)
    other = in_single_precision(second)
    with recorded_masks(other) as masks:
        theirs, also_read = _run(other, inputs)
    found = _judged(first, ours, read, theirs, also_read)
    if masks and any(difference.relative > TOLERANCE for difference in found):
        with given_masks(reference, masks, TOLERANCE) as choices:
            ours, read = _run(reference, inputs)
        found = remarked(_judged(first, ours, read, theirs, also_read), choices)
    return found


def _judged(
    net: Net,
    ours: Mapping[str, torch.Tensor],
    read: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    also_read: Mapping[str, torch.Tensor],
) -> list[Difference]:
    """The differences of what choosing layers read and of the outputs, choices between equals excused."""
    found = compare_outputs(net, ours, theirs)
    before = compare_outputs(net, read, also_read) if read else []
    for difference in found:
        if difference.chosen and difference.relative > TOLERANCE and before:
            difference.excused = all(other.relative <= TOLERANCE for other in before)
            difference.relative = 0.0 if difference.excused else difference.relative
    return [*before, *found]


def remarked(differences: list[Difference], choices: Sequence[MaskChoice]) -> list[Difference]:
    """The differences, which say what was found out about masks."""
    moved = ", ".join(f"{choice.moved} of {choice.size} of {choice.layer!r}" for choice in choices)
    worst = max((choice.worst for choice in choices), default=0.0)
    for difference in differences if moved else ():
        difference.remark = f"masks of max pooling choose otherwise ({moved})" + (
            f" between values that differ by at most {worst:.2g}" if worst <= TOLERANCE else ""
        )
    return differences


def _run(net: Net, inputs: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The outputs, and what layers that choose have read, by the names of both."""
    read: dict[str, torch.Tensor] = {}
    hooks = []
    for layer in net.layers:
        if layer.module is not None and layer.module.chooses:
            names = [f"{blob}, read by {layer.name}" for blob in layer.bottoms]

            def keep(_: object, bottoms: tuple[torch.Tensor, ...], names: Sequence[str] = names) -> None:
                read.update(zip(names, bottoms, strict=True))

            hooks.append(layer.module.register_forward_pre_hook(keep))
    try:
        with SameDraws():
            return net(inputs), read
    finally:
        for hook in hooks:
            hook.remove()


def compare_outputs(net: Net, ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> list[Difference]:
    """Compare outputs of `net` with those of another that have the same name, sorted by it.

    Raises:
        CaffeCompatError: there is none in common, or an output's shape differs.
    """
    modules = {top: layer.module for layer in net.layers for top in layer.tops}
    chosen = {top for layer in net.layers if layer.module is not None and layer.module.chooses for top in layer.tops}
    found = []
    for blob in sorted(ours.keys() & theirs.keys()):
        a, b = ours[blob], theirs[blob]
        if blob in chosen:
            share = 1.0
            if a.shape == b.shape:
                close = torch.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
                share = float((~close).float().mean()) if a.numel() else 0.0
            found.append(Difference(blob, share, share, True))
            continue
        if a.shape != b.shape:
            raise CaffeCompatError(f"output {blob!r} has shape {tuple(a.shape)} in one, {tuple(b.shape)} in the other")
        reference = a.numpy()
        largest, scale = float(gaps(b.numpy(), reference).max(initial=0.0)), magnitude(reference)
        maker = modules.get(blob)
        relative = largest / (1.0 if not scale or (maker is not None and maker.gives_shares) else scale)
        found.append(Difference(blob, largest, relative, False, nonfinite=count_nonfinite(reference)))
    if not found:
        raise CaffeCompatError(f"no output in common: {few(list(ours))} and {few(list(theirs))}")
    return found
