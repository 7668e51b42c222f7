"""A net computed by onnxruntime on the CPU, from an export that stays in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from caffecompat.compare.nets import compare_outputs
from caffecompat.deploy.onnx.export import export_net
from caffecompat.deploy.onnx.file import LARGEST, file_size, write_model
from caffecompat.deploy.onnx.graph import OnnxError
from caffecompat.deploy.onnx.quick import QUICK_PASSES
from caffecompat.deploy.onnx.run import open_session
from caffecompat.layers.recurrent import Recurrent
from caffecompat.net import Net
from caffecompat.net.layer import Shape

__all__ = ["OnnxruntimeNet"]

TOLERANCE = 1e-4  # of an output's largest value; of choices, the share that may come out otherwise between near equals


class OnnxruntimeNet:
    """A net's outputs for inputs of certain shapes, with the weights that it has now.

    Args:
        net: of phase TEST, in 32 bits; it stays as it is.
        shapes: of the fed blobs.

    Raises:
        OnnxError: onnx or onnxruntime is not there, or refuses the model; the net is too large for it, or keeps a state
            from pass to pass.
        NetError: layers have no form in ONNX.
    """

    def __init__(self, net: Net, shapes: Mapping[str, Shape]) -> None:
        if any(isinstance(layer.module, Recurrent) for layer in net.layers):
            raise OnnxError("its recurrent layers go on from what the pass before left, which ONNX has no form for")
        self._net = net
        before = net.fed_shapes
        net.reshape(dict(shapes))
        try:
            export = export_net(net, passes=QUICK_PASSES)
        finally:
            net.reshape(before)
        if file_size(export.model, export.weights) >= LARGEST:
            raise OnnxError("its weights are more than the 2 GiB that a model in memory may have")
        file = io.BytesIO()
        write_model(file, export.model, export.weights)
        self._inputs = export.inputs
        self._names, self._blobs = [[getattr(o, kind) for o in export.outputs] for kind in ("name", "blob")]
        self._fed_outputs = [blob for blob in net.outputs if blob not in self._blobs]
        self._session = open_session(file.getvalue())

    def __call__(self, fed: Mapping[str, Tensor | np.ndarray]) -> dict[str, Tensor]:
        """The outputs by name, float32.

        Raises:
            OnnxError: onnxruntime cannot compute them.
        """
        inputs = {name: np.ascontiguousarray(fed[blob], np.float32) for blob, name in self._inputs.items()}
        try:
            found = self._session.run(self._names, inputs)
        except Exception as problem:  # onnxruntime's have no common base but this
            raise OnnxError(f"onnxruntime does not run the model: {problem}") from problem
        tops = {
            blob: torch.from_numpy(np.asarray(top, np.float32)) for blob, top in zip(self._blobs, found, strict=True)
        }
        return tops | {blob: torch.as_tensor(fed[blob]) for blob in self._fed_outputs}

    def check(self, fed: Mapping[str, Tensor | np.ndarray], expected: Mapping[str, Tensor]) -> None:
        """Compare the outputs with those that torch has computed.

        Raises:
            OnnxError: one differs by more than TOLERANCE.
        """
        for difference in compare_outputs(self._net, expected, self(fed)):
            if not difference.relative <= TOLERANCE:
                raise OnnxError(f"it computes something else than torch: {difference.line()}")
