"""Detectors for targets: whole, cut, and described in TIDL's meta-architecture file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from caffecompat.cli.main import main
from caffecompat.deploy.onnx.prepare import find_heads
from caffecompat.deploy.onnx.run import run_model
from caffecompat.deploy.targets.tidl.meta_architecture import tidl_meta
from tests.deploy.exporting import export, input_of, operators
from tests.net.nets import conv, layer, message


def ssd() -> str:
    """A small SSD with two feature maps."""
    text = input_of(1, 3, 32, 48)
    heads: dict[str, list[str]] = {"loc": [], "conf": [], "priorbox": []}
    below = "data"
    for index, (small, large) in enumerate(((6, 12), (12, 20))):
        name = f"f{index}"
        text += (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{below}" top: "{name}" convolution_param '
            f'{{ num_output: 8 kernel_size: 3 pad: 1 stride: 4 weight_filler {{ type: "xavier" }} }} }}\n'
        )
        below = name
        for head, outputs in (("loc", 16), ("conf", 12)):
            base = f"{name}_{head}"
            text += conv(base, name, outputs=outputs)
            text += layer("Permute", base, f"{base}_perm", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
            text += layer("Flatten", f"{base}_perm", f"{base}_flat")
            heads[head].append(f"{base}_flat")
        text += (
            f'layer {{ name: "{name}_prior" type: "PriorBox" bottom: "{name}" bottom: "data" top: "{name}_prior" '
            f"prior_box_param {{ min_size: {small} max_size: {large} aspect_ratio: 2 variance: 0.1 variance: 0.1 "
            "variance: 0.2 variance: 0.2 } }\n"
        )
        heads["priorbox"].append(f"{name}_prior")
    for head, blobs in heads.items():
        bottoms = " ".join(f'bottom: "{blob}"' for blob in blobs)
        axis = 2 if head == "priorbox" else 1
        text += f'layer {{ name: "{head}" type: "Concat" {bottoms} top: "{head}" concat_param {{ axis: {axis} }} }}\n'
    text += layer("Reshape", "conf", "scores", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }")
    text += layer("Softmax", "scores", "prob", "softmax_param { axis: 2 }") + layer("Flatten", "prob", "flat")
    text += (
        'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "flat" bottom: "priorbox" top: "out" '
        "detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 20 confidence_threshold: 0.2 "
        "nms_param { nms_threshold: 0.45 top_k: 50 } } }\n"
    )
    return text


def test_a_whole_detector(tmp_path: Path) -> None:
    done = export(ssd(), tmp_path / "net.onnx")
    assert "NonMaxSuppression" in operators(done)
    assert not any(node.op_type == "PriorBox" for node in done.export.model.graph.node)
    assert done.differences[0].size > 7  # rows were found, not the empty one


def test_nothing_found(tmp_path: Path) -> None:
    text = (
        ssd()
        .replace("confidence_threshold: 0.2", "confidence_threshold: 1.5")
        .replace("dim: 1 dim: 3", "dim: 2 dim: 3", 1)
    )
    export(text, tmp_path / "net.onnx")
    rows = run_model(tmp_path / "net.onnx", {"data": np.zeros((2, 3, 32, 48), np.float32)})["out"]
    assert rows.reshape(-1, 7).tolist() == [[0, *[-1] * 6], [1, *[-1] * 6]]


def test_cuts(tmp_path: Path) -> None:
    plain = export(ssd(), tmp_path / "net.onnx", cut=True)
    assert [output.name for output in plain.export.outputs] == ["flat", "loc", "priorbox"]
    cut = export(ssd(), tmp_path / "net.onnx", cut=True, target="tidl")
    assert [output.name for output in cut.export.outputs] == ["f0_conf", "f0_loc", "f1_conf", "f1_loc"]
    assert set(operators(cut)) == {"Conv"}
    in_place = ssd().replace('top: "prob" softmax_param', 'top: "scores" softmax_param').replace('"prob"', '"scores"')
    assert operators(export(in_place, tmp_path / "net.onnx", cut=True, target="tidl")) == operators(cut)


def test_tidl_gets_three_outputs(tmp_path: Path) -> None:
    done = export(ssd(), tmp_path / "net.onnx", target="tidl")
    outputs = {value.name: value.type.tensor_type.elem_type for value in done.export.model.graph.output}
    assert outputs == {"out_boxes": 1, "out_labels": 7, "out_scores": 1}
    assert all(difference.allowed for difference in done.differences)


# Names, numbers and kinds of fields in TI's tidl_meta_arch.proto, as far as an SSD uses them.
_TI = {
    "TIDLNmsParam": {"nms_threshold": (1, "float"), "top_k": (2, "int32"), "eta": (3, "float")},
    "PriorBoxParameter": {
        "min_size": (1, "float*"), "max_size": (2, "float*"), "aspect_ratio": (3, "float*"), "flip": (4, "bool"),
        "clip": (5, "bool"), "variance": (6, "float*"), "img_size": (7, "uint32"), "img_h": (8, "uint32"),
        "img_w": (9, "uint32"), "step": (10, "float"), "step_h": (11, "float"), "step_w": (12, "float"),
        "offset": (13, "float"),
    },
    "TIDLOdPostProc": {
        "num_classes": (1, "uint32"), "share_location": (2, "bool"), "background_label_id": (3, "int32"),
        "nms_param": (4, "TIDLNmsParam"), "code_type": (6, "TIDLBoxCodeType"), "keep_top_k": (7, "int32"),
        "variance_encoded_in_target": (8, "bool"), "confidence_threshold": (9, "float"),
    },
    "TidlMaCaffeSsd": {
        "box_input": (1, "string*"), "class_input": (2, "string*"), "output": (3, "string*"), "name": (4, "string"),
        "in_width": (5, "uint32"), "in_height": (6, "uint32"), "score_converter": (7, "TIDLScoreConverter"),
        "prior_box_param": (8, "PriorBoxParameter*"), "detection_output_param": (9, "TIDLOdPostProc"),
        "data_layout": (10, "TIDLAnchorDataLayout"), "framework": (11, "string"),
    },
    "TIDLMetaArch": {"name": (1, "string"), "caffe_ssd": (2, "TidlMaCaffeSsd*")},
}  # fmt: skip
_TI_ENUMS = {
    "TIDLBoxCodeType": {"CORNER": 1, "CENTER_SIZE": 2, "CORNER_SIZE": 3},
    "TIDLScoreConverter": {"IDENTITY": 0, "SIGMOID": 1, "SOFTMAX": 2},
    "TIDLAnchorDataLayout": {"SEPARATED": 0, "INTERLEAVED": 1},
}


def _ti_message() -> object:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ti.proto", package="ti", syntax="proto2")
    for name, values in _TI_ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in _TI.items():
        made = file.message_type.add(name=name)
        for own, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            one = made.field.add(name=own, number=number, label=label)
            if kind in _TI or kind in _TI_ENUMS:
                one.type = field.TYPE_MESSAGE if kind in _TI else field.TYPE_ENUM
                one.type_name = f".ti.{kind}"
            else:
                one.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ti.TIDLMetaArch"))()


def test_the_meta_architecture_file_is_what_ti_documents() -> None:
    heads = find_heads(message(ssd()))
    assert heads is not None
    text = tidl_meta("small", heads, ["boxes", "labels", "scores"], (32, 48))
    arch = text_format.Parse(text, _ti_message())
    (head,) = arch.caffe_ssd
    assert list(head.box_input) == ["f0_loc", "f1_loc"]
    assert list(head.class_input) == ["f0_conf", "f1_conf"]
    assert list(head.output) == ["boxes", "labels", "scores"]
    assert (head.in_width, head.in_height, head.score_converter) == (48, 32, _TI_ENUMS["TIDLScoreConverter"]["SOFTMAX"])
    assert [prior.min_size[0] for prior in head.prior_box_param] == [6, 12]
    assert head.detection_output_param.nms_param.top_k == 50
    assert head.detection_output_param.code_type == 2
    assert head.data_layout == _TI_ENUMS["TIDLAnchorDataLayout"]["SEPARATED"]


@pytest.mark.parametrize("cut", [False, True])
def test_the_meta_architecture_file_names_values_of_the_model(
    cut: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.prototxt").write_text(ssd())
    flags = ["--cut-detection"] if cut else []
    paths = [str(tmp_path / name) for name in ("net.prototxt", "net.onnx")]
    assert main(["export", "onnx", "--model", paths[0], "--target", "tidl", *flags, paths[1]]) == 0
    told = capsys.readouterr().out
    assert ("models with three outputs" in told) == cut
    (head,) = text_format.Parse((tmp_path / "net_metaarch.prototxt").read_text(), _ti_message()).caffe_ssd
    model = onnx.load(paths[1])
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    assert {makers[name] for name in (*head.box_input, *head.class_input)} == {"Conv"}
    assert list(head.output) == ["out_boxes", "out_labels", "out_scores"]
    outputs = [value.name for value in model.graph.output]
    assert set(outputs) == ({*head.box_input, *head.class_input} if cut else set(head.output))
    assert ("replaced by the target's tools: " in told) == (not cut)
