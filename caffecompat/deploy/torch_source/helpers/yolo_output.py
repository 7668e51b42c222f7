"""YOLO's boxes in exported files."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caffecompat.deploy.torch_source.helpers.proposal import keep_apart
from caffecompat.layers.functional.yolo_output import yolo_boxes

__all__ = ["YoloBoxes"]


class YoloBoxes(nn.Module):
    """YOLO's boxes: (1, 1, K, 7) rows [image, class + 1, score, xmin, ymin, xmax, ymax], or -1 in all but the first.

    Takes maps (N, B * (5 + C), H, W). `sizes` has for each map the width and height of each box, in cells of a map that
    is `scale` times as large. With one_class a box has its likeliest class alone (YOLO v2), else all classes whose
    score is above the threshold (v3).
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[tuple[float, float]]],
        scales: Sequence[float],
        threshold: float,
        overlap: float,
        one_class: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, self.scales, self.threshold, self.overlap = sizes, scales, threshold, overlap
        self.one_class = one_class

    def forward(self, *maps: Tensor) -> Tensor:
        found = []
        for blob, sizes, scale in zip(maps, self.sizes, self.scales, strict=True):
            limits = blob.new_tensor([blob.shape[3], blob.shape[2]]) * scale
            boxes, objectness, classes = yolo_boxes(blob, blob.new_tensor(sizes) / limits)
            score = (classes.softmax(-1) if self.one_class else classes.sigmoid()) * objectness[..., None]
            chosen = score > self.threshold
            if self.one_class:
                likeliest = torch.zeros_like(chosen).scatter_(-1, score.argmax(-1, keepdim=True), True)
                chosen = likeliest & (score >= self.threshold)
            image, y, x, box, label = chosen.nonzero(as_tuple=True)
            head = torch.stack([image, label + 1, score[image, y, x, box, label]], 1)
            found.append(torch.cat([head, boxes[image, y, x, box]], 1))
        every, rows = torch.cat(found), []
        below = torch.nextafter(torch.tensor(self.overlap), torch.tensor(-math.inf)).item()
        for number in range(len(maps[0])):
            mine = every[every[:, 0] == number]
            mine = mine[mine[:, 2].argsort(descending=True, stable=True)]
            rows.append(mine[keep_apart(mine[:, 3:], below)])
        made = torch.cat(rows)
        if not len(made):
            made = every.new_full((len(maps[0]), 7), -1)
            made[:, 0] = torch.arange(len(made), device=made.device)
        return made[None, None]
