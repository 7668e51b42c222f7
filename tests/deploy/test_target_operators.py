"""Nodes of ONNX graphs against each target's list: every limit of it by a small node, and models as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from caffecompat.deploy.targets.operators import JudgedModel, judge_model
from caffecompat.deploy.targets.table import load_table

PLANE = (1, 16, 32, 32)


def model_of(
    nodes: list[Any], inputs: dict[str, tuple], constants: dict[str, Any], opset: int = 13, **more: Any
) -> Any:
    """A model with shapes; the output is "y"."""
    made = {node.output[0] for node in nodes}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    assert "y" in made
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **({"ir_version": 8} | more))
    return onnx.shape_inference.infer_shapes(model)


def judged(*names: str, nodes: list[Any], constants: dict[str, Any] | None = None, **inputs: tuple) -> list[list[str]]:
    """The verdicts on each node by each of the named targets."""
    model = model_of(nodes, inputs or {"x": PLANE}, constants or {})
    return [[node.judgment.verdict for node in judge_model(model, load_table(*name.split("/")), {}).nodes]
            for name in names]  # fmt: skip


def verdicts(op: str, constants: dict[str, Any] | None = None, *, shape: tuple = PLANE, **attributes: Any) -> list[str]:
    """What the DPU and TIDL say of one node that reads x and the constants."""
    node = helper.make_node(op, ["x", *(constants or {})], ["y"], "n", **attributes)
    return [found[0] for found in judged("dpu", "tidl", nodes=[node], constants=constants, x=shape)]


def weights(outputs: int, inputs: int, *kernel: int) -> dict[str, Any]:
    return {"w": np.zeros((outputs, inputs, *kernel), np.float32)}


@pytest.mark.parametrize(
    ("weight", "attributes", "found"),
    [
        ((8, 16, 3, 3), {}, ["runs", "runs"]),
        ((8, 16, 17, 17), {}, ["cpu", "runs"]),  # DPU: sides of 1 to 16
        ((8, 16, 9, 9), {"strides": [9, 9]}, ["cpu", "runs"]),  # DPU: strides up to 8
        ((8, 16, 1, 1), {"pads": [1, 1, 1, 1]}, ["cpu", "runs"]),  # DPU: pad up to (k - 1) x dilation
        ((8, 4, 3, 3), {"group": 4}, ["cpu", "runs"]),  # DPU: no groups between 1 and the channels
        ((16, 1, 3, 3), {"group": 16}, ["runs", "runs"]),
        ((16, 1, 3, 3), {"group": 16, "strides": [3, 3]}, ["runs", "cpu"]),  # TIDL: depthwise by 1 or 2
        ((16, 1, 2, 2), {"group": 16}, ["runs", "cpu"]),  # TIDL: depthwise 3, 5, 7
        ((8, 16, 3, 3), {"strides": [1, 2]}, ["runs", "cpu"]),
        ((8, 16, 2, 2), {"strides": [2, 2]}, ["runs", "cpu"]),  # TIDL: no even kernel with stride 2
        ((8, 16, 3, 3), {"strides": [2, 2], "dilations": [2, 2]}, ["runs", "cpu"]),
        ((8, 16, 7, 7), {"strides": [4, 4]}, ["runs", "cpu"]),  # TIDL: stride 4 with 11x11 alone
    ],
)
def test_convolutions(weight: tuple, attributes: dict[str, Any], found: list[str]) -> None:
    assert verdicts("Conv", weights(*weight), **attributes) == found


@pytest.mark.parametrize(
    ("weight", "attributes", "found"),
    [
        ((16, 8, 2, 2), {"strides": [2, 2]}, ["runs", "runs"]),
        ((16, 8, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, ["runs", "runs"]),
        ((16, 8, 3, 3), {"strides": [2, 2]}, ["runs", "cpu"]),  # TIDL: 2x2 and 4x4
        ((16, 8, 4, 4), {"strides": [4, 4]}, ["runs", "cpu"]),  # TIDL: stride 2
        ((16, 1, 4, 4), {"strides": [2, 2], "group": 16}, ["runs", "cpu"]),  # TIDL: 1 group
        ((16, 2, 4, 4), {"strides": [2, 2], "group": 4}, ["cpu", "cpu"]),
        ((16, 8, 4, 4), {"strides": [2, 2], "dilations": [2, 2]}, ["cpu", "cpu"]),
        ((16, 8, 2, 2), {"strides": [2, 2], "output_padding": [1, 1]}, ["cpu", "runs"]),
        ((16, 8, 2, 2), {"strides": [3, 3]}, ["cpu", "cpu"]),  # floor(2 / 3) is 0
    ],
)
def test_transposed_convolutions(weight: tuple, attributes: dict[str, Any], found: list[str]) -> None:
    assert verdicts("ConvTranspose", weights(*weight), **attributes) == found


@pytest.mark.parametrize(
    ("sizes", "mode", "coordinates", "nearest", "found"),
    [
        ((64, 64), "linear", "half_pixel", None, ["runs", "runs"]),
        ((128, 128), "linear", "half_pixel", None, ["runs", "runs"]),
        ((256, 256), "linear", "half_pixel", None, ["cpu", "runs"]),  # DPU: half_pixel by 2 and 4
        ((256, 256), "linear", "asymmetric", None, ["runs", "cpu"]),  # DPU: asymmetric by 2, 4, 8; TIDL: never
        ((64, 64), "linear", "align_corners", None, ["cpu", "cpu"]),
        ((96, 96), "linear", "half_pixel", None, ["cpu", "cpu"]),
        ((64, 128), "linear", "half_pixel", None, ["cpu", "cpu"]),
        ((64, 64), "nearest", "asymmetric", "floor", ["runs", "runs"]),
        ((96, 96), "nearest", "asymmetric", "floor", ["runs", "cpu"]),  # TIDL: powers of 2
        ((48, 48), "nearest", "asymmetric", "floor", ["cpu", "cpu"]),
        ((64, 64), "nearest", "asymmetric", "round_prefer_floor", ["runs", "cpu"]),
        ((64, 64), "nearest", "half_pixel", "round_prefer_ceil", ["runs", "runs"]),
        ((64, 64), "cubic", "half_pixel", None, ["cpu", "cpu"]),
    ],
)
def test_resizes(sizes: tuple, mode: str, coordinates: str, nearest: str | None, found: list[str]) -> None:
    more = {"nearest_mode": nearest} if nearest else {}
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], "n", mode=mode, coordinate_transformation_mode=coordinates, **more
    )
    constants = {"sizes": np.array([1, 16, *sizes], np.int64)}
    assert [one[0] for one in judged("dpu", "tidl", nodes=[node], constants=constants)] == found


FLOAT = np.float32


@pytest.mark.parametrize(
    ("op", "weight", "attributes", "found"),
    [
        ("Conv", (8, 16, 3, 3), {}, ["runs", "runs"]),
        ("Conv", (16, 1, 3, 3), {"group": 16}, ["cpu", "cpu"]),
        ("ConvTranspose", (16, 8, 2, 2), {"strides": [2, 2]}, ["runs", "runs"]),
        ("ConvTranspose", (16, 1, 4, 4), {"strides": [2, 2], "group": 16}, ["cpu", "cpu"]),
        ("MaxPool", None, {"kernel_shape": [2, 2]}, ["cpu", "cpu"]),
        ("Add", None, {}, ["cpu", "cpu"]),
        ("Mul", (1, 16, 1, 1), {}, ["cpu", "cpu"]),
        ("Concat", None, {"axis": 1}, ["cpu", "cpu"]),
    ],
)
def test_leaky_relus_of_the_dpu_by_what_is_before_them(op: str, weight: tuple, attributes: dict, found: list) -> None:
    inputs = ["x", "x"] if op in ("Add", "Concat") else ["x"] if weight is None else ["x", "w"]
    nodes = [
        helper.make_node(op, inputs, ["b"], "b", **attributes),
        helper.make_node("Identity", ["b"], ["i"], "i"),
        helper.make_node("LeakyRelu", ["i"], ["y"], "n", alpha=26 / 256),
    ]
    constants = {} if weight is None else {"w": np.zeros(weight, np.float32)}
    assert [one[2] for one in judged("dpu", "dpu/1.4", nodes=nodes, constants=constants)] == found


@pytest.mark.parametrize(("op", "found"), [("MaxPool", ["runs", "cpu"]), ("Conv", ["runs", "runs"])])
def test_relu6_by_what_is_before_it(op: str, found: list[str]) -> None:
    more = {"kernel_shape": [2, 2]} if op == "MaxPool" else {}
    inputs = ["x"] if op == "MaxPool" else ["x", "w"]
    nodes = [
        helper.make_node(op, inputs, ["b"], "b", **more),
        helper.make_node("Clip", ["b", "low", "high"], ["y"], "n"),
    ]
    constants = {"w": np.zeros((8, 16, 1, 1), np.float32), "low": np.float32(0), "high": np.float32(6)}
    assert [one[1] for one in judged("dpu", "dpu/1.4", nodes=nodes, constants=constants)] == found


@pytest.mark.parametrize(
    ("op", "attributes", "found"),
    [
        ("LeakyRelu", {"alpha": 26 / 256}, ["cpu", "runs"]),  # DPU: after convolutions, see below
        ("LeakyRelu", {"alpha": 0.1}, ["cpu", "runs"]),
        ("Softmax", {"axis": 1}, ["cpu", "cpu"]),
        ("Softmax", {"axis": -1}, ["cpu", "runs"]),
        ("Softmax", {"axis": 2}, ["cpu", "runs"]),
        ("ArgMax", {"axis": 1}, ["cpu", "runs"]),
        ("ArgMax", {"axis": 2}, ["cpu", "cpu"]),
        ("ArgMax", {"axis": 1, "keepdims": 0}, ["cpu", "cpu"]),
        ("ArgMax", {"axis": 1, "select_last_index": 1}, ["cpu", "cpu"]),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, ["runs", "runs"]),
        ("MaxPool", {"kernel_shape": [5, 5]}, ["runs", "cpu"]),
        ("MaxPool", {"kernel_shape": [3, 3], "dilations": [2, 2]}, ["runs", "cpu"]),
        ("MaxPool", {"kernel_shape": [3, 2]}, ["runs", "cpu"]),
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [3, 3]}, ["runs", "cpu"]),
        ("GlobalAveragePool", {}, ["runs", "runs"]),
        ("Sigmoid", {}, ["cpu", "runs"]),
        ("Tanh", {}, ["cpu", "runs"]),
        ("Transpose", {"perm": [0, 2, 3, 1]}, ["cpu", "runs"]),
        ("Flatten", {}, ["cpu", "runs"]),
        ("LRN", {"size": 5}, ["cpu", "cpu"]),
        ("ReduceMean", {"axes": [1]}, ["cpu", "runs"]),
        ("ReduceL1", {"axes": [1]}, ["cpu", "cpu"]),
        ("ReduceMax", {"axes": [2]}, ["cpu", "runs"]),
        ("ReduceMax", {"axes": [1]}, ["cpu", "cpu"]),
        ("DepthToSpace", {"blocksize": 2}, ["cpu", "runs"]),
        ("Identity", {}, ["left out", "left out"]),
        ("Softplus", {}, ["cpu", "cpu"]),
    ],
)
def test_operators_with_attributes(op: str, attributes: dict[str, Any], found: list[str]) -> None:
    assert verdicts(op, **attributes) == found


def test_planes_that_are_too_large_for_a_mean() -> None:
    assert verdicts("GlobalAveragePool", shape=(1, 8, 33, 32)) == ["runs", "cpu"]  # TIDL: 1024 values


def test_the_older_dpu() -> None:
    def old(op: str, **attributes: Any) -> str:
        node = helper.make_node(op, ["x"], ["y"], "n", **attributes)
        return judged("dpu/1.4", nodes=[node])[0][0]

    assert [old("MaxPool", kernel_shape=[side, side]) for side in (8, 9)] == ["runs", "cpu"]
    assert [old("AveragePool", kernel_shape=[3, width]) for width in (3, 2)] == ["runs", "cpu"]
    nodes = [helper.make_node("Mul", ["x", "z"], ["y"], "n")]
    assert judged("dpu", "dpu/1.4", nodes=nodes, x=PLANE, z=PLANE) == [["runs"], ["cpu"]]


@pytest.mark.parametrize(
    ("op", "constants", "found"),
    [
        ("Mul", {"c": np.ones((16, 1, 1), FLOAT)}, ["runs", "runs"]),  # one value a channel
        ("Mul", {"c": np.ones((), FLOAT)}, ["runs", "runs"]),
        ("Mul", {"c": np.ones((1, 1, 32, 32), FLOAT)}, ["cpu", "runs"]),
        ("Add", {"c": np.ones((16, 1, 1), FLOAT)}, ["cpu", "runs"]),
        ("Sub", {"c": np.ones((16, 1, 1), FLOAT)}, ["cpu", "runs"]),
        ("PRelu", {"c": np.ones((16, 1, 1), FLOAT)}, ["cpu", "runs"]),
        ("Clip", {"a": FLOAT(0), "b": FLOAT(6)}, ["cpu", "runs"]),  # DPU: after nothing
        ("Clip", {"a": FLOAT(1), "b": FLOAT(6)}, ["cpu", "cpu"]),
        ("Pow", {"c": FLOAT(3)}, ["cpu", "runs"]),
        ("Reshape", {"c": np.array([1, -1], np.int64)}, ["cpu", "runs"]),
        ("Pad", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": FLOAT(0)}, ["runs", "runs"]),
        ("Pad", {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": FLOAT(-1)}, ["cpu", "cpu"]),
        ("Pad", {"p": np.array([0, 1, 0, 0, 0, 0, 0, 0]), "v": FLOAT(0)}, ["runs", "cpu"]),
        ("Slice", {"s": np.array([4]), "e": np.array([8]), "a": np.array([1])}, ["runs", "runs"]),
        ("Slice", {"s": np.array([4]), "e": np.array([8]), "a": np.array([2])}, ["cpu", "runs"]),
        ("Slice", {"s": np.array([0]), "e": np.array([8]), "a": np.array([1]), "t": np.array([2])}, ["cpu", "cpu"]),
        (
            "BatchNormalization",
            {name: np.ones(16, FLOAT) for name in ("scale", "bias", "mean", "variance")},
            ["cpu", "runs"],
        ),
    ],
)
def test_operators_with_constants(op: str, constants: dict[str, Any], found: list[str]) -> None:
    assert verdicts(op, constants) == found


def test_slices_of_batches_are_not_tidls() -> None:
    constants = {"s": np.array([4]), "e": np.array([8]), "a": np.array([1])}
    assert verdicts("Slice", constants, shape=(2, 16, 8, 8)) == ["runs", "cpu"]


def test_what_joins_blobs() -> None:
    def both(op: str, other: tuple = PLANE, **attributes: Any) -> list[str]:
        node = helper.make_node(op, ["x", "z"], ["y"], "n", **attributes)
        return [one[0] for one in judged("dpu", "tidl", nodes=[node], x=PLANE, z=other)]

    assert both("Add") == both("Mul") == both("Concat", axis=1) == ["runs", "runs"]
    assert both("Add", (1, 16, 1, 1)) == ["cpu", "runs"]
    assert both("Sub") == both("Div") == both("Max") == ["cpu", "runs"]
    assert [both("Concat", axis=axis) for axis in (0, 3)] == [["cpu", "cpu"], ["cpu", "runs"]]
    node = helper.make_node("Max", ["x", "z", "x"], ["y"], "n")
    assert judged("tidl", nodes=[node], x=PLANE, z=PLANE) == [["cpu"]]  # two inputs


def test_inner_products() -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["f"], "f"), helper.make_node("Gemm", ["f", "w"], ["y"], "g", transB=1)]
    for shape, found in (((1, 16, 4, 4), "runs"), ((1, 4, 32, 32), "cpu"), ((1, 4096, 8, 4), "cpu")):
        constants = {"w": np.zeros((5, int(np.prod(shape))), FLOAT)}
        dpu, tidl = judged("dpu", "tidl", nodes=nodes, constants=constants, x=shape)
        assert (dpu, tidl) == (["runs", found], ["runs", "runs"])  # the DPU's is a convolution: side, bank, channels


def test_activations_are_fused_on_the_dpu() -> None:
    def behind(op: str, **attributes: Any) -> str:
        nodes = [helper.make_node(op, ["x"], ["m"], "m", **attributes), helper.make_node("Relu", ["m"], ["y"], "r")]
        return judged("dpu", nodes=nodes)[0][1]

    assert behind("MaxPool", kernel_shape=[2, 2]) == "runs"
    assert behind("Transpose", perm=[0, 2, 3, 1]) == "cpu"
    first = helper.make_node("Conv", ["x", "w"], ["m"], "m")
    clip = helper.make_node("Clip", ["m", "low", "high"], ["y"], "c")
    constants = weights(8, 16, 1, 1) | {"low": FLOAT(0), "high": FLOAT(6)}
    assert judged("dpu", nodes=[first, clip], constants=constants) == [["runs", "runs"]]
    constants["high"] = FLOAT(8)
    assert judged("dpu", nodes=[first, clip], constants=constants) == [["runs", "cpu"]]


def test_cast_stands_at_the_end_alone() -> None:
    nodes = [helper.make_node("ArgMax", ["x"], ["m"], "m", axis=1), helper.make_node("Cast", ["m"], ["y"], "c", to=1)]
    assert judged("tidl", nodes=nodes) == [["runs", "runs"]]
    nodes[1].output[0] = "z"
    assert judged("tidl", nodes=[*nodes, helper.make_node("Relu", ["z"], ["y"], "r")]) == [["runs", "cpu", "runs"]]


def test_axes_that_are_too_many() -> None:
    assert verdicts("Relu", shape=(2,) * 6)[1] == "runs"
    assert verdicts("Relu", shape=(2,) * 7)[1] == "cpu"
    assert verdicts("Relu", shape=(2,) * 6 + (1,))[1] == "runs"  # those of size 1 do not count


def whole(model: Any, target: str) -> JudgedModel:
    return judge_model(model, load_table(target), {})


@pytest.mark.parametrize("target", ["dpu", "tidl"])
def test_models_as_a_whole(target: str) -> None:
    relu = [helper.make_node("Relu", ["x"], ["y"], "r")]

    def told(model: Any) -> list[str]:
        return [text for text, _ in whole(model, target).whole.warned]

    assert told(model_of(relu, {"x": PLANE}, {})) == []
    assert "batch 4" in told(model_of(relu, {"x": (4, 3, 8, 8)}, {}))[0]
    assert "opset 20" in told(model_of(relu, {"x": PLANE}, {}, opset=20, ir_version=8))[0]
    assert "IR 9" in told(model_of(relu, {"x": PLANE}, {}, ir_version=9))[0]
    assert "depend on values (x, y)" in told(model_of(relu, {"x": (1, 3, "h", 8)}, {}))[0]
    fed = model_of([helper.make_node("Mul", ["x", "w"], ["y"], "m")], {"x": PLANE, "w": (1,)}, {"w": np.ones(1, FLOAT)})
    assert whole(fed, target).whole.verdict == "refused"
    assert whole(fed, target).whole.reasons[0][0] == "1 weights are inputs of the graph"


def test_nodes_know_their_layers() -> None:
    model = model_of([helper.make_node("LRN", ["x"], ["y"], "norm/LRN", size=5)], {"x": PLANE}, {})
    (node,) = judge_model(model, load_table("dpu"), {"norm/LRN": "norm"}).outside()
    assert (node.name, node.operator, node.layer) == ("norm/LRN", "LRN", "norm")
    assert node.judgment.reasons == [("LRN is not among the DPU's operators", "A7")]
