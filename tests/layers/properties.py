"""What must hold for any layer, whatever its parameters and shapes; the property tests draw those.

``EXAMPLES=500 pytest tests/layers -k properties`` looks at many more, and other ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from caffecompat.layers import Layer
from caffecompat.schema import pb
from tests.layers.make import make_layer

_MANY = os.environ.get("EXAMPLES")
examples = settings(
    max_examples=int(_MANY or 12),
    derandomize=not _MANY,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

Shape = tuple[int, ...]
STEP = 1e-6


def distinct(shape: Shape, *, least: float | None = None) -> Tensor:
    """Doubles in random order, no two of them near each other nor any near 0, so that no kink is near.

    They lie between -2 and 2, or with `least` between that and `least` + 4.
    """
    count = max(1, torch.Size(shape).numel())
    ramp = (torch.randperm(count, dtype=torch.float64) + 0.37) * (4 / count)
    return (ramp + (-2 if least is None else least)).reshape(shape)


def labels(classes: int, shape: Shape) -> Tensor:
    """Class numbers as Caffe has them, in doubles."""
    return torch.randint(0, classes, shape).double()


def tops_of(layer: Layer, bottoms: Sequence[Tensor]) -> list[Tensor]:
    """All tops; random layers draw the same numbers each time."""
    torch.manual_seed(0)
    made = layer(*bottoms)
    return list(made) if isinstance(made, tuple) else [made]


def check_layer(
    text: str,
    *bottoms: Tensor,
    phase: int = pb.TRAIN,
    gradient: bool = True,
    per_item: bool = True,
    both_phases: bool = True,
    within: float = 1e-5,
) -> list[Tensor]:
    """Hold a layer to everything that holds for any.

    Args:
        gradient: against finite differences in double precision, for the bottoms that can have one and the blobs.
        per_item: a batch gives what its items give alone, in batches of one (all bottoms and tops begin with the
            batch axis).
        both_phases: TRAIN and TEST compute the same.
        within: how near the gradient must be; Caffe's own is not quite the derivative in some layers.

    Returns:
        The tops.
    """
    torch.manual_seed(len(text))
    layer = make_layer(text, *[tuple(bottom.shape) for bottom in bottoms], phase=phase)
    for blob in layer.blobs:
        blob.data = blob.data + 0.1 * torch.randn_like(blob)
    layer.double()
    with torch.no_grad():
        tops = tops_of(layer, bottoms)
        _check_meta(text, layer, bottoms, tops)
        _check_memory_format(layer, bottoms, tops)
        if per_item:
            _check_items(text, layer, bottoms, tops, phase)
        if both_phases:
            _check_phases(text, layer, bottoms, tops, phase)
    if gradient:
        check_gradient(layer, bottoms, within)
    return tops


def _check_meta(text: str, layer: Layer, bottoms: Sequence[Tensor], tops: Sequence[Tensor]) -> None:
    """Shapes are found without values."""
    twin = _twin(text, layer, bottoms, pb.TRAIN).to("meta")
    shapes = [tuple(top.shape) for top in tops_of(twin, [bottom.to("meta") for bottom in bottoms])]
    assert shapes == [tuple(top.shape) for top in tops]


def _check_memory_format(layer: Layer, bottoms: Sequence[Tensor], tops: Sequence[Tensor]) -> None:
    """How the memory of a bottom is laid out does not count."""
    laid_out = [b.contiguous(memory_format=torch.channels_last) if b.dim() == 4 else b for b in bottoms]
    _same(tops_of(layer, laid_out), tops)


def _check_items(text: str, layer: Layer, bottoms: Sequence[Tensor], tops: Sequence[Tensor], phase: int) -> None:
    size = bottoms[0].shape[0]
    for item in range(size):
        alone = [bottom[item : item + 1] for bottom in bottoms]
        single = _twin(text, layer, alone, phase)
        _same(tops_of(single, alone), [top[item : item + 1] for top in tops])


def _check_phases(text: str, layer: Layer, bottoms: Sequence[Tensor], tops: Sequence[Tensor], phase: int) -> None:
    other = _twin(text, layer, bottoms, pb.TEST if phase == pb.TRAIN else pb.TRAIN)
    _same(tops_of(other, bottoms), tops)


def _twin(text: str, layer: Layer, bottoms: Sequence[Tensor], phase: int) -> Layer:
    """A layer of the same text and blobs for other shapes or another phase."""
    twin = make_layer(text, *[tuple(bottom.shape) for bottom in bottoms], phase=phase).double()
    for own, blob in zip(twin.blobs, layer.blobs, strict=True):
        own.data = blob.data
    return twin


def _same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def check_gradient(layer: Layer, bottoms: Sequence[Tensor], within: float = 1e-5) -> None:
    """The gradient along a random direction is that of finite differences; checked for each tensor by itself."""
    wanted = [layer.needs_gradient(index) for index in range(len(bottoms))]
    given = [b.clone().requires_grad_(want) for b, want in zip(bottoms, wanted, strict=True)]
    made = tops_of(layer, given)
    kept = [top.requires_grad for top in made]  # masks and indices have no gradient
    tops = [top for top, keep in zip(made, kept, strict=True) if keep]
    weights = [torch.randn_like(top) for top in tops]
    variables = [b for b, want in zip(given, wanted, strict=True) if want]
    variables += [blob for blob in layer.blobs if blob.requires_grad]
    if not tops or not variables:
        return
    grads = torch.autograd.grad(tops, variables, weights, allow_unused=True)

    def objective() -> float:
        with torch.no_grad():
            made = tops_of(layer, given)
        used = [top for top, keep in zip(made, kept, strict=True) if keep]
        return sum(float((top.detach() * weight).sum()) for top, weight in zip(used, weights, strict=True))

    for variable, grad in zip(variables, grads, strict=True):
        direction = torch.randn_like(variable)
        ours = float((grad * direction).sum()) if grad is not None else 0.0
        middle = variable.detach().clone()
        values = []
        for sign in (1, -1):
            variable.data = middle + sign * STEP * direction
            values.append(objective())
        variable.data = middle
        theirs = (values[0] - values[1]) / (2 * STEP)
        scale = max(1.0, abs(ours), abs(values[0]) / 100)
        assert abs(ours - theirs) < within * scale, f"gradient {ours}, by finite differences {theirs}"
