"""The ModelProto of a finished graph: assembled, checked, its shapes inferred; large initializers stay outside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from caffecompat.deploy.onnx.graph import IR_VERSION, GraphBuilder, OnnxError, need_onnx
from caffecompat.deploy.onnx.older import MODERN

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from onnx import ModelProto, ValueInfoProto

__all__ = ["add_metadata", "assemble_model", "infer_values", "large_initializers"]

_LARGE = 4096  # initializers above this many values stay out of the model until it is written


def large_initializers(builder: GraphBuilder) -> dict[str, np.ndarray]:
    """The large initializers, which would be copied again and again as parts of a message."""
    return {name: values for name, values in builder.constants.items() if values.size > _LARGE}


def assemble_model(
    builder: GraphBuilder,
    name: str,
    opset: int,
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    dtypes: Mapping[str, DTypeLike],
) -> ModelProto:
    """The ModelProto, with the shapes of all values in it and without `large_initializers`.

    Args:
        inputs: shapes by name, in order; `outputs` alike.
        dtypes: of those that are not float32.

    Raises:
        OnnxError: the checker refuses it.
    """
    onnx = builder.onnx

    def info(value: str, shape: Sequence[int | str]) -> ValueInfoProto:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtypes.get(value, np.float32)))
        made: ValueInfoProto = onnx.helper.make_tensor_value_info(value, kind, list(shape))
        return made

    graph = onnx.helper.make_graph(
        builder.nodes,
        name,
        [info(value, shape) for value, shape in inputs.items()],
        [info(value, shape) for value, shape in outputs.items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    oldest = onnx.helper.find_min_ir_version_for(opsets)
    ir_version = oldest if opset < MODERN else max(IR_VERSION, oldest)  # runtimes of older opsets know older ones only
    model: ModelProto = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, producer_name="caffecompat"
    )
    large = large_initializers(builder)
    for value, numbers in builder.constants.items():
        if value not in large:
            model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, value))
    model.graph.value_info.extend(infer_values(model, large))
    return model


def infer_values(model: ModelProto, large: Mapping[str, np.ndarray]) -> list[ValueInfoProto]:
    """Check a model and infer the shapes of its values, on a copy whose large weights are inputs.

    Raises:
        OnnxError: the checker refuses it.
    """
    onnx = need_onnx()
    slim = type(model)()
    slim.CopyFrom(model)
    for name, values in large.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        slim.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values.shape))
    try:
        onnx.checker.check_model(slim, full_check=True)
        return list(onnx.shape_inference.infer_shapes(slim, True, True, True).graph.value_info)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise OnnxError(
            f"the model does not pass onnx's checker, which is a bug in caffecompat: {problem}"
        ) from problem


def add_metadata(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Add what is not empty of `metadata` to the model's properties."""
    for key, value in metadata.items():
        if value:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
