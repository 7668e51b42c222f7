"""SSD's detections: boxes out of the predictions for an image's default boxes (SSD, Jacinto and Xilinx alike)."""

import math

import torch
from torch import Tensor

from caffecompat.layers.functional.detection_boxes import decode_boxes
from caffecompat.layers.functional.detection_nms import non_maximum_suppression, rank_in_list

__all__ = ["detection_output", "detections_of_batch"]


@torch.no_grad()
def detection_output(
    locations: Tensor,
    scores: Tensor,
    priors: Tensor,
    classes: int,
    *,
    background: int = 0,
    shared_locations: bool = True,
    code: str = "CORNER",
    variance_in_target: bool = False,
    threshold: float = -math.inf,
    top_k: int = -1,
    keep_top_k: int = -1,
    nms_threshold: float = 0.3,
    eta: float = 1.0,
) -> Tensor:
    """The boxes that SSD finds: decoded, without those that better ones overlap.

    Args:
        locations: codes of boxes (N, P * L * 4), L being 1, or the number of classes without shared_locations.
        scores: probabilities (N, P * classes).
        priors: default boxes and the variances of their coordinates (1, 2, P * 4).
        background: the class that is none; -1 where all are some.
        code: as of `decode_boxes`.
        variance_in_target: whether the codes are not to be multiplied by the variances.
        threshold: the score that a box must be above.
        top_k: how many boxes of a class and image go through suppression; -1: all.
        keep_top_k: how many boxes of an image stay; -1: all.
        nms_threshold, eta: as of `non_maximum_suppression`.

    Returns:
        (1, 1, K, 7), rows [image, class, score, xmin, ymin, xmax, ymax] in units of the image, by image, class and
        falling score. Where nothing is found in the whole batch, each image has a row [image, -1, -1, ...].
    """
    images = locations.shape[0]
    boxes, variances = priors.float().reshape(2, -1, 1, 4)
    locations = locations.float().reshape(images, len(boxes), -1, 4)
    scores = scores.float().reshape(images, len(boxes), classes).transpose(1, 2)
    image, label, prior, score = _candidates(scores, background, threshold, top_k)
    codes = locations[image, prior, torch.zeros_like(label) if shared_locations else label]
    if not variance_in_target:
        codes = codes * variances[prior, 0]
    found = decode_boxes(code, boxes[prior, 0], codes)
    stay = non_maximum_suppression(found, image * classes + label, nms_threshold, eta)
    keep = _keep_best(image, score, stay, keep_top_k)
    rows = torch.cat([torch.stack([image, label, score], 1)[keep], found[keep]], 1)
    return detections_of_batch(rows, images)


def detections_of_batch(rows: Tensor, images: int) -> Tensor:
    """Detections (K, 7) as a blob (1, 1, K, 7); without any, a row [image, -1, -1, ...] for each image."""
    if not len(rows):
        rows = rows.new_full((images, 7), -1)
        rows[:, 0] = torch.arange(images, device=rows.device)
    return rows[None, None]


def _candidates(scores: Tensor, background: int, threshold: float, top_k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, class, prior and score of what passes threshold and top_k, by image, class and falling score.

    Args:
        scores: (N, C, P).
    """
    images, classes, count = scores.shape
    passes = scores > threshold
    if 0 <= background < classes:
        passes[:, background] = False
    if 0 < top_k < count and int(passes.sum()) > top_k * images * classes:
        # An untrained net: leave what top_k will leave, so that only that much is sorted.
        passes &= scores >= scores.contiguous().topk(top_k, 2)[0][..., -1:]
    image, label, prior = passes.nonzero(as_tuple=True)
    score = scores[image, label, prior]
    order = score.argsort(descending=True, stable=True)
    group = image * classes + label
    order = order[group[order].argsort(stable=True)]
    if top_k >= 0:
        order = order[rank_in_list(group[order]) < top_k]
    return image[order], label[order], prior[order], score[order]


def _keep_best(image: Tensor, score: Tensor, stay: Tensor, limit: int) -> Tensor:
    """The entries of those that stay which `limit` leaves to each image (-1: all), in their order."""
    keep = stay.nonzero()[:, 0]
    if limit < 0:
        return keep
    order = score[keep].argsort(descending=True, stable=True)
    order = order[image[keep][order].argsort(stable=True)]
    best = order[rank_in_list(image[keep][order]) < limit]
    return keep[best.sort()[0]]
