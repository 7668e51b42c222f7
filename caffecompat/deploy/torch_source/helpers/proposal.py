"""Region proposals in exported files."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from caffecompat.layers.functional.detection_boxes import jaccard
from caffecompat.layers.functional.proposal import proposal_boxes

__all__ = ["RegionProposals", "keep_apart"]


def keep_apart(boxes: Tensor, threshold: float, most: int | None = None) -> Tensor:
    """Which of the boxes, in order of falling score, stay: those that no better one overlaps above the threshold."""
    kept: list[int] = []
    left = torch.arange(len(boxes), device=boxes.device)
    while len(left) and (most is None or len(kept) < most):
        kept.append(int(left[0]))
        left = left[1:][jaccard(boxes[left[0]], boxes[left[1:]]) <= threshold]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


class RegionProposals(nn.Module):
    """Regions (R, 5), rows [image, xmin, ymin, xmax, ymax], out of scores and box codes for anchors around every cell.

    Takes scores (N, 2 A, H, W), the second half those of an object, codes (N, 4 A, H, W), and the pictures' rows
    (height, width, resize factor). With scores it also returns those of the regions, (R) or (R, 1). Boxes that are too
    small get a score of 0 ("last"), go out before the choice of the best ("out"), or after it ("late").
    """

    anchors: Tensor

    def __init__(
        self,
        anchors: Sequence[Sequence[float]],
        stride: tuple[int, int],
        before: int,
        after: int,
        overlap: float,
        least: tuple[float, float],
        small: str = "last",
        scores: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.tensor(anchors), persistent=False)
        self.stride, self.before, self.after, self.overlap = stride, before, after, overlap
        self.least, self.small, self.scores = least, small, scores

    def forward(self, scores: Tensor, codes: Tensor, info: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        info = info.reshape(info.shape[0], -1).expand(scores.shape[0], -1)
        boxes = proposal_boxes(self.anchors, codes, self.stride, info[:, :2])
        objects = scores[:, len(self.anchors) :].permute(0, 2, 3, 1)
        if self.small == "late":  # these are numbered anchor by anchor
            boxes, objects = boxes.permute(0, 3, 1, 2, 4), objects.permute(0, 3, 1, 2)
        found = [
            self.of_image(boxes[image].reshape(-1, 4), objects[image].flatten(), info[image])
            for image in range(len(boxes))
        ]
        rows = [torch.cat([box.new_full((len(box), 1), image), box], 1) for image, (box, _) in enumerate(found)]
        regions, best = torch.cat(rows), torch.cat([score for _, score in found])
        if self.small == "late" and not len(regions):
            regions = regions.new_tensor([[0, 0, 0, 1, 1]])
        return (regions, best.reshape(-1, *[1] * (self.scores - 1))) if self.scores else regions

    def of_image(self, boxes: Tensor, score: Tensor, info: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores of one image's regions."""
        one = 0 if self.small == "late" else 1  # what a box from 3 to 5 is wider than 2
        least = torch.stack([info[3 if len(info) > 3 else 2], info[2]]) * info.new_tensor(self.least)
        size = boxes[:, 2:] - boxes[:, :2] + one
        large = (size >= least if one else size > least).all(1)
        if self.small == "last":
            score = score * large
        elif self.small == "out":
            boxes, score = boxes[large], score[large]
        order = score.argsort(descending=True, stable=True)[: self.before]
        order = order[large[order]] if self.small == "late" else order
        boxes, score = boxes[order], score[order]
        kept = keep_apart(boxes + boxes.new_tensor([0, 0, one, one]), self.overlap, self.after)
        return boxes[kept], score[kept]
