"""SSD's default boxes and its detections, written into exported files as they stand here.

Each stands on torch alone, and on those of its file that `NEEDS` names; nothing else of this package may be used.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["DetectionOutput", "PriorBox", "decode_boxes", "jaccard", "non_maximum_suppression"]

NEEDS = {
    "non_maximum_suppression": ("jaccard",),
    "DetectionOutput": ("decode_boxes", "jaccard", "non_maximum_suppression"),
}


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


def decode_boxes(code: str, priors: Tensor, codes: Tensor) -> Tensor:
    """The corners (..., 4) that codes, already multiplied by the variances, mean at the priors."""
    if code == "CORNER":
        return priors + codes
    size = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return priors + codes * torch.cat([size, size], -1)
    centre = codes[..., :2] * size + (priors[..., :2] + priors[..., 2:]) / 2
    half = codes[..., 2:].exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, broadcast; 0 where they do not meet."""
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp(min=0)
    shared = width * height
    size_a = (a[..., 2] - a[..., 0]).clamp(min=0) * (a[..., 3] - a[..., 1]).clamp(min=0)
    size_b = (b[..., 2] - b[..., 0]).clamp(min=0) * (b[..., 3] - b[..., 1]).clamp(min=0)
    return shared / (size_a + size_b - shared).clamp(min=torch.finfo(shared.dtype).tiny)


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
