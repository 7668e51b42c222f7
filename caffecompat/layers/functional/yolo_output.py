"""Boxes of YOLO v2 and v3."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from caffecompat.layers.functional.detection import detections_of_batch
from caffecompat.layers.functional.detection_nms import non_maximum_suppression

__all__ = ["yolo_boxes", "yolo_v2_detections", "yolo_v3_detections"]


def yolo_boxes(blob: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a map says of the boxes in each of its cells.

    Args:
        blob: (N, B * (5 + C), H, W); of each box x and y within the cell (before the sigmoid), logarithms of the
            factors of width and height, objectness (before the sigmoid), C class scores.
        sizes: (B, 2), width and height of each box in units of the picture.

    Returns:
        Corners (N, H, W, B, 4) in units of the picture, objectness (N, H, W, B), and class scores (N, H, W, B, C).
    """
    items, _, rows, columns = blob.shape
    values = blob.reshape(items, len(sizes), -1, rows, columns).permute(0, 3, 4, 1, 2)
    y = torch.arange(rows, device=blob.device, dtype=blob.dtype)
    x = torch.arange(columns, device=blob.device, dtype=blob.dtype)
    cell = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    center = (cell + values[..., :2].sigmoid()) / values.new_tensor([columns, rows])
    half = values[..., 2:4].exp() * sizes / 2
    return torch.cat([center - half, center + half], -1), values[..., 4].sigmoid(), values[..., 5:]


@torch.no_grad()
def yolo_v2_detections(
    maps: Sequence[Tensor], sizes: Sequence[tuple[float, float]], threshold: float, overlap: float
) -> Tensor:
    """The boxes of YOLO v2: each has its likeliest class, whose probability times the objectness is its score.

    Args:
        maps: (N, B * (5 + C), H, W) each, as of `yolo_boxes`.
        sizes: width and height of each of the B boxes, in cells.
        threshold: the least score of a box.
        overlap: intersection over union from which the better box suppresses the other, of whatever class.

    Returns:
        (1, 1, K, 7), rows [image, class + 1, score, xmin, ymin, xmax, ymax] in units of the picture, by image and
        falling score. Where nothing is found in the whole batch, each image has a row [image, -1, -1, ...].
    """
    found = []
    for blob in (each.float() for each in maps):
        boxes, objectness, classes = yolo_boxes(blob, blob.new_tensor(sizes) / blob.new_tensor(blob.shape[:1:-1]))
        probability, label = classes.softmax(-1).max(-1)
        score = objectness * probability
        chosen = score >= threshold
        found.append((chosen.nonzero()[:, 0], label[chosen], score[chosen], boxes[chosen]))
    return _yolo_rows(found, len(maps[0]), overlap)


@torch.no_grad()
def yolo_v3_detections(
    maps: Sequence[Tensor],
    sizes: Sequence[Sequence[tuple[float, float]]],
    scales: Sequence[float],
    threshold: float,
    overlap: float,
) -> Tensor:
    """The boxes of YOLO v3: each is there once for every class whose score is above the threshold.

    Args:
        maps, overlap: as of `yolo_v2_detections`; what it returns, too.
        sizes: for each map, width and height of its boxes in pixels of a picture that is `scales` times as large as it.
    """
    found = []
    for blob, pairs, scale in zip((each.float() for each in maps), sizes, scales, strict=True):
        limits = blob.new_tensor(blob.shape[:1:-1]) * scale
        boxes, objectness, classes = yolo_boxes(blob, blob.new_tensor(pairs) / limits)
        score = classes.sigmoid() * objectness[..., None]
        image, row, column, box, label = (score > threshold).nonzero(as_tuple=True)
        found.append((image, label, score[image, row, column, box, label], boxes[image, row, column, box]))
    return _yolo_rows(found, len(maps[0]), overlap)


def _yolo_rows(found: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], images: int, overlap: float) -> Tensor:
    """The detections that stay, of the image, class, score and corners of what each map finds."""
    image, label, score, box = (torch.cat(part) for part in zip(*found, strict=True))
    order = score.sort(descending=True, stable=True)[1]
    order = order[image[order].sort(stable=True)[1]]
    image, label, score, box = image[order], label[order], score[order], box[order]
    # Overlaps that reach the threshold suppress, where non_maximum_suppression wants them above it.
    below = torch.nextafter(torch.tensor(overlap), torch.tensor(-math.inf)).item()
    stay = non_maximum_suppression(box, image, below)
    return detections_of_batch(torch.cat([torch.stack([image, label + 1, score], 1), box], 1)[stay], images)
