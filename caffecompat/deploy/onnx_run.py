"""Computing an ONNX model by onnxruntime, and a net by torch as the model does."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch

from caffecompat.deploy.onnx_graph import OnnxError, need_onnx
from caffecompat.layers.recurrent import Recurrent
from caffecompat.net import Net

__all__ = ["forget_states", "run_model", "run_net"]


def run_net(net: Net, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The net's outputs, from the fresh state of recurrent layers that each run of a model has."""
    forget_states(net)
    with torch.no_grad():
        return {blob: top.numpy() for blob, top in net.forward(inputs).items()}


def forget_states(net: Net) -> None:
    """Let recurrent layers begin from zeros."""
    for layer in net.layers:
        if isinstance(layer.module, Recurrent):
            layer.module.forget()


def run_model(model: str | os.PathLike[str] | bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a model by name, computed by onnxruntime on the CPU.

    Raises:
        OnnxError: onnxruntime refuses the model, for example because it is older than the opset, or cannot run it.
    """
    need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # pays off after several runs only
    given = model if isinstance(model, bytes) else os.fspath(model)
    try:
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # its exceptions have no common base but this
        raise OnnxError(f"onnxruntime {onnxruntime.__version__} does not take the model: {problem}") from problem
    names = [output.name for output in session.get_outputs()]
    fed = {name: np.ascontiguousarray(values, np.float32) for name, values in inputs.items()}
    try:
        return dict(zip(names, session.run(names, fed), strict=True))
    except Exception as problem:
        raise OnnxError(f"onnxruntime {onnxruntime.__version__} does not run the model: {problem}") from problem
