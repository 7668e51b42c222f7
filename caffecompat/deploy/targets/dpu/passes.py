"""What the DPU changes in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffecompat.deploy.targets.common.arithmetic import CoefficientsAsProducts, SquaresAsProducts
from caffecompat.deploy.targets.common.pooling import UnevenPads
from caffecompat.deploy.targets.common.resize import BilinearAsResize, HalfPixelCenters
from caffecompat.deploy.targets.common.suppression import FixedOverlap
from caffecompat.deploy.targets.dpu.activations import ActivatedParts, KnownSlope
from caffecompat.deploy.targets.dpu.channels import GroupsApart, SlicesApart

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.deploy.targets.graph_pass import GraphPass
    from caffecompat.deploy.targets.table import TargetTable

__all__ = ["passes"]


def passes(options: ExportOptions, table: TargetTable) -> list[GraphPass]:
    """The passes in order."""
    limits = table.constants
    return [
        FixedOverlap("DPU"),
        UnevenPads(),
        CoefficientsAsProducts(),
        SquaresAsProducts(),
        BilinearAsResize("DPU", limits["bilinear_factors"]),
        HalfPixelCenters("DPU", options.approx),
        KnownSlope(limits["leaky_slope"], options.dpu_leaky),
        GroupsApart(options.dpu_dense),
        SlicesApart(),
        ActivatedParts(),
    ]
