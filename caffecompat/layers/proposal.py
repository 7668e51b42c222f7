"""Proposal: the regions of interest that the first stage of Faster R-CNN hands to the second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.layers.functional.proposal import ProposalRules, make_anchors, propose_regions
from caffecompat.layers.layer import TRAIN, Context, Layer, LayerError, Shape
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["Proposal", "PythonProposal"]


def _check_shapes(anchors: int, shapes: Sequence[Shape]) -> None:
    scores, codes, info = (tuple(shape) for shape in shapes)
    for shape, each, what in ((scores, 2, "scores"), (codes, 4, "box codes")):
        if len(shape) != 4 or shape[1] != each * anchors:
            raise LayerError(
                f"{what} of shape {shape}: {anchors} anchors need (batch, {each * anchors}, height, width)"
            )
    if scores[2:] != codes[2:] or scores[0] != codes[0]:
        raise LayerError(f"scores of shape {scores} and box codes of shape {codes} are not of the same cells")
    if not info or info[0] not in (1, scores[0]) or math.prod(info[1:]) < 3:
        raise LayerError(f"picture sizes of shape {info}: expected {scores[0]} row(s) (height, width, resize factor)")


@register("Proposal")
class Proposal(Layer):
    """Regions of interest, out of scores and box codes for anchors around every cell.

    Bottoms: scores (N, 2 A, H, W), the second half those of an object; box codes (N, 4 A, H, W); im_info (N, 3),
    rows (height, width, resize factor). Top: (R, 5), rows [batch item, xmin, ymin, xmax, ymax] by item and falling
    score, where R depends on the values; a second one has their scores (R). No gradient.

    PVANet's (sanghoon/caffe; openvinotoolkit/training_toolbox_caffe and happynear/caffe-windows have it, too): anchors
    of base_size, `ratio` and `scale`; boxes smaller than min_size get a score of 0; the best pre_nms_topn go through
    suppression, the first post_nms_topn stay. It takes one image at a time there. A fourth value of im_info is the
    factor of the width.

    Xilinx's (Vitis-AI's caffe-xilinx), wherever the text has `anchor`: anchors are given, from pixel 1 on; of the best
    nms_input_num those leave that are not wider and higher than min_width and min_height; without any region there is
    one row [0, 0, 0, 1, 1].
    """

    chooses: ClassVar[bool] = True
    variable_rows: bool = True
    untraceable: str = "how many regions it proposes depends on the values"
    bottoms: ClassVar[tuple[int, int | None]] = (3, 3)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    mixes_items = "how many regions it proposes depends on values"
    anchors: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.proposal_param
        self.explicit = bool(p.anchor)
        self.anchor_shapes = None if self.explicit else (p.base_size, tuple(p.ratio), tuple(p.scale))
        anchors, self.rules = self._given(p) if self.explicit else self._made(p)
        if self.rules.before < 1 or self.rules.after < 1 or min(self.rules.stride) < 1:
            raise LayerError("the stride and the counts before and after suppression must be at least 1")
        if not 0 <= self.rules.overlap <= 1:
            raise LayerError(f"the overlap {self.rules.overlap:g} must lie between 0 and 1")
        self.register_buffer("anchors", anchors, persistent=False)
        _check_shapes(len(anchors), bottom_shapes)

    def _given(self, p: pb.ProposalParameter) -> tuple[Tensor, ProposalRules]:
        """Xilinx's."""
        if len(self.param.top) > 1:
            raise LayerError("with `anchor` (Xilinx's form) Proposal has one top")
        corners = [[box.left, box.top, box.right, box.bottom] for box in p.anchor]
        rules = ProposalRules(
            (p.stride_h, p.stride_w), p.nms_input_num, p.nms_output_num, p.nms_iou_th, (p.min_width, p.min_height),
            inclusive=False, small="late",
        )  # fmt: skip
        return torch.tensor(corners) - 1, rules

    def _made(self, p: pb.ProposalParameter) -> tuple[Tensor, ProposalRules]:
        """PVANet's."""
        if not p.ratio or not p.scale or min(p.ratio) <= 0 or min(p.scale) <= 0:
            raise LayerError(
                "proposal_param needs `ratio` and `scale`, positive and at least one of each, or Xilinx's `anchor`"
            )
        rules = ProposalRules(
            (p.feat_stride, p.feat_stride), p.pre_nms_topn, p.post_nms_topn, p.nms_thresh, (p.min_size, p.min_size),
            inclusive=True, small="last",
        )  # fmt: skip
        return make_anchors(p.base_size, p.ratio, p.scale), rules

    def fields(self, slot: int) -> list[tuple[Any, bool]]:
        """The batch item, and the corners of the box."""
        return [((..., 0), True), ((..., slice(1, 5)), False)] if slot == 0 else [(..., False)]

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """The size of the picture, which is not resized."""
        return picture_info(bottoms, self.rules.stride) if place == 2 else None

    def needs_gradient(self, bottom_index: int) -> bool:
        return False

    def forward(self, scores: Tensor, codes: Tensor, info: Tensor) -> Tensor | tuple[Tensor, ...]:
        if scores.is_meta:
            count = 1 if self.explicit else scores.shape[0] * self.rules.after
            regions, best = scores.new_empty((count, 5)), scores.new_empty(count)
        else:
            regions, best = propose_regions(scores, codes, info, self.anchors, self.rules)
        return regions if self.top_count == 1 else (regions, best)


class PythonProposal(nn.Module):
    """What the Python layer rpn.proposal_layer.ProposalLayer of rbgirshick/py-faster-rcnn computes.

    Bottoms and tops as those of Proposal, but for one image, and the second top is (R, 1). param_str is YAML with
    feat_stride; the rest is as published in fast_rcnn/config.py and rpn/generate_anchors.py: ratios 0.5, 1, 2, scales
    8, 16, 32; no box smaller than 16 pixels before resizing; an overlap of 0.7; in TRAIN the best 12000 boxes, of which
    2000 stay, in TEST 6000 and 300.
    """

    bottoms: ClassVar[tuple[int, int | None]] = (3, 3)
    tops: ClassVar[tuple[int, int | None]] = (1, 2)
    untraceable: ClassVar[str] = Proposal.untraceable
    variable_rows: ClassVar[bool] = True
    anchor_shapes: ClassVar = (16, (0.5, 1, 2), (8, 16, 32))
    origin: ClassVar[str] = ", with the settings of fast_rcnn/config.py as published"
    anchors: Tensor

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__()
        self.top_count = len(param.top)
        stride = _yaml_number(param.python_param.param_str, "feat_stride")
        before, after = (12000, 2000) if context.phase == TRAIN else (6000, 300)
        self.rules = ProposalRules((stride, stride), before, after, 0.7, (16, 16), inclusive=True, small="out")
        self.register_buffer("anchors", make_anchors(*self.anchor_shapes), persistent=False)
        _check_shapes(len(self.anchors), bottom_shapes)
        if bottom_shapes[0][0] != 1:
            raise LayerError(f"rpn.proposal_layer takes one image at a time, the batch has {bottom_shapes[0][0]}")

    def forward(self, scores: Tensor, codes: Tensor, info: Tensor) -> Tensor | tuple[Tensor, ...]:
        if scores.is_meta:
            regions, best = scores.new_empty((1, 5)), scores.new_empty((1, 1))
        else:
            regions, best = propose_regions(scores, codes, info, self.anchors, self.rules, keepdim=True)
        return regions if self.top_count == 1 else (regions, best)


def picture_info(bottoms: Sequence[Shape], stride: tuple[int, int]) -> np.ndarray:
    """A valid third bottom for scores of that shape: height and width of the picture, and resize factors of 1."""
    height, width = (side * step for side, step in zip(bottoms[0][2:], stride, strict=True))
    info = np.ones((bottoms[2][0], math.prod(bottoms[2][1:])))
    info[:, :2] = height, width
    return info.reshape(bottoms[2])


def _yaml_number(text: str, key: str) -> int:
    """The whole number of a key in a flat YAML mapping such as ``'feat_stride': 16``."""
    for entry in text.strip().strip("{}").replace("\n", ",").split(","):
        name, _, value = entry.partition(":")
        if name.strip().strip("'\"") == key and value.strip().isdecimal() and int(value) > 0:
            return int(value)
    raise LayerError(f"param_str {text!r} names no {key}, as in \"'{key}': 16\"")
