"""Pooling within regions of interest: ROIPooling, PSROIPooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from caffecompat.layers.functional.region_pooling import roi_max_pool, roi_position_sensitive_pool
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, values_known
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["PSROIPooling", "ROIPooling"]


class _RegionPooling(Layer):
    """Bottoms: features (N, C, H, W), which get a gradient, and regions (R, 5) or (R, 5, 1, 1).

    A region is a row [batch item, xmin, ymin, xmax, ymax] in pixels of the picture.
    """

    scale: float
    keeps_forward: ClassVar[bool] = True
    bottoms: ClassVar[tuple[int, int | None]] = (2, 2)
    mixes_items = "the rows of its second bottom number the items of the batch"

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        features, regions = map(tuple, bottom_shapes)
        if len(features) != 4:
            raise LayerError(f"features of shape {features}: expected (batch, channels, height, width)")
        if math.prod(regions[1:]) != 5:
            raise LayerError(
                f"regions of shape {regions}: each of the {regions[0] if regions else 0} rows must have 5 values "
                f"(batch item, xmin, ymin, xmax, ymax)"
            )

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Rows [item, xmin, ymin, xmax, ymax] in pixels, some a little outside the picture."""
        if place != 1:
            return None
        features, shape = bottoms
        side = np.array([features[3], features[2]]) / self.scale
        low, high = np.sort(rng.uniform(-0.1, 1.1, (2, shape[0], 2)), 0) * side
        item = rng.integers(0, features[0], (shape[0], 1))
        return np.concatenate([item, low, high], 1).reshape(shape)

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def _rows(self, features: Tensor, regions: Tensor) -> Tensor:
        """The regions as (R, 5).

        Raises:
            LayerError: one names a batch item that there is not.
        """
        rows = regions.detach().reshape(-1, 5)
        items = features.shape[0]
        if not values_known(rows) or not len(rows):
            return rows
        wrong = ~((rows[:, 0] >= 0) & (rows[:, 0] < items))
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise LayerError(
                f"layer {self.param.name!r} ({self.type}): row {row} of the regions {self.param.bottom[1]!r} belongs "
                f"to batch item {rows[row, 0]:g}, but {self.param.bottom[0]!r} has {items} (0 to {items - 1})"
            )
        return rows


@register("ROIPooling")
class ROIPooling(_RegionPooling):
    """The maximum of each channel in each of pooled_h x pooled_w cells of each region (rbgirshick/caffe-fast-rcnn).

    A region's corners times spatial_scale are rounded to cells of the features, both belong to it, and it is at least
    one cell wide and high; its cells may overlap by a row or column, and one without a pixel is 0. Top
    (R, C, pooled_h, pooled_w). The gradient goes to the first maximum of each cell. Xilinx' layer is the same.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.roi_pooling_param
        if not p.pooled_h or not p.pooled_w:
            raise LayerError("roi_pooling_param needs pooled_h and pooled_w, at least 1 each")
        if p.spatial_scale <= 0:
            raise LayerError(f"roi_pooling_param: spatial_scale {p.spatial_scale:g} must be positive")
        self.cells, self.scale = (p.pooled_h, p.pooled_w), p.spatial_scale

    def forward(self, features: Tensor, regions: Tensor) -> Tensor:
        return roi_max_pool(features, self._rows(features, regions), self.cells, self.scale)


@register("PSROIPooling")
class PSROIPooling(_RegionPooling):
    """The mean in each of group_size x group_size cells of each region, from channels of the cell's own (R-FCN).

    As in daijifeng001/caffe-rfcn: the features have output_dim * group_size * group_size channels, of which number
    (c * group_size + row) * group_size + column holds channel c of a cell. A region's corners are rounded to whole
    pixels before they are multiplied by spatial_scale; a cell without a pixel is 0. Top
    (R, output_dim, group_size, group_size). Sums are made in double precision.
    """

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.psroi_pooling_param
        if p.output_dim < 1 or p.group_size < 1 or p.spatial_scale <= 0:
            raise LayerError(
                "psroi_pooling_param needs output_dim and group_size, at least 1, and a spatial_scale above 0"
            )
        wanted = p.output_dim * p.group_size**2
        if bottom_shapes[0][1] != wanted:
            raise LayerError(
                f"{param.bottom[0]!r} has {bottom_shapes[0][1]} channels; output_dim {p.output_dim} in "
                f"{p.group_size} x {p.group_size} cells needs {wanted}"
            )
        self.channels, self.side, self.scale = p.output_dim, p.group_size, p.spatial_scale

    def forward(self, features: Tensor, regions: Tensor) -> Tensor:
        rows = self._rows(features, regions)
        return roi_position_sensitive_pool(features, rows, self.channels, self.side, self.scale)
