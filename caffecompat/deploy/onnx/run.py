"""Computing an ONNX model by onnxruntime, and a net by torch as the model does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from caffecompat.deploy.onnx.graph import OnnxError, need_onnx
from caffecompat.layers.recurrent import Recurrent
from caffecompat.net import Net

__all__ = ["LAST_CHANGE", "forget_states", "open_session", "run_model", "run_net", "run_session", "runs_opset"]

LAST_CHANGE = 26  # of what our nodes mean; newer opsets, which onnxruntime is slow to take, add types and attributes


def run_net(net: Net, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The net's outputs, from the fresh state of recurrent layers that each run of a model has."""
    forget_states(net)
    with torch.no_grad():
        return {blob: top.numpy() for blob, top in net(inputs).items()}


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
    return run_session(open_session(model, once=True), inputs)


def open_session(model: str | os.PathLike[str] | bytes, *, once: bool = False) -> Any:
    """A model, ready to be computed by onnxruntime on the CPU.

    Args:
        once: it is computed once or twice only.

    Raises:
        OnnxError: onnxruntime is not there, or refuses the model, for example because it is older than the opset.
    """
    need_onnx()
    import onnxruntime

    if not isinstance(model, bytes):
        model = os.fspath(model)
    try:
        return _session(model, once)
    except Exception as problem:  # its exceptions have no common base but this
        session = _session_of_older(model)
        if session is None:
            raise OnnxError(f"onnxruntime {onnxruntime.__version__} does not take the model: {problem}") from problem
        return session


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a model by name.

    Raises:
        OnnxError: onnxruntime cannot run it.
    """
    import onnxruntime

    names = [output.name for output in session.get_outputs()]
    fed = {name: np.ascontiguousarray(values, np.float32) for name, values in inputs.items()}
    try:
        return dict(zip(names, session.run(names, fed), strict=True))
    except Exception as problem:
        raise OnnxError(f"onnxruntime {onnxruntime.__version__} does not run the model: {problem}") from problem


def _session(model: str | bytes, once: bool = True) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if once:
        options.add_session_config_entry("session.disable_prepacking", "1")  # pays off after several runs only
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _session_of_older(model: str | bytes) -> Any:
    """The session of the same nodes under LAST_CHANGE; None where the model's opset is not newer."""
    onnx = need_onnx()
    loaded = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model, load_external_data=False)
    (opset,) = loaded.opset_import
    if opset.version <= LAST_CHANGE:
        return None
    opset.version = LAST_CHANGE
    loaded.ir_version = min(loaded.ir_version, onnx.helper.find_min_ir_version_for([opset]))
    if isinstance(model, bytes):
        return _session(loaded.SerializeToString())
    written = f"{model}.older"  # weights that lie in a file of their own are looked for next to it
    try:
        with open(written, "wb") as file:
            file.write(loaded.SerializeToString())
        return _session(written)
    finally:
        if os.path.exists(written):
            os.unlink(written)


@cache
def runs_opset(opset: int) -> bool:
    """Whether the installed onnxruntime takes models of that opset."""
    helper = need_onnx().helper
    opsets = [helper.make_opsetid("", opset)]
    value = [helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    try:
        _session(model.SerializeToString())
    except Exception:
        return False
    return True
