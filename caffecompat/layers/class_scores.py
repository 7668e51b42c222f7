"""What the layers that score classes share: softmax in either memory format, and labels read as class numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat import glog
from caffecompat.layers.host_values import host_values
from caffecompat.layers.layer import LabelError, LayerError, Shape, values_known
from caffecompat.schema import pb

__all__ = [
    "OutsideLabels",
    "check_label_count",
    "check_labels",
    "check_shares",
    "class_index",
    "count_by_class",
    "holds_shares",
    "is_contiguous_along",
    "label_ids_hint",
    "softmax",
]


def is_contiguous_along(blob: Tensor, axis: int) -> bool:
    """Whether the values along `axis` are neighbors in memory though other axes follow (channels_last, axis 1).

    torch's softmax and gather are twice as fast there when the axis is moved to the end first.
    """
    return axis != blob.dim() - 1 and blob.stride(axis) == 1


def softmax(scores: Tensor, axis: int, function: Callable[..., Tensor] = F.softmax) -> Tensor:
    """Softmax (or log-softmax) along `axis`; channels_last scores stay so where the axis is the channels."""
    if is_contiguous_along(scores, axis):
        return function(scores.movedim(axis, -1), dim=-1).movedim(-1, axis)
    return function(scores, dim=axis)


def holds_shares(scores: Shape, labels: Shape, axis: int) -> bool:
    """Whether labels of a shape are soft: a share of each class, in the scores' shape but for axes of 1 at the end.

    Where there is a single class the shape also fits class numbers, which they are then.
    """
    return scores[axis] > 1 and _without_last_ones(labels) == _without_last_ones(scores)


def _without_last_ones(shape: Shape) -> Shape:
    count = len(shape)
    while count and shape[count - 1] == 1:
        count -= 1
    return tuple(shape[:count])


def check_shares(param: pb.LayerParameter, shares: Tensor) -> None:
    """Raise a LabelError that names the layer and the first soft label (of bottom 1) that is no share, 0 to 1."""
    shares = host_values(shares)
    if not values_known(shares) or shares.numel() == 0:
        return
    slack = 1e-3  # what rounding leaves of a sum of shares in half precision
    low, high = torch.stack(shares.aminmax()).tolist()
    if low >= -slack and high <= 1 + slack:
        return
    place = (~((shares >= -slack) & (shares <= 1 + slack))).nonzero()[0].tolist()
    raise LabelError(
        f"layer {param.name!r} ({param.type}): soft label {shares[tuple(place)].item():g} in {param.bottom[1]!r} of "
        f"shape {tuple(shares.shape)}, batch item {place[0]}, index {tuple(place[1:])}, is no share of a class "
        "(0 to 1); labels of the scores' shape are soft, class numbers come one for each position",
        blob=param.bottom[1],
        item=place[0],
    )


def check_label_count(scores: Shape, labels: Shape, axis: int, more: str = "") -> None:
    """Check that there is one label for every position of `scores` off the class axis.

    Args:
        more: added to the error.

    Raises:
        LayerError: their count differs; it names both shapes.
    """
    want = _count(scores[:axis]) * _count(scores[axis + 1 :])
    have = _count(labels)
    if want != have:
        raise LayerError(
            f"{have} labels (shape {tuple(labels)}) do not fit scores of shape {tuple(scores)}: with the classes "
            f"on axis {axis} there must be {want}, one for each position of the other axes{more}"
        )


def class_index(
    param: pb.LayerParameter, labels: Tensor, scores: Tensor, axis: int, ignore: int | None
) -> tuple[Tensor, Tensor | None]:
    """Labels (floats, as blobs are) as class numbers that gather along `axis` of `scores`.

    Args:
        param: the LayerParameter, whose bottom 1 the labels are.
        labels: any shape with one label a position; fractions are cut off, as Caffe's cast does.
        ignore: the label of positions that do not count, or None.

    Returns:
        The class numbers as int64, of the shape of `scores` with 1 on `axis` and 0 where ignored; and
        which positions count (bool, same shape), or None if all do.

    Raises:
        LabelError: a label names no class. One pass over the labels; on a GPU it waits for those that are no fed
            blob (`caffecompat.layers.host_values`).
    """
    shape = list(scores.shape)
    shape[axis] = 1
    index, counted = _numbers(labels, ignore)
    known = host_values(labels)
    check_labels(param, index if known is labels else _numbers(known, ignore)[0], known, scores.shape[axis])
    return index.reshape(shape), None if counted is None else counted.reshape(shape)


def _numbers(labels: Tensor, ignore: int | None) -> tuple[Tensor, Tensor | None]:
    """Labels as int64, 0 where ignored; which of them count, or None if all do."""
    index = labels.detach().to(torch.int64)
    if ignore is None:
        return index, None
    ignored = index == ignore
    return index.masked_fill(ignored, 0), ~ignored


def check_labels(param: pb.LayerParameter, index: Tensor, labels: Tensor, classes: int, remedy: str = "") -> None:
    """Raise a LabelError that names the layer, the first value outside 0 to classes - 1, its place and their count.

    `index` has the ignored labels replaced by a class number, `labels` (same shape) the values as read. `remedy` is
    what to do besides changing labels or outputs; without it, to set ignore_label.
    """
    if not values_known(index) or index.numel() == 0:
        return
    low, high = torch.stack(index.aminmax()).tolist()
    if low >= 0 and high < classes:
        return
    outside = (index < 0) | (index >= classes)
    place = outside.nonzero()[0].tolist()
    value = labels[tuple(place)].item()
    where = f"batch item {place[0]}" if place else "the only value"
    if labels.dim() == 4 and labels.shape[1] == 1 and labels.shape[2] * labels.shape[3] > 1:
        where += f", row {place[2]}, column {place[3]}"
    elif any(place[1:]):
        where += f", index {tuple(place[1:])}"
    values = index[outside].unique()
    setting = f"ignore_label: {values.item()}" if values.numel() == 1 else "ignore_label"
    remedy = f"; {remedy}" if remedy else f", or set {setting} (where the layer has it) to leave the value out"
    raise LabelError(
        f"layer {param.name!r} ({param.type}): label {value:g} in {param.bottom[1]!r} of shape {tuple(labels.shape)}, "
        f"{where}, is not one of the {classes} classes that are scored (0 to {classes - 1}); "
        f"{_count_text(outside)} outside; change the labels or the "
        f"number of outputs{remedy}"
        f"{label_ids_hint(classes, int(values.max()))}",
        blob=param.bottom[1],
        item=place[0] if place else 0,
    )


def label_ids_hint(classes: int, largest: int) -> str:
    """What to add where labels up to `largest` are no class of a net of `classes`: whether they are Cityscapes' ids."""
    if classes != 19 or not 19 <= largest <= 33:
        return ""
    return "; they look like Cityscapes' label ids, the net wants train ids (..._labelTrainIds.png)"


def _count_text(outside: Tensor) -> str:
    count = int(outside.sum())
    return f"{count} of the batch's {outside.numel()} labels {'is' if count == 1 else 'are'}"


class OutsideLabels:
    """Finds labels that are no class, for a measure: they count as wrong and never end a run.

    So do the release builds of SSD, Xilinx, PSPNet, NVCaffe, ENet and SegNet, whose Accuracy compares such a label
    with the best classes and finds it among none. The first batch with one gives a warning in the log.

    Args:
        param: the LayerParameter, whose bottom 1 the labels are.
        classes: how many are scored.
        remedy: what to do about such labels.
    """

    def __init__(self, param: pb.LayerParameter, classes: int, remedy: str = "ignore_label leaves a value out") -> None:
        self._param, self._classes, self._remedy = param, classes, remedy
        self._warned = False

    def find(self, index: Tensor, counted: Tensor | None = None) -> Tensor:
        """Which labels (int64) are outside 0 to classes - 1 (bool, same shape), of those that count."""
        outside = (index < 0) | (index >= self._classes)
        if counted is not None:
            outside &= counted
        if not self._warned and values_known(outside) and outside.any():
            self._warned = True
            glog.warning(
                f"layer {self._param.name!r} ({self._param.type}): {_count_text(outside)} outside the {self._classes} "
                f"classes (the first is {int(index[outside][0])}); they count as wrong, here and in later batches; "
                f"{self._remedy}{label_ids_hint(self._classes, int(index[outside].max()))}"
            )
        return outside


def count_by_class(index: Tensor, counted: Tensor, classes: int) -> Tensor:
    """How many counted positions have each class: (classes) float32. Also runs on meta tensors, unlike bincount."""
    counts = torch.zeros(classes, device=index.device)
    return counts.scatter_add_(0, index.flatten(), counted.flatten().to(counts.dtype))


def _count(shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
