"""Torch source of YOLO's boxes."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("YoloDetectionOutput")
def yolo(c: LayerView) -> Emitted:
    p = c.param.yolo_detection_output_param
    pairs = list(zip(p.biases[::2], p.biases[1::2], strict=True))[: p.num_box]
    text = make(
        "YoloBoxes", [pairs] * len(c.bottoms), [1] * len(c.bottoms), p.confidence_threshold, p.nms_threshold,
        one_class=(True, False),
    )  # fmt: skip
    return Emitted(text, helpers=("YoloBoxes",))


@emits("Yolov3DetectionOutput")
def yolo_v3(c: LayerView) -> Emitted:
    p = c.param.yolov3_detection_output_param
    pairs = list(zip(p.biases[::2], p.biases[1::2], strict=True))
    chosen = [pairs[index] for index in p.mask]
    shares = [chosen[start : start + p.num_box] for start in range(0, len(chosen), p.num_box)]
    text = make("YoloBoxes", shares, list(p.anchors_scale), p.confidence_threshold, p.nms_threshold)
    return Emitted(text, helpers=("YoloBoxes",))
