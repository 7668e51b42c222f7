"""Computing an ONNX model by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch

from caffecompat.deploy.onnx_graph import OnnxError, need_onnx

__all__ = ["run_model"]


def run_model(model: str | os.PathLike[str] | bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a model by name, computed by onnxruntime on the CPU.

    Raises:
        OnnxError: onnxruntime refuses the model, for example because it is older than the opset.
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
    return dict(zip(names, session.run(names, fed), strict=True))
