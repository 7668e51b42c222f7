"""TIDL's meta-architecture file of an SSD.

It is ``tidl_meta_arch.proto``'s message TidlMaCaffeSsd (edgeai-tidl-tools ``docs/tidl_fsg_od_meta_arch.md``), for the
compile option ``object_detection:meta_layers_names_list`` with ``meta_arch_type`` 3. Its prior_box_param and
detection_output_param are Caffe-SSD's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from caffecompat.deploy.targets.side_files import SideFiles, write_file
from caffecompat.schema import pb, write_text

if TYPE_CHECKING:
    from caffecompat.deploy.onnx.prepare import Head
    from caffecompat.deploy.onnx.write import Exported

__all__ = ["tidl_meta", "write_meta_architecture"]

_DETECTION_FIELDS = {
    "num_classes",
    "share_location",
    "background_label_id",
    "nms_param",
    "code_type",
    "keep_top_k",
    "confidence_threshold",
    "variance_encoded_in_target",
}


def write_meta_architecture(done: Exported, path: str, *, cut: bool, pictures: Sequence[str]) -> SideFiles:
    """Write the file of an SSD next to the model at `path`; of other nets nothing.

    Args:
        cut: the model stops before the boxes are made.

    Raises:
        WriteError: it cannot be written.
    """
    if done.heads is None:
        return SideFiles()
    shape = done.net.fed_shapes[next(iter(done.export.inputs))]
    top = done.heads.detection.top[0]
    outputs = [f"{top}_{part}" for part in ("boxes", "labels", "scores")]
    text = tidl_meta(done.net.name or "ssd", done.heads, outputs, (shape[2], shape[3]))
    note = (
        "TI documents its meta-architecture file for models with three outputs, as without --cut-detection; "
        "next to this model it describes the rest of the computation"
    )
    return SideFiles([write_file(f"{os.path.splitext(path)[0]}_metaarch.prototxt", text)], [note] if cut else [])


def tidl_meta(name: str, head: Head, outputs: Sequence[str], size: tuple[int, int]) -> str:
    """The meta-architecture file.

    Args:
        outputs: names of the model's boxes, labels and scores.
        size: (height, width) of the input.
    """
    # Channels of Caffe's heads go prior by prior; the other layout has all of a coordinate's together.
    lines = [f'name: "{name}"', "caffe_ssd {"]
    lines += [f'  box_input: "{blob}"' for blob in head.boxes]
    lines += [f'  class_input: "{blob}"' for blob in head.classes]
    lines += [f'  output: "{blob}"' for blob in outputs]
    lines += [f"  in_width: {size[1]}", f"  in_height: {size[0]}", f"  score_converter: {head.converter}"]
    for prior in head.priors:
        lines += _block("prior_box_param", prior.prior_box_param)
    kept = pb.DetectionOutputParameter()
    kept.CopyFrom(head.detection.detection_output_param)
    for field, _ in kept.ListFields():
        if field.name not in _DETECTION_FIELDS:
            kept.ClearField(field.name)
    lines += [*_block("detection_output_param", kept), "  data_layout: SEPARATED"]
    return "\n".join([*lines, "}", ""])


def _block(name: str, message: Message) -> list[str]:
    return [f"  {name} {{", *(f"    {line}" for line in write_text(message).splitlines()), "  }"]
