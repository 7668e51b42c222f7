"""SSD's default boxes in exported files."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PriorBox"]


class PriorBox(nn.Module):
    """The default boxes of a feature map's cells: (1, 2, H * W * B * 4), corners in units of the picture and variances.

    Each cell has a box of each (width, height) in pixels; cells are step (height, width) pixels apart, by default as
    many as fill the image, (height, width), by default the picture's.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[float, float]],
        variances: Sequence[float],
        step: tuple[float, float] | None = None,
        image: tuple[float, float] | None = None,
        offset: float = 0.5,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, self.variances, self.step, self.image = sizes, variances, step, image
        self.offset, self.clip = offset, clip

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        rows, columns = features.shape[2:]
        height, width = self.image or picture.shape[2:]
        step_h, step_w = self.step or (height / rows, width / columns)
        # Centres in single precision, corners in double, as in Caffe.
        y = (torch.arange(rows, device=features.device) + self.offset) * step_h
        x = (torch.arange(columns, device=features.device) + self.offset) * step_w
        centres = torch.stack(torch.meshgrid(x.double(), y.double(), indexing="xy"), -1)[:, :, None]
        half = torch.tensor(self.sizes, dtype=torch.float64, device=features.device) / 2
        image = torch.tensor([width, height], dtype=torch.float64, device=features.device)
        boxes = torch.cat([(centres - half) / image, (centres + half) / image], -1).to(features.dtype)
        boxes = boxes.clamp(0, 1) if self.clip else boxes
        variances = torch.tensor(self.variances, dtype=boxes.dtype, device=boxes.device).expand_as(boxes)
        return torch.stack([boxes.flatten(), variances.flatten()])[None]
