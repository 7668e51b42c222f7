"""Torch source of SSD's DetectionOutput."""

from __future__ import annotations

import math

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits


@emits("DetectionOutput")
def detection(c: LayerView) -> Emitted:
    m, p = c.module, c.param.detection_output_param
    call = calling(
        "detection_output", "{0}", "{1}", "{2}", str(m.classes), background=(p.background_label_id, 0),
        shared_locations=(p.share_location, True), code=(m.code, "CORNER"),
        variance_in_target=(p.variance_encoded_in_target, False), threshold=(float(m.threshold), -math.inf),
        top_k=(m.top_k, -1), keep_top_k=(p.keep_top_k, -1),
        nms_threshold=(p.nms_param.nms_threshold, 0.3), eta=(p.nms_param.eta, 1.0),
    )  # fmt: skip
    return Emitted(call=call + (", {3}" if m.passes_map else ""))
