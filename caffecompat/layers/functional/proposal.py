"""Region proposals of Faster R-CNN: anchors around every cell, moved and scaled as the net predicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.layers.functional.detection_nms import non_maximum_suppression, rank_in_list

__all__ = ["ProposalRules", "make_anchors", "proposal_boxes", "propose_regions"]


@dataclass(frozen=True)
class ProposalRules:
    """How region proposals are chosen.

    Attributes:
        stride: rows and columns of the picture between cells.
        before, after: how many boxes of an image suppression gets, and leaves.
        overlap: intersection over union up to which a box stays.
        least: least width and height, in pixels of a picture that was not resized.
        inclusive: a box from 3 to 5 is 3 wide, and may be as small as `least`; else 2 wide, and must be larger.
        small: what becomes of smaller ones: "last" (their score becomes 0), "out", or "late" (they leave room to no
            other among the first `before`; Xilinx's rule, which gives [0, 0, 0, 1, 1] where there is no region).
    """

    stride: tuple[int, int]
    before: int
    after: int
    overlap: float
    least: tuple[float, float]
    inclusive: bool = True
    small: str = "last"


def make_anchors(base: int, ratios: Sequence[float], scales: Sequence[float]) -> Tensor:
    """Boxes (xmin, ymin, xmax, ymax) around the pixels 0 to base - 1, one for each ratio and scale: (A, 4).

    For each ratio of height to width a box of the area base x base, its sides rounded, is made `scale` times as large;
    scales change fastest. A box from 3 to 5 is 3 wide.
    """
    ratio = torch.tensor(ratios, dtype=torch.float32)[:, None]
    scale = torch.tensor(scales, dtype=torch.float32)[None]
    width = ((base * base / ratio).sqrt() + 0.5).floor()
    height = (width * ratio + 0.5).floor()
    half = torch.stack([width * scale - 1, height * scale - 1], -1).reshape(-1, 2) / 2
    center = (base - 1) / 2
    return torch.cat([center - half, center + half], 1)


def proposal_boxes(anchors: Tensor, codes: Tensor, stride: tuple[int, int], sizes: Tensor) -> Tensor:
    """The boxes that the net proposes, cut at the border of the picture.

    Args:
        anchors: (A, 4), corners of the boxes around the cell at the top left.
        codes: (N, A * 4, H, W), of each anchor: shift of the center in widths and heights of the anchor, logarithms of
            the factors for width and height.
        stride: rows and columns of the picture from one cell to the next.
        sizes: (N, 2), height and width of each picture.

    Returns:
        (N, H, W, A, 4), corners (xmin, ymin, xmax, ymax) in pixels.
    """
    items, _, rows, columns = codes.shape
    codes = codes.reshape(items, -1, 4, rows, columns).permute(0, 3, 4, 1, 2)
    size = anchors[:, 2:] - anchors[:, :2] + 1
    y = torch.arange(rows, device=codes.device, dtype=codes.dtype) * stride[0]
    x = torch.arange(columns, device=codes.device, dtype=codes.dtype) * stride[1]
    shift = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    center = codes[..., :2] * size + (shift + anchors[:, :2] + 0.5 * size)
    half = 0.5 * (codes[..., 2:].exp() * size)
    boxes = torch.cat([center - half, center + half], -1)
    limit = (sizes.flip(1) - 1).repeat(1, 2)[:, None, None, None]
    return torch.minimum(boxes, limit).clamp(min=0)


@torch.no_grad()
def propose_regions(
    scores: Tensor, codes: Tensor, info: Tensor, anchors: Tensor, rules: ProposalRules, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The regions that are likeliest to hold an object, without those that better ones overlap.

    Args:
        scores: (N, 2 A, H, W), of which the second half says how likely there is an object.
        codes: (N, 4 A, H, W), as of `proposal_boxes`.
        info: (N or 1, 3 or more), height and width of the picture and by how much it was resized; a fourth value is
            the factor of its width.
        anchors: (A, 4).
        keepdim: whether the scores are (R, 1).

    Returns:
        The regions (R, 5), rows [image, xmin, ymin, xmax, ymax] by image and falling score, and their scores (R).
    """
    items = scores.shape[0]
    scores, codes, info = scores.float(), codes.float(), info.float().reshape(info.shape[0], -1).expand(items, -1)
    boxes = proposal_boxes(anchors.to(codes), codes, rules.stride, info[:, :2])
    objects = scores[:, len(anchors) :].permute(0, 2, 3, 1)
    if rules.small == "late":  # Xilinx numbers boxes anchor by anchor, which decides between equal scores
        boxes, objects = boxes.permute(0, 3, 1, 2, 4), objects.permute(0, 3, 1, 2)
    boxes, objects = boxes.reshape(items, -1, 4), objects.reshape(items, -1)
    large = _is_large(boxes, info, rules)
    if rules.small == "last":
        objects = objects * large
    elif rules.small == "out":
        objects = objects.masked_fill(~large, -math.inf)
    best, order = objects.sort(dim=1, descending=True, stable=True)
    best, order = best[:, : rules.before], order[:, : rules.before]
    there = best > -math.inf if rules.small != "late" else large.gather(1, order)
    image, place = there.nonzero(as_tuple=True)
    found, score = boxes[image, order[image, place]], best[image, place]
    wide = found + found.new_tensor([0, 0, 1, 1]) if rules.inclusive else found
    stay = non_maximum_suppression(wide, image, rules.overlap, most=rules.after).nonzero()[:, 0]
    stay = stay[rank_in_list(image[stay]) < rules.after]
    regions = torch.cat([image[stay, None].to(found.dtype), found[stay]], 1)
    if rules.small == "late" and not len(regions):
        regions = regions.new_tensor([[0, 0, 0, 1, 1]])
    best = score[stay]
    return regions, best[:, None] if keepdim else best


def _is_large(boxes: Tensor, info: Tensor, rules: ProposalRules) -> Tensor:
    """Which of boxes (N, K, 4) are wide and high enough."""
    factor = torch.stack([info[:, 3 if info.shape[1] > 3 else 2], info[:, 2]], 1)
    least = factor[:, None] * factor.new_tensor(rules.least)
    size = boxes[..., 2:] - boxes[..., :2]
    return ((size + 1 >= least) if rules.inclusive else (size > least)).all(-1)
