"""SSD's training samples: which prior represents which object, and which priors are hard enough to learn from.

A batch's objects are rows: object g lies in image ``image[g]``. Priors are the same for all images, so one matrix of
overlaps (objects, priors) holds all that can match. Rules: SSD's ``MatchBBox`` and ``MineHardExamples``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.layers.functional.detection_boxes import jaccard, outside
from caffecompat.layers.layer import LayerError

__all__ = ["IGNORED", "UNMATCHED", "Objects", "match", "read_objects"]

UNMATCHED, IGNORED = -1, -2
_LEAST = 1e-6  # overlaps up to this count as none


@dataclass(frozen=True)
class Objects:
    """The objects of a batch: `image` (G), `label` (G) int64, `box` (G, 4), `difficult` (G) bool."""

    image: Tensor
    label: Tensor
    box: Tensor
    difficult: Tensor

    def __len__(self) -> int:
        return len(self.image)


def read_objects(
    blob: Tensor, images: int, background: int, device: torch.device, *, difficult: bool = True
) -> Objects:
    """The rows [image, label, instance, xmin, ymin, xmax, ymax, difficult] of a label blob (1, 1, G, 8).

    Rows of image -1, and of images that the batch does not have, are ignored. Rows keep their order.

    Args:
        difficult: whether difficult objects count.

    Raises:
        LayerError: a row has not eight columns, or an object is of the background's class.
    """
    if blob.shape[-1] != 8:
        raise LayerError(f"labels of shape {tuple(blob.shape)}: each row must have 8 values (image, class, ..., box)")
    rows = blob.detach().float().cpu().reshape(-1, 8)
    rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < images)]
    if bool((rows[:, 1].long() == background).any()):
        raise LayerError(f"an object has the background's class {background}; is this the label map of the data?")
    if not difficult:
        rows = rows[rows[:, 7] == 0]
    rows = rows.to(device)
    return Objects(rows[:, 0].long(), rows[:, 1].long(), rows[:, 3:7], rows[:, 7] != 0)


def match(
    boxes: Tensor,
    objects: Objects,
    group: Tensor,
    groups: int,
    *,
    threshold: float | None,
    ignore_crossing: bool = False,
    ignore_difficult: bool = False,
) -> tuple[Tensor, Tensor]:
    """Give boxes their objects, group by group (a group is an image, or a class in an image).

    First every object takes the free box that overlaps it most, the greatest overlap of all going first, ties to the
    box and then the object that come first. Then, with a `threshold`, each box left over takes the object it overlaps
    most, if by that much.

    Args:
        boxes: (P, 4), the same in all groups, or (groups, P, 4).
        group: (G) of each object.
        threshold: None is for bipartite matching alone.
        ignore_crossing: boxes that reach over the image's border are IGNORED.
        ignore_difficult: boxes whose best object is difficult are IGNORED, such objects never get one (Jacinto).

    Returns:
        (groups, P) int64: row of the object, UNMATCHED or IGNORED; and (groups, P): each box's greatest overlap.
    """
    shape = (groups, boxes.shape[-2])
    if not len(objects):
        return boxes.new_full(shape, UNMATCHED, dtype=torch.int64), boxes.new_zeros(shape)
    overlaps = jaccard(boxes if boxes.dim() == 2 else boxes[group], objects.box[:, None])
    overlaps = overlaps.masked_fill_(overlaps <= _LEAST, 0)
    found = torch.full(shape, UNMATCHED, device=boxes.device)
    if ignore_crossing:
        crossing = outside(boxes).any(-1).expand(shape)
        found.masked_fill_(crossing, IGNORED)
        overlaps.masked_fill_(crossing[group], 0)
    best, overlap = _best_object(overlaps, torch.arange(len(objects), device=boxes.device), group, shape)
    _match_bipartite(overlaps, objects, group, found, ignore_difficult)
    if threshold is not None:
        takes = (found == UNMATCHED) & (overlap >= threshold) & (overlap > 0)
        found = torch.where(takes, best, found)
    return found, overlap


def _best_object(overlaps: Tensor, rows: Tensor, group: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """For each box of each group the object that it overlaps most, the first of equals, and by how much."""
    keys = _best_key(overlaps, rows, group, shape)
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF), (keys >> 32).to(torch.int32).view(torch.float32)


def _best_key(overlaps: Tensor, rows: Tensor, group: Tensor, shape: tuple[int, int]) -> Tensor:
    """The greatest (overlap, -row) over each group's objects as one integer.

    Bits of floats that are not negative have the floats' order, so one maximum finds value and place.
    """
    keys = overlaps.float().view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    keys |= (0xFFFFFFFF - rows)[:, None]
    best = torch.zeros(shape, dtype=torch.int64, device=overlaps.device)
    return best.scatter_reduce_(0, group[:, None].expand_as(keys), keys, "amax")


def _match_bipartite(overlaps: Tensor, objects: Objects, group: Tensor, found: Tensor, ignore_difficult: bool) -> None:
    """Fill `found` with greedy one-to-one matches.

    A pair that is the best both of its object and of its box is taken by the greedy order sooner or later, whatever
    happens elsewhere; so all such pairs are taken at once, and the few objects left over start again.
    """
    rows = torch.arange(len(objects), device=overlaps.device)
    difficult_key = None
    left = rows
    if ignore_difficult:
        never = objects.difficult
        difficult_key = _best_key(overlaps[never], rows[never], group[never], (found.shape[0], found.shape[1]))
        left = rows[~never]
    while True:
        free = overlaps[left].masked_fill_(found[group[left]] != UNMATCHED, 0)
        if difficult_key is not None:
            _give_up(free, left, group, found, difficult_key)
        if not len(left):
            return
        box = free.argmax(1)
        best = free.gather(1, box[:, None])[:, 0]
        rivals = free[:, box]  # of each object (row), its overlap with the best box of each object (column)
        ahead = (rivals > best) | ((rivals == best) & (left[:, None] < left))
        beaten = (ahead & (group[left, None] == group[left])).any(0)
        taken = ~beaten & (best > 0)
        found[group[left[taken]], box[taken]] = left[taken]
        left = left[beaten & (best > 0)]


def _give_up(free: Tensor, left: Tensor, group: Tensor, found: Tensor, difficult_key: Tensor) -> None:
    """Mark free boxes IGNORED whose best pair is with a difficult object; `free` forgets them."""
    ordinary = _best_key(free, left, group[left], (found.shape[0], found.shape[1]))
    lost = (found == UNMATCHED) & (difficult_key > ordinary) & (difficult_key >> 32 > 0)
    found.masked_fill_(lost, IGNORED)
    free.masked_fill_(lost[group[left]], 0)
