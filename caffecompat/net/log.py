"""The lines that Caffe logs while it sets a net up (BVLC ``net.cpp``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffecompat import glog
from caffecompat.net.graph import AUTOMATIC
from caffecompat.net.layer import NetLayer, Step
from caffecompat.net.params import LearnableParam

__all__ = ["log_steps"]


def log_steps(
    steps: Sequence[Step],
    shapes: Sequence[Sequence[tuple[int, ...]]],
    params: Sequence[LearnableParam],
    outputs: Sequence[str],
) -> None:
    """Log every layer with its blobs, shapes and memory, what needs backward, and the outputs.

    Args:
        shapes: of each step's tops.
    """
    owners = {id(param.blob): param for param in params}
    memory = 0
    for step, tops in zip(steps, shapes, strict=True):
        glog.info(f"Creating layer {step.name}", "layer_factory.hpp:77")
        glog.info(f"Creating Layer {step.name}", "net.cpp:86")
        for blob in step.split_bottoms:
            glog.info(f"{step.name} <- {blob}", "net.cpp:408")
        for slot, blob in enumerate(step.tops):
            if slot < len(step.split_bottoms) and step.split_bottoms[slot] == blob:
                glog.info(f"{step.name} -> {blob} (in-place)", "net.cpp:369")
            else:
                shown = AUTOMATIC if blob.startswith(AUTOMATIC) else blob
                glog.info(f"{step.name} -> {shown}", "net.cpp:382")
        glog.info(f"Setting up {step.name}", "net.cpp:124")
        for slot, shape in enumerate(tops):
            sizes = "".join(f"{size} " for size in shape)
            glog.info(f"Top shape: {sizes}({math.prod(shape)})", "net.cpp:131")
            weight = step.split_loss_weights[slot] if step.split_loss_weights else 0.0
            if weight:
                glog.info(f"    with loss weight {glog.number(weight)}", "net.cpp:134")
            memory += math.prod(shape)
        glog.info(f"Memory required for data: {memory * 4}", "net.cpp:139")
        if isinstance(step, NetLayer):
            _log_sharing(step, owners)
    for step in reversed(steps):
        if step.needs_backward:
            glog.info(f"{step.name} needs backward computation.", "net.cpp:200")
        else:
            glog.info(f"{step.name} does not need backward computation.", "net.cpp:202")
    for blob in outputs:
        glog.info(f"This network produces output {blob}", "net.cpp:244")
    glog.info("Network initialization done.", "net.cpp:257")


def _log_sharing(layer: NetLayer, owners: dict[int, LearnableParam]) -> None:
    for shared in layer.slots:
        if shared.owner is not None:
            owner = owners[id(shared.parameter)]
            name = layer.param.param[shared.index].name
            glog.info(
                f"Sharing parameters '{name}' owned by layer '{owner.layer}', param index {owner.index}", "net.cpp:504"
            )
