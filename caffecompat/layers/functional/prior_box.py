"""Default boxes of an SSD's detection heads (SSD, Jacinto and Xilinx alike)."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["prior_boxes"]


def prior_boxes(
    features: Tensor,
    picture: Tensor,
    sizes: Sequence[tuple[float, float]],
    variances: Sequence[float],
    *,
    step: tuple[float, float] | None = None,
    image: tuple[float, float] | None = None,
    offset: float = 0.5,
    clip: bool = False,
) -> Tensor:
    """The default boxes of a feature map's cells, row by row.

    Args:
        features, picture: (N, C, H, W), of which only height and width count.
        sizes: (width, height) in pixels of each box of a cell, B of them.
        variances: of the coordinates, four, or one for all.
        step: (height, width) in pixels of a cell; None: as many as fill the image.
        image: (height, width) in pixels that corners are a share of; None: the picture's.
        offset: of the center in a cell, in cells.
        clip: whether boxes end at the border of the image.

    Returns:
        (1, 2, H * W * B * 4) float32: corners (xmin, ymin, xmax, ymax) in units of the image, and variances.
    """
    rows, columns = features.shape[2:]
    height, width = image or picture.shape[2:]
    down, right = step or (height / rows, width / columns)
    device, double = features.device, torch.float64
    # Centers in single precision, corners in double, as in Caffe.
    y = (torch.arange(rows, dtype=torch.float32, device=device) + offset) * down
    x = (torch.arange(columns, dtype=torch.float32, device=device) + offset) * right
    centers = torch.stack(torch.meshgrid(x.to(double), y.to(double), indexing="xy"), -1)[:, :, None]
    half = torch.tensor(sizes, dtype=torch.float32, device=device).to(double) / 2
    limits = torch.tensor([width, height], dtype=double, device=device)
    boxes = torch.cat([(centers - half) / limits, (centers + half) / limits], -1).float()
    boxes = boxes.clamp(0, 1) if clip else boxes
    return torch.stack([boxes, torch.tensor(variances, device=device).expand_as(boxes)]).reshape(1, 2, -1)
