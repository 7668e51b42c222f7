"""SSD's detections in exported files."""

import math

import torch
from torch import Tensor, nn

from caffecompat.layers.functional.detection_boxes import decode_boxes, jaccard

__all__ = ["DetectionOutput", "non_maximum_suppression"]


def non_maximum_suppression(boxes: Tensor, threshold: float, eta: float) -> list[int]:
    """Which of the boxes, in order of falling score, stay; the threshold shrinks by eta while it is above 0.5."""
    overlap = jaccard(boxes[:, None], boxes[None])
    kept: list[int] = []
    for index in range(len(boxes)):
        if not (overlap[kept, index] > threshold).any():
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


class DetectionOutput(nn.Module):
    """SSD's boxes: (1, 1, K, 7) rows [image, class, score, xmin, ymin, xmax, ymax], or -1 in all but the first.

    Takes locations (N, P * L * 4), class probabilities (N, P * C) and priors (1, 2, P * 4).
    """

    def __init__(
        self,
        classes: int,
        background: int = 0,
        shared_locations: bool = True,
        code: str = "CORNER",
        variance_in_target: bool = False,
        threshold: float = -math.inf,
        top_k: int = -1,
        keep_top_k: int = -1,
        nms_threshold: float = 0.3,
        eta: float = 1.0,
    ) -> None:
        super().__init__()
        self.classes, self.background, self.shared_locations = classes, background, shared_locations
        self.code, self.variance_in_target = code, variance_in_target
        self.threshold, self.top_k, self.keep_top_k = threshold, top_k, keep_top_k
        self.nms_threshold, self.eta = nms_threshold, eta

    def forward(self, locations: Tensor, scores: Tensor, priors: Tensor) -> Tensor:
        images = locations.shape[0]
        boxes, variances = priors.reshape(2, -1, 1, 4)
        locations = locations.reshape(images, len(boxes), -1, 4)
        scores = scores.reshape(images, len(boxes), self.classes)
        codes = locations if self.variance_in_target else locations * variances
        found = decode_boxes(self.code, boxes, codes)
        rows = [self.of_image(image, found[image], scores[image]) for image in range(images)]
        rows = [row for row in rows if len(row)]
        if not rows:
            nothing = scores.new_full((images, 7), -1)
            nothing[:, 0] = torch.arange(images, device=nothing.device)
            return nothing[None, None]
        return torch.cat(rows)[None, None]

    def of_image(self, image: int, boxes: Tensor, scores: Tensor) -> Tensor:
        """The rows of one image, by class and falling score; boxes (P, L, 4), scores (P, C)."""
        rows = [scores.new_zeros(0, 7)]
        for label in range(self.classes):
            if label == self.background:
                continue
            mine = scores[:, label]
            prior = (mine > self.threshold).nonzero()[:, 0]
            prior = prior[mine[prior].argsort(descending=True, stable=True)]
            prior = prior[: self.top_k] if self.top_k >= 0 else prior
            own = boxes[prior, 0 if self.shared_locations else label]
            kept = non_maximum_suppression(own, self.nms_threshold, self.eta)
            head = own.new_tensor([image, label]).expand(len(kept), 2)
            rows.append(torch.cat([head, mine[prior[kept], None], own[kept]], 1))
        every = torch.cat(rows)
        if 0 <= self.keep_top_k < len(every):
            best = every[:, 2].argsort(descending=True, stable=True)[: self.keep_top_k]
            every = every[best.sort()[0]]
        return every
