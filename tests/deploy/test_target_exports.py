"""Real nets exported for each target: no operator outside its list but those that the report names, as `check` said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from caffecompat.cli.commands.export.onnx import _target_lines
from caffecompat.deploy.onnx.export import Export, ExportOptions, export_net
from caffecompat.deploy.onnx.file import complete
from caffecompat.deploy.onnx.target import judge_export, net_for_target
from caffecompat.deploy.onnx.write import prepared_net
from caffecompat.deploy.targets.check import TargetReport, check_net
from caffecompat.deploy.targets.operators import judge_model
from caffecompat.deploy.targets.table import load_table
from caffecompat.schema import open_net
from tests.deploy.test_target_check import NETS as CHECKED

NETS = {
    **CHECKED,
    "vgg16-ssd": "real/vitis-tutorial-14-ssd/workspace/VGG16-SSD/deploy.prototxt",
    "googlenet": "real/bvlc/models/bvlc_googlenet/deploy.prototxt",
    "squeezenet": "real/squeezenet/SqueezeNet_v1.1/deploy.prototxt",
    "alexnet": "real/bvlc/models/bvlc_alexnet/deploy.prototxt",
    "slim-320": "real/ultraface/Slim-320/slim-320.prototxt",
    "sr": "real/wechat-sr/sr.prototxt",
    "timosaemann-enet": "real/timosaemann-enet/prototxts/enet_deploy.prototxt",
}
_PRELUS = 67  # of TimoSaemann's ENet
# Layers that fall to the CPU, or how many: read off the prototxts and the limits by hand.
OUTSIDE: dict[str, dict[str, set[str] | int]] = {
    "dpu": {
        "unet-lite": {"score"}, "jacintonet11": {"prob"}, "jsegnet21": {"argMaxOut"},
        "googlenet": {"pool1/norm1", "conv2/norm2", "prob"}, "squeezenet": {"prob"},
        "alexnet": {"norm1", "norm2", "prob"},
        "slim-320": 8 + 8 + 2 + 1,  # Permute, Reshape, Concat and Softmax of the head
        "sr": 10,  # nine LeakyReLUs by 0.05; Crop
        # Poolings with masks, Upsample; convolutions 5x1 and 1x5 with pad on both axes.
        "timosaemann-enet": _PRELUS + 2 + 2 + 8,
    },
    "tidl": {
        "enet": {"ConvNd_3", "ConvNd_19"}, "fpn": {"toplayer_p2"}, "googlenet": {"pool1/norm1", "conv2/norm2"},
        "alexnet": {"norm1", "norm2"}, "sr": {"upsample/deconv"},
        "timosaemann-enet": {"conv1_0_0", "pool1_0_4", "conv2_0_0", "pool2_0_4", "upsample4_0_4", "upsample5_0_4"},
    },
}  # fmt: skip


def exported(path: Path, target: str, cut: bool, **more: Any) -> tuple[Export, TargetReport]:
    torch.manual_seed(0)
    options = ExportOptions(target=target, **more)
    done = prepared_net(open_net(path), None, options, batch=1, cut=cut)
    net = net_for_target(done.net, target).net
    export = export_net(net, options)
    return export, judge_export(net, export, load_table(target))


@pytest.mark.parametrize("target", ["dpu", "tidl"])
@pytest.mark.parametrize("name", NETS)
def test_no_operator_that_the_report_does_not_name(
    name: str, target: str, shared: Path, record_property: Callable[[str, object], None]
) -> None:
    cut = target == "dpu" and name in ("jdetnet", "vgg16-ssd")
    export, report = exported(shared / NETS[name], target, cut)
    fallen = {layer.name for layer in (*report.of("cpu"), *report.of("refused"))}
    expected = OUTSIDE[target].get(name, set())
    assert fallen == expected or len(fallen) == expected
    # Node by node, by the table and by rules that are written down here once more.
    replaced = {layer.name for layer in report.layers if layer.judgment.replaced}
    shapes = shapes_of(export)
    judged = judge_model(export.model, load_table(target), export.layers, export.weights)
    for node, verdict in zip(export.model.graph.node, judged.nodes, strict=True):
        if verdict in judged.outside():
            assert verdict.layer in fallen | replaced, node.name
        elif verdict.layer not in fallen | replaced:
            assert allowed(target, node, shapes), f"{node.name}: {node.op_type}"
    text = "\n".join(_target_lines(report))
    for layer in report.of("cpu"):
        assert layer.judgment.reasons[0][0] in text
    # `check` said the same of every layer that has nodes in the file.
    checked = check_net(open_net(shared / NETS[name]), load_table(target))
    present = set(export.layers.values())
    assert {layer.name for layer in (*checked.of("cpu"), *checked.of("refused"))} & present == fallen
    holds_what_importers_want(export, has_head=bool(replaced))
    told = f"{name}, {target}: {len(export.model.graph.node)} nodes of {len(report.layers)} layers"
    told += f", {len(fallen)} on the CPU" if fallen else ""
    told += f", {len(replaced)} replaced by the target's tools" if replaced else ""
    record_property("line of", ("operators of target files against the target's list", told))


def shapes_of(export: Export) -> dict[str, tuple[int, ...]]:
    graph = export.model.graph
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
              for v in (*graph.input, *graph.value_info, *graph.output)}  # fmt: skip
    shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    return shapes | {name: values.shape for name, values in export.weights.items()}


_DPU = {"Conv", "ConvTranspose", "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Mul",
        "Concat", "Slice", "Gemm", "Flatten", "Resize", "Pad"}  # fmt: skip
_TIDL = _DPU | {"BatchNormalization", "PRelu", "Softmax", "Transpose", "Reshape", "ArgMax", "Cast", "Split", "MatMul"}


def allowed(target: str, node: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """The rules that matter most, from the vendors' pages."""
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    shape = shapes[node.input[0]]
    group, kernel, strides = given.get("group", 1), given.get("kernel_shape", []), given.get("strides", [1, 1])
    if node.op_type not in (_DPU if target == "dpu" else _TIDL):
        return False
    if target == "dpu":
        return {
            "Conv": lambda: group in (1, shape[1]) and (group > 1 or (max(kernel) <= 16 and max(strides) <= 8)),
            "ConvTranspose": lambda: group in (1, shape[1]) and not any(given.get("output_padding", [])),
            "LeakyRelu": lambda: given["alpha"] == 26 / 256,
            "Add": lambda: shape == shapes[node.input[1]],
            "Concat": lambda: given["axis"] == 1 and len(shape) == 4,
            "Resize": lambda: (
                given["coordinate_transformation_mode"] == b"half_pixel"
                and shapes[node.output[0]][2] in (2 * shape[2], 4 * shape[2])
            ),
        }.get(node.op_type, lambda: True)()
    depthwise = group > 1 and group == shape[1]
    return {
        "Conv": lambda: (
            len(set(strides)) == 1
            and (kernel in ([3, 3], [5, 5], [7, 7]) if depthwise else strides[0] == 1 or kernel[0] % 2 == 1)
        ),
        "ConvTranspose": lambda: group == 1 and kernel in ([2, 2], [4, 4]) and strides == [2, 2],
        "Softmax": lambda: given["axis"] % len(shape) == len(shape) - 1,
        "ArgMax": lambda: given["axis"] == 1 and given["keepdims"] == 1 and given.get("select_last_index", 0) == 0,
        "Concat": lambda: given["axis"] % len(shape) != 0,
        "GlobalAveragePool": lambda: shape[2] * shape[3] <= 1024,
        "MaxPool": lambda: max(kernel) <= 3 and max(strides) <= 2,
        "Add": lambda: len(node.input) == 2,
        "Mul": lambda: len(node.input) == 2,
    }.get(node.op_type, lambda: True)()


def holds_what_importers_want(export: Export, has_head: bool) -> None:
    """Opset 13, IR 8, batch 1, static shapes, weights that are no inputs nor shared, pads instead of ceil_mode."""
    model = complete(export.model, export.weights)
    graph = model.graph
    assert (model.ir_version, [entry.version for entry in model.opset_import]) == (8, [13])
    weights = {tensor.name for tensor in graph.initializer}
    assert not weights & {value.name for value in graph.input}
    assert all(value.type.tensor_type.shape.dim[0].dim_value == 1 for value in graph.input)
    if not has_head:
        assert all(dim.HasField("dim_value") for value in (*graph.input, *graph.value_info, *graph.output)
                   for dim in value.type.tensor_type.shape.dim)  # fmt: skip
        named = {value.name for value in (*graph.input, *graph.value_info, *graph.output)}
        assert all(output in named for node in graph.node for output in node.output)
        read = [name for node in graph.node for name in node.input if name in weights]
        assert len(read) == len(set(read))
    assert not any(attribute.name == "ceil_mode" for node in graph.node for attribute in node.attribute)


def test_a_newer_opset_and_a_batch_are_told(shared: Path) -> None:
    export, report = exported(shared / NETS["squeezenet"], "tidl", False, opset=20)
    assert export.model.opset_import[0].version == 20 and report.model is not None
    assert [text for text, _ in report.model.warned] == ["opset 20: validated up to 19", "IR 9: up to 8"]
    assert "  note: opset 20: validated up to 19 [T1]" in _target_lines(report)
