"""An ONNX file from a model and weights that are not in it yet: they go from their own memory straight to the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from caffecompat.deploy.onnx.graph import need_onnx
from caffecompat.wire import bytes_header

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["LARGEST", "complete", "file_size", "write_external", "write_model"]

LARGEST = 2**31 - 2**20  # a protobuf message must stay below 2 GiB
_PAGE = 4096  # where a tensor must begin to be mapped into memory (external_data in onnx.proto)
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # fields of ModelProto, GraphProto and TensorProto in onnx.proto


def complete(model: ModelProto, weights: Mapping[str, np.ndarray]) -> ModelProto:
    """The ModelProto with the weights as initializers, in memory."""
    whole = type(model)()
    whole.CopyFrom(model)
    for name, values in weights.items():
        whole.graph.initializer.append(need_onnx().numpy_helper.from_array(values, name))
    return whole


def file_size(model: ModelProto, weights: Mapping[str, np.ndarray]) -> int:
    """How long `write_model`'s file gets, in bytes; a little less than that where the weights are large."""
    return int(model.ByteSize()) + sum(values.nbytes for values in weights.values())


def write_model(file: BinaryIO, model: ModelProto, weights: Mapping[str, np.ndarray]) -> None:
    """Write what ``complete(model, weights).SerializeToString()`` would be, but for the order of fields."""
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    graph = model.graph.SerializeToString()
    heads = [_head(name, values) for name, values in weights.items()]
    tensors = [len(head) + values.nbytes for head, values in zip(heads, weights.values(), strict=True)]
    size = len(graph) + sum(len(bytes_header(_INITIALIZER, tensor)) + tensor for tensor in tensors)
    file.write(rest.SerializeToString())
    file.write(bytes_header(_GRAPH, size))
    file.write(graph)
    for head, tensor, values in zip(heads, tensors, weights.values(), strict=True):
        file.write(bytes_header(_INITIALIZER, tensor))
        file.write(head)
        file.write(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)


def write_external(path: str, data: str, model: ModelProto, weights: Mapping[str, np.ndarray]) -> None:
    """Write the model, and its weights into a file of their own in the same folder.

    Args:
        data: the name of that file.
    """
    onnx = need_onnx()
    whole = type(model)()
    whole.CopyFrom(model)
    with open(os.path.join(os.path.dirname(path), data), "wb") as file:
        for name, values in weights.items():
            file.write(bytes(-file.tell() % _PAGE))
            kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = whole.graph.initializer.add(name=name, dims=values.shape, data_type=kind)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data), ("offset", file.tell()), ("length", values.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            file.write(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
        file.flush()
        os.fsync(file.fileno())
    with open(path, "wb") as file:
        file.write(whole.SerializeToString())
        file.flush()
        os.fsync(file.fileno())


def _head(name: str, values: np.ndarray) -> bytes:
    """A TensorProto up to the bytes of its values."""
    onnx = need_onnx()
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = onnx.TensorProto(dims=values.shape, data_type=kind, name=name)
    return bytes(tensor.SerializeToString()) + bytes_header(_RAW_DATA, values.nbytes)
