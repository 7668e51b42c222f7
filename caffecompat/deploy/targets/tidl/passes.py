"""What TIDL changes in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffecompat.deploy.targets.common.arithmetic import CoefficientsAsProducts, SquaresAsProducts
from caffecompat.deploy.targets.common.pooling import UnevenPads
from caffecompat.deploy.targets.common.resize import BilinearAsResize, HalfPixelCenters
from caffecompat.deploy.targets.common.suppression import FixedOverlap
from caffecompat.deploy.targets.tidl.detection import ThreeOutputs
from caffecompat.deploy.targets.tidl.reductions import FirstOfEquals, LastAxisSoftmax, MeanAsProduct

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.deploy.targets.graph_pass import GraphPass
    from caffecompat.deploy.targets.table import TargetTable

__all__ = ["passes"]


def passes(options: ExportOptions, table: TargetTable) -> list[GraphPass]:
    """The passes in order."""
    limits = table.constants
    return [
        FixedOverlap("TIDL"),
        UnevenPads(),
        CoefficientsAsProducts(),
        SquaresAsProducts(),
        BilinearAsResize("TIDL", limits["bilinear_factors"]),
        HalfPixelCenters("TIDL", options.approx),
        MeanAsProduct(limits["mean_plane"]),
        LastAxisSoftmax(),
        FirstOfEquals(),
        ThreeOutputs(),
    ]
