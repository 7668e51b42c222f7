"""An ONNX file that pictures go into: what it takes and gives, and its computation by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeGuard

import numpy as np

from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.onnx.graph import OnnxError, need_onnx
from caffecompat.deploy.onnx.run import open_session
from caffecompat.wording import few

__all__ = ["OnnxModel", "is_onnx"]

_MOVING = (
    "Cast",
    "Identity",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Flatten",
    "Transpose",
)  # they keep values as they are
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
          "tensor(uint8)": np.uint8}  # fmt: skip


def is_onnx(model: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a model is the path of an ONNX file, by its ending."""
    return isinstance(model, str | os.PathLike) and os.fspath(model).lower().endswith(".onnx")


class OnnxModel:
    """A model with one input of pictures, (N, 1 or 3, H, W), and the value of it that holds the scores.

    Args:
        path: of the file; one that ``export onnx`` wrote says in its metadata how pictures are prepared.
        blob: name of the scores, an output or any other value; None: the only output.
        size: (height, width), where the file leaves it open.
        rgb: whether the input's channels are R, G, B, where the file does not say it.
        without: a type of node that is left out where the scores are its output, as ArgMax, so that its input is taken.

    Attributes:
        input_shape: (N, C, H, W); N is 1 where the file leaves it open.
        scores: name of the value.
        maker: type of the node that made it, looking through those that only move values.
        preprocess: how pixels become inputs; None where the file does not say it.
        rgb: whether the channels are R, G, B; None where nothing says it.
        open_size: whether it takes pictures of any size.
        own: whether ``export onnx`` wrote the file.
        metadata: its custom properties.

    Raises:
        OnnxError: it is no ONNX file, takes no pictures, or has no such value; onnxruntime is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        blob: str | None = None,
        size: tuple[int, int] | None = None,
        rgb: bool | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self.path = os.fspath(path)
        model = _load(self.path)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.own = "color_order" in self.metadata
        self._input, dims = self._find_input(model.graph)
        self.input_shape = self._shape(dims, size)
        self._open_batch, self.open_size = dims[0] is None, dims[2] is None and dims[3] is None
        makers = {name: node for node in model.graph.node for name in node.output}
        self.scores, self.maker = self._find_scores(model.graph, makers, blob, without)
        self._session = self._open(model)
        self._dtype = _TYPES.get(self._session.get_inputs()[0].type, np.float32)
        stated = self.metadata["color_order"] == "RGB" if self.own else None
        if rgb is not None and stated is not None and rgb != stated:
            raise OnnxError(f"{self.path} says that its input is {self.metadata['color_order']}; leave --rgb out")
        self.rgb = stated if rgb is None else rgb
        if self.input_shape[1] == 1:
            self.rgb = False
        self.preprocess = self._stated_preprocess()

    # --------------------------------------------------------------------------------------------- what it is

    def _find_input(self, graph: Any) -> tuple[str, list[int | None]]:
        constants = {constant.name for constant in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            names = few([value.name for value in inputs], 5) or "none"
            raise OnnxError(f"{self.path}: a picture goes into one input; this model has {len(inputs)} ({names})")
        dims = [dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim]
        if len(dims) != 4 or dims[1] not in (1, 3):
            hint = "; its channels come last, as TensorFlow has them" if len(dims) == 4 and dims[3] in (1, 3) else ""
            text = "x".join("?" if dim is None else str(dim) for dim in dims)
            raise OnnxError(f"{self.path}: expected an input (N, 1 or 3, H, W), {inputs[0].name!r} is {text}{hint}")
        return inputs[0].name, dims

    def _shape(self, dims: Sequence[int | None], size: tuple[int, int] | None) -> tuple[int, int, int, int]:
        fixed = dims[2], dims[3]
        if None in fixed and size is None:
            raise OnnxError(f"{self.path} takes pictures of any size: give --size WIDTHxHEIGHT")
        wanted = size or (fixed[0] or 0, fixed[1] or 0)
        if any(side is not None and side != given for side, given in zip(fixed, wanted, strict=True)):
            raise OnnxError(
                f"{self.path} takes pictures of {fixed[1] or 'any'}x{fixed[0] or 'any'} (width x height), not "
                f"{wanted[1]}x{wanted[0]}; export the net with --size {wanted[1]}x{wanted[0]}"
            )
        return dims[0] or 1, dims[1] or 0, *wanted

    def _find_scores(
        self, graph: Any, makers: dict[str, Any], blob: str | None, without: Sequence[str]
    ) -> tuple[str, str]:
        outputs = [value.name for value in graph.output]
        if blob is not None:
            if blob not in makers:
                raise OnnxError(f"{self.path}: no value {blob!r}; its outputs are {few(outputs, 8)}")
            return blob, _maker(blob, makers)[0]
        if len(outputs) != 1:
            raise OnnxError(
                f"{self.path}: which of the outputs holds the scores ({few(outputs, 8)})? Name it with --blob"
            )
        kind, node = _maker(outputs[0], makers)
        if kind in without:
            scores = node.input[0]
            return scores, _maker(scores, makers)[0]
        return outputs[0], kind

    def _stated_preprocess(self) -> Preprocess | None:
        """What the metadata say; pixels as they are where the graph prepares them itself."""
        if self.metadata.get("preprocessing", "").startswith("in the graph"):
            return Preprocess()
        known = [field.name for field in fields(Preprocess) if field.name in self.metadata]
        if not self.own or not known:
            return None
        values: dict[str, Any] = {name: _numbers(self.metadata[name]) for name in known}
        return Preprocess(**values)

    # ---------------------------------------------------------------------------------------------- computing

    def _open(self, model: Any) -> Any:
        """A session that gives the scores; an inner value becomes an output."""
        if any(self.scores == value.name for value in model.graph.output):
            return open_session(self.path)
        onnx = need_onnx()
        whole = onnx.load(self.path)
        whole.graph.output.append(onnx.helper.make_empty_tensor_value_info(self.scores))
        return open_session(whole.SerializeToString())

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The scores of prepared pictures (n, C, H, W) in B, G, R order; their first axis is n, where it is N.

        Raises:
            OnnxError: onnxruntime cannot compute it; the size is not that of the model.
        """
        count, most = len(batch), len(batch) if self._open_batch else self.input_shape[0]
        if self.rgb:
            batch = batch[:, ::-1]
        found = [self._run(batch[first : first + most], most) for first in range(0, count, most)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _run(self, batch: np.ndarray, size: int) -> np.ndarray:
        count = len(batch)
        if count < size:
            batch = np.concatenate([batch, np.repeat(batch[:1], size - count, 0)])
        if self._dtype == np.uint8:
            batch = np.clip(np.round(batch), 0, 255)
        fed = np.ascontiguousarray(batch, self._dtype)
        try:
            (found,) = self._session.run([self.scores], {self._input: fed})
        except Exception as problem:  # onnxruntime's exceptions have no common base but this
            raise OnnxError(f"{self.path}: onnxruntime cannot compute it: {problem}") from problem
        values: np.ndarray = np.asarray(found, np.float32)
        return values[:count] if len(values) == size else values


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)


def _load(path: str) -> Any:
    onnx = need_onnx()
    try:
        return onnx.load(path, load_external_data=False)
    except OSError as problem:
        raise OnnxError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except Exception:  # protobuf's decoder has several
        raise OnnxError(f"{path} is no ONNX file, or damaged") from None


def _maker(name: str, makers: dict[str, Any]) -> tuple[str, Any]:
    """The type of the node that computes a value, and the node; through those that only move values."""
    node = makers.get(name)
    while node is not None and node.op_type in _MOVING and node.input:
        node = makers.get(node.input[0])
    return ("" if node is None else node.op_type), node
