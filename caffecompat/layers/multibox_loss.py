"""MultiBoxLoss: SSD's loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from caffecompat import glog
from caffecompat.layers.detection_matching import UNMATCHED, Objects, match, read_objects
from caffecompat.layers.detection_mining import Suppression, confidence_losses, hard_examples, hard_negatives
from caffecompat.layers.functional.detection_boxes import decode_boxes, encode_boxes, outside
from caffecompat.layers.layer import Context, LayerError, Shape
from caffecompat.layers.loss import LossLayer
from caffecompat.layers.registry import register
from caffecompat.layers.softmax_loss import softmax_nll
from caffecompat.schema import pb

__all__ = ["MultiBoxLoss"]


class _Divided(torch.autograd.Function):
    """x / divisor whose gradient knows nothing of the divisor, as SSD's with encode_variance_in_target."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, divisor: Tensor) -> Tensor:
        return values / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@register("MultiBoxLoss")
class MultiBoxLoss(LossLayer):
    """Match priors to objects, choose negatives, and add the losses of locations and of classes (SSD).

    Bottoms: locations (N, P * L * 4) with L = 1, or the number of classes C without share_location; class scores
    (N, P * C); priors (1, 2, P * 4), boxes and variances, as PriorBox makes them; objects (1, 1, G, 8) as
    AnnotatedData makes them. Top: loc_weight * locations / Z + classes / Z, where Z is by loss_param: the number of
    matched priors (VALID, the default), N (BATCH_SIZE), N * P (FULL) or 1, at least 1. A loss whose bottom has
    propagate_down false is left out.

    An image without objects gives no negatives where negatives are mined; without mining, all its priors are
    negatives. Matching, mining and both losses are computed for the whole batch at once.
    """

    judges_all: ClassVar[bool] = True
    untraceable: str = "which boxes match depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (4, 4)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.multibox_loss_param
        if p.num_classes < 1:
            raise LayerError("multibox_loss_param.num_classes is missing")
        if p.ori_flag:
            raise LayerError("ori_flag (Xilinx's oriented boxes) is not supported")
        self.classes, self.background = p.num_classes, p.background_label_id
        self.softmax = p.conf_loss_type == p.SOFTMAX
        if self.softmax and self.background >= self.classes:
            raise LayerError(f"background_label_id {self.background} is not one of the {self.classes} classes")
        if p.map_object_to_agnostic and self.classes != 2:
            raise LayerError(f"map_object_to_agnostic leaves 2 classes (object, background), not {self.classes}")
        self.code = type(param.prior_box_param).CodeType.Name(p.code_type)
        self.location_classes = 1 if p.share_location else self.classes
        self.mode = self._mode("VALID")
        self.counts = [not param.propagate_down or param.propagate_down[bottom] for bottom in (0, 1)]
        self._check_mining(p)
        self._check_shapes(bottom_shapes)

    def _check_mining(self, p: pb.MultiBoxLossParameter) -> None:
        mines = p.mining_type != p.NONE
        if p.HasField("do_neg_mining") and p.do_neg_mining != mines:
            raise LayerError(
                f"do_neg_mining: {str(p.do_neg_mining).lower()} contradicts mining_type: "
                f"{p.MiningType.Name(p.mining_type)}; do_neg_mining is obsolete, leave it out"
            )
        if mines and not p.share_location:
            raise LayerError("mining needs share_location: true; without, set mining_type: NONE")
        if p.mining_type == p.HARD_EXAMPLE and p.sample_size <= 0:
            raise LayerError(f"sample_size {p.sample_size} must be positive")
        self.suppresses = mines and p.HasField("nms_param") and p.nms_param.nms_threshold > 0
        if self.suppresses and not p.nms_param.top_k:
            glog.warning(
                f"layer {self.param.name!r}: nms_param without top_k keeps no sample at all, as in Caffe; set top_k: -1"
            )

    def _check_shapes(self, shapes: Sequence[Shape]) -> None:
        locations, scores, priors = (tuple(shape) for shape in shapes[:3])
        count = priors[2] // 4 if len(priors) >= 3 else 0
        if len(priors) < 3 or priors[1] != 2 or priors[2] % 4:
            raise LayerError(f"priors of shape {priors}: expected (1, 2, priors x 4), as PriorBox makes them")
        for name, shape, each in (
            ("locations", locations, 4 * self.location_classes),
            ("class scores", scores, self.classes),
        ):
            if math.prod(shape[1:]) != count * each:
                raise LayerError(f"{count} priors need {count} x {each} {name}, the bottom has shape {shape}")

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def forward(self, locations: Tensor, scores: Tensor, priors: Tensor, labels: Tensor) -> Tensor:
        if locations.is_meta:
            return locations.new_empty(())
        p, images = self.param.multibox_loss_param, locations.shape[0]
        boxes, variances = priors.detach().float().reshape(2, -1, 4)
        locations = locations.float().reshape(images, len(boxes), self.location_classes, 4)
        scores = scores.float().reshape(images, len(boxes), self.classes)
        objects = self._read(labels, images, locations.device)
        with torch.no_grad():
            if p.use_prior_for_matching and not (self.suppresses and not p.use_prior_for_nms):
                predicted = None
            else:
                moved = locations if p.encode_variance_in_target else locations * variances[:, None]
                predicted = decode_boxes(self.code, boxes[:, None], moved)
            found, overlap = self._match(boxes, predicted, objects, images)
            found, negatives = self._mine(found, overlap, locations, scores, boxes, variances, predicted, objects)
            matched, prior = (found >= 0).nonzero(as_tuple=True)
            rows = found[matched, prior]
        divisor = self._divisor(images, len(boxes), len(rows))
        total = scores.new_zeros(())
        if self.counts[0]:
            losses = self._location_losses(locations, boxes, variances, predicted, objects, rows, prior)
            total = total + p.loc_weight * losses.sum() / divisor
        if self.counts[1]:
            total = total + self._confidence_loss(scores, objects, rows, prior, negatives) / divisor
        return total

    def _read(self, labels: Tensor, images: int, device: torch.device) -> Objects:
        p = self.param.multibox_loss_param
        objects = read_objects(labels, images, self.background, device, difficult=p.use_difficult_gt)
        if p.map_object_to_agnostic:
            agnostic = torch.full_like(objects.label, self.background + 1)
            return Objects(objects.image, agnostic, objects.box, objects.difficult)
        if len(objects) and int(objects.label.max()) >= self.classes:
            raise LayerError(
                f"an object has class {int(objects.label.max())}, but num_classes is {self.classes} "
                f"(0 to {self.classes - 1}, background included)"
            )
        return objects

    def _divisor(self, images: int, priors: int, matches: int) -> float:
        fixed = self.param.loss_param.pre_fixed_normalizer
        divisors = {"VALID": matches, "FULL": images * priors, "BATCH_SIZE": images, "NONE": 1, "PRE_FIXED": fixed}
        return max(1, divisors[self.mode])

    def _match(self, boxes: Tensor, predicted: Tensor | None, objects: Objects, images: int) -> tuple[Tensor, Tensor]:
        """Rows of objects and overlaps, (N, P); (N * C, P) where predictions are matched class by class."""
        p = self.param.multibox_loss_param
        group, groups = objects.image, images
        if not p.use_prior_for_matching:
            assert predicted is not None
            boxes = predicted.transpose(1, 2).flatten(0, 1)
            if not p.share_location:
                group, groups = objects.image * self.classes + objects.label, images * self.classes
        return match(
            boxes,
            objects,
            group,
            groups,
            threshold=p.overlap_threshold if p.match_type == p.PER_PREDICTION else None,
            ignore_crossing=p.ignore_cross_boundary_bbox,
            ignore_difficult=p.ignore_difficult_gt,
        )

    def _mine(
        self,
        found: Tensor,
        overlap: Tensor,
        locations: Tensor,
        scores: Tensor,
        boxes: Tensor,
        variances: Tensor,
        predicted: Tensor | None,
        objects: Objects,
    ) -> tuple[Tensor, Tensor | None]:
        """The matches that remain, and the negatives (N, P); None where all priors count."""
        p = self.param.multibox_loss_param
        if p.mining_type == p.NONE:
            return found, None
        suppression = Suppression()
        if self.suppresses:
            candidates = (
                boxes.expand(len(found), -1, 4) if predicted is None or p.use_prior_for_nms else predicted[:, :, 0]
            )
            suppression = Suppression(candidates, p.nms_param.nms_threshold, p.nms_param.top_k)
        if p.mining_type == p.MAX_NEGATIVE:
            losses = confidence_losses(scores, self.background, softmax=self.softmax)
            return found, hard_negatives(losses, found, overlap, p.neg_pos_ratio, p.neg_overlap, suppression)
        target = torch.full_like(found, self.background)
        matched, prior = (found >= 0).nonzero(as_tuple=True)
        rows = found[matched, prior]
        target[matched, prior] = objects.label[rows]
        losses = confidence_losses(scores, target, softmax=self.softmax)
        of_location = self._location_losses(locations, boxes, variances, predicted, objects, rows, prior)
        losses[matched, prior] += of_location.sum(1)
        with_objects = torch.zeros(len(found), dtype=torch.bool, device=found.device)
        with_objects[objects.image] = True
        chosen = hard_examples(losses, with_objects, p.sample_size, suppression)
        return found.masked_fill((found >= 0) & ~chosen, UNMATCHED), chosen & (found == UNMATCHED)

    def _location_losses(
        self,
        locations: Tensor,
        boxes: Tensor,
        variances: Tensor,
        predicted: Tensor | None,
        objects: Objects,
        rows: Tensor,
        prior: Tensor,
    ) -> Tensor:
        """Loss of each coordinate (M, 4) of the matches (row of the object, prior)."""
        p = self.param.multibox_loss_param
        kind = torch.zeros_like(rows) if p.share_location else objects.label[rows]
        index = (objects.image[rows] * len(boxes) + prior) * self.location_classes + kind
        prediction = locations.reshape(-1, 4).index_select(0, index)
        target = encode_boxes(self.code, boxes[prior], objects.box[rows])
        variance = variances[prior]
        if p.encode_variance_in_target:
            prediction = _Divided.apply(prediction, variance)
        target = target / variance
        if p.bp_inside:
            # Coordinates outside the image are not learned: what is predicted there counts as right.
            reference = boxes[prior] if p.use_prior_for_matching else predicted.reshape(-1, 4)[index]  # type: ignore[union-attr]
            prediction = torch.where(outside(reference), target, prediction)
        if p.loc_loss_type == p.SMOOTH_L1:
            return F.smooth_l1_loss(prediction, target, reduction="none")
        return (prediction - target).square() / 2

    def _confidence_loss(
        self, scores: Tensor, objects: Objects, rows: Tensor, prior: Tensor, negatives: Tensor | None
    ) -> Tensor:
        """Sum of the class losses of matches and negatives; of all priors where `negatives` is None."""
        priors = scores.shape[1]
        scores = scores.reshape(-1, self.classes)
        matched, label = objects.image[rows] * priors + prior, objects.label[rows]
        if negatives is not None:
            others = negatives.flatten().nonzero()[:, 0]
            scores = scores.index_select(0, torch.cat([matched, others]))
            matched = torch.arange(len(rows), device=rows.device)
        if self.softmax:
            target = torch.full((len(scores),), self.background, device=rows.device)
            target[matched] = label
            return softmax_nll(scores, target[:, None])
        wanted = torch.full_like(scores, float(self.background))
        if negatives is None:
            # SSD advances its targets by P, not by P x C, from image to image, and leaves negatives without target.
            wanted.view(-1)[objects.image[rows] * priors + prior * self.classes + label] = 1
        else:
            wanted[matched, label] = 1
            if self.background < self.classes:
                wanted[len(rows) :, self.background] = 1
        return F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
