"""Emitters of two-stage detectors and of YOLO's boxes, and the reasons of layers that only train."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import CannotEmit, Case, Emitted, emits, make, number, text_of
from caffecompat.layers.proposal import Proposal, PythonProposal


def proposals(module: Proposal | PythonProposal, scores: int) -> Emitted:
    """RegionProposals; `scores` is the number of axes of its second top, 0 without one."""
    rules = module.rules
    anchors = ", ".join(f"({', '.join(number(value) for value in box)})" for box in module.anchors.tolist())
    words = make(
        "", rules.stride, rules.before, rules.after, rules.overlap, rules.least, small=(rules.small, "last"),
        scores=(scores, 0),
    )  # fmt: skip
    return Emitted(f"RegionProposals([{anchors}], {words[1:]}", helpers=("RegionProposals",))


@emits("Proposal")
def proposal(c: Case) -> Emitted:
    return proposals(c.module, 1 if len(c.tops) > 1 else 0)


@emits("ROIPooling")
def roi_pooling(c: Case) -> Emitted:
    words = f"{text_of(c.module.cells)}, {text_of(c.module.scale)}"
    return Emitted(call=f"roi_max_pool({{0}}, {_rows(c)}, {words})", helpers=("roi_max_pool",))


@emits("PSROIPooling")
def psroi_pooling(c: Case) -> Emitted:
    words = f"{c.module.channels}, {c.module.side}, {text_of(c.module.scale)}"
    name = "roi_position_sensitive_pool"
    return Emitted(call=f"{name}({{0}}, {_rows(c)}, {words})", helpers=(name,))


def _rows(c: Case) -> str:
    return "{1}" if len(c.bottoms[1]) == 2 else "{1}.reshape(-1, 5)"


@emits("YoloDetectionOutput")
def yolo(c: Case) -> Emitted:
    p = c.param.yolo_detection_output_param
    pairs = list(zip(p.biases[::2], p.biases[1::2], strict=True))[: p.num_box]
    text = make(
        "YoloBoxes", [pairs] * len(c.bottoms), [1] * len(c.bottoms), p.confidence_threshold, p.nms_threshold,
        one_class=(True, False),
    )  # fmt: skip
    return Emitted(text, helpers=("YoloBoxes",))


@emits("Yolov3DetectionOutput")
def yolo_v3(c: Case) -> Emitted:
    p = c.param.yolov3_detection_output_param
    pairs = list(zip(p.biases[::2], p.biases[1::2], strict=True))
    chosen = [pairs[index] for index in p.mask]
    shares = [chosen[start : start + p.num_box] for start in range(0, len(chosen), p.num_box)]
    text = make("YoloBoxes", shares, list(p.anchors_scale), p.confidence_threshold, p.nms_threshold)
    return Emitted(text, helpers=("YoloBoxes",))


@emits("BoxAnnotatorOHEM", "MarginInnerProduct")
def trains(c: Case) -> Emitted:
    raise CannotEmit("it reads labels, which there are in training alone; make a deploy prototxt first")
