"""Torch source of YOLO's boxes."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, number, text_of


@emits("YoloDetectionOutput")
def yolo(c: LayerView) -> Emitted:
    p = c.param.yolo_detection_output_param
    limits = number(p.confidence_threshold), number(p.nms_threshold)
    return Emitted(call=calling("yolo_v2_detections", _maps(c), text_of(c.module.sizes), *limits))


@emits("Yolov3DetectionOutput")
def yolo_v3(c: LayerView) -> Emitted:
    p = c.param.yolov3_detection_output_param
    scales = text_of(list(p.anchors_scale))
    limits = number(p.confidence_threshold), number(p.nms_threshold)
    return Emitted(call=calling("yolo_v3_detections", _maps(c), text_of(c.module.sizes), scales, *limits))


def _maps(c: LayerView) -> str:
    return f"[{', '.join(f'{{{i}}}' for i in range(len(c.bottoms)))}]"
