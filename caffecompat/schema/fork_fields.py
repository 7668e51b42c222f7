"""Fields by which forks say what BVLC Caffe says with others, brought to BVLC's: one reading for all that comes after.

- ``convolution_param.hole``, ``hole_h``, ``hole_w`` (DeepLab v1) are ``dilation``.
- ``pooling_param.ceil_mode`` (soeaver's fork, BVLC's pull request 3057, PyTorchToCaffe) is ``round_mode``.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import pb
from caffecompat.schema.problems import Problem, PrototxtError, SourceLocations

__all__ = ["BVLC_NAMES", "FieldConflict", "forks_fields", "rename_fields_of", "rename_forks_fields"]

_HOLES = ("hole", "hole_h", "hole_w")
BVLC_NAMES = {**dict.fromkeys(_HOLES, "dilation"), "ceil_mode": "round_mode"}
"""A fork's field -> BVLC's, in the same message."""


class FieldConflict(CaffeCompatError):
    """A fork's field, `field`, says something else than another field of the same layer."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def forks_fields(layer: pb.LayerParameter) -> list[str]:
    """Names of the forks' fields that a layer (of V1's or today's form) sets."""
    found = []
    if layer.HasField("convolution_param"):
        found += [name for name in _HOLES if layer.convolution_param.HasField(name)]
    if layer.HasField("pooling_param") and layer.pooling_param.HasField("ceil_mode"):
        found.append("ceil_mode")
    return found


def rename_forks_fields(net: pb.NetParameter, locations: SourceLocations, origins: Sequence[tuple[str, int]]) -> None:
    """Say with BVLC's fields what forks' fields say, in place, in all layers of today's form.

    Args:
        origins: for each layer, the field of the file's message and the index in it that it was made from.

    Raises:
        PrototxtError: a fork's field and BVLC's say different things; every such layer is in it.
    """
    problems: list[Problem] = []
    for layer, (field, index) in zip(net.layer, origins, strict=True):
        if not forks_fields(layer):
            continue
        try:
            rename_fields_of(layer)
        except FieldConflict as conflict:
            problems.append(locations.problem_inside(field, index, conflict.field, str(conflict)))
    if problems:
        raise PrototxtError(problems)


def rename_fields_of(layer: pb.LayerParameter) -> None:
    """Say with BVLC's fields what a layer of today's form says with forks' fields, in place.

    Raises:
        FieldConflict: both are set, and say different things.
    """
    try:
        _dilate(layer.convolution_param)
        _round(layer.pooling_param)
    except FieldConflict as conflict:
        raise FieldConflict(conflict.field, f"layer {layer.name!r} ({layer.type}): {conflict}") from None


def _dilate(convolution: pb.ConvolutionParameter) -> None:
    given = [name for name in _HOLES if convolution.HasField(name)]
    if not given:
        return
    sides = [convolution.hole_h, convolution.hole_w]
    if "hole" in given:
        if any(getattr(convolution, name) != convolution.hole for name in given):
            raise FieldConflict("hole", "give hole or hole_h and hole_w, not both")
        sides = [convolution.hole] * 2
    values = sides[:1] if sides[0] == sides[1] else sides
    stated = list(convolution.dilation)
    if stated and stated not in (values, sides):
        dilations = ", ".join(f"{name}: {getattr(convolution, name)}" for name in given)
        raise FieldConflict(
            given[0], f"{dilations} is dilation {values}, but dilation is given as {stated}; keep one of them"
        )
    for name in given:
        convolution.ClearField(name)
    convolution.dilation[:] = values


def _round(pooling: pb.PoolingParameter) -> None:
    if not pooling.HasField("ceil_mode"):
        return
    modes = pb.PoolingParameter
    mode = modes.CEIL if pooling.ceil_mode else modes.FLOOR
    if pooling.HasField("round_mode") and pooling.round_mode != mode:
        own, other = modes.RoundMode.Name(mode), modes.RoundMode.Name(pooling.round_mode)
        flag = str(pooling.ceil_mode).lower()
        raise FieldConflict(
            "ceil_mode", f"ceil_mode: {flag} is round_mode: {own}, but round_mode: {other} is given as well"
        )
    pooling.ClearField("ceil_mode")
    pooling.round_mode = mode
