"""A net that only infers, on the engine that is asked for or that is expected to be faster."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat import glog
from caffecompat.deploy.inference.choice import faster_engine, work_of
from caffecompat.deploy.inference.folded_net import FoldedNet
from caffecompat.deploy.inference.onnxruntime_net import OnnxruntimeNet
from caffecompat.errors import CaffeCompatError
from caffecompat.net import Net
from caffecompat.net.inputs import blobs_by_name, missing_blobs
from caffecompat.net.layer import Shape
from caffecompat.net.pass_errors import REFUSED

__all__ = ["ENGINES", "Engine", "InferenceNet", "as_engine"]

Engine = Literal["auto", "torch", "onnxruntime"]
ENGINES: tuple[str, ...] = get_args(Engine)

Blob = Tensor | np.ndarray
Blobs = Mapping[str, Blob]

_SESSIONS = 3  # shapes that onnxruntime gets a model for, each with the weights in it; torch computes further ones
_OPENING = 5e10  # multiply-accumulates in about the time that opening a session takes
_ONE_THREAD = threading.RLock()  # opens sessions; one for all nets, as an attribute would keep them from being copied


class InferenceNet(nn.Module):
    """A net's outputs, computed with less work: see `FoldedNet`, and `OnnxruntimeNet` for the other engine.

    It has the weights that the net has when it is made, and neither parameters nor blobs in between: whoever wants
    these takes the net itself. Several threads may call it. Where weights or fed blobs hold NaN or infinite values, the
    net itself computes, since a ReLU that is computed with a convolution makes 0 of NaN.

    Args:
        net: of phase TEST; it stays as it is, and may not be changed as long as this one is used.
        engine: "torch", "onnxruntime", or "auto": onnxruntime where it is installed and `faster_engine` says so.
        hesitates: with "auto", compute by torch until that has cost as much as opening onnxruntime's session does, so
            that a few pictures need not wait for it.

    Attributes:
        name, fed, outputs: the net's.

    Raises:
        CaffeCompatError: the engine is unknown, or not installed.
    """

    def __init__(self, net: Net, engine: str = "auto", *, hesitates: bool = False) -> None:
        super().__init__()
        self._wish = as_engine(engine)
        self.name, self.fed, self.outputs = net.name, net.fed, net.outputs
        self._used = ""
        self._net = net
        self._unfit = _why_unfit(net)
        self._torch = None if self._unfit else FoldedNet(net)
        self._twin: Net | None = None
        self._sessions: dict[tuple[Shape, ...], OnnxruntimeNet] = {}
        self._refused = self._wish == "torch"  # no more sessions are opened
        self._patience = _OPENING if hesitates else 0.0
        self._macs_of_value: float | None = None  # of the inputs, where onnxruntime is the faster
        self._spent: dict[tuple[Shape, ...], float] = {}  # multiply-accumulates by torch
        self.train(False)
        if self._wish == "onnxruntime" and self._unsuited():
            self._refuse(self._unsuited())

    def forward(self, *blobs: Blob | Mapping[str, Blob], **named: Blob) -> dict[str, Tensor]:
        """The outputs by blob name, of fed blobs given as for :meth:`caffecompat.Net.forward`.

        Raises:
            CaffeCompatError: a fed blob is missing, what is given is none, or layers cannot work on such shapes.
        """
        batch = blobs_by_name(self.name, self.fed, blobs, named) if blobs or named else self._net.next_batch()
        try:
            given = {blob: batch[blob] for blob in self.fed}
        except KeyError:
            raise missing_blobs(self.name, [blob for blob in self.fed if blob not in batch]) from None
        if self._torch is None or (self._net.device.type == "cpu" and not _are_finite(given.values())):
            self._used = "torch"
            return self._by_net(given)
        session = self._session(given)
        self._used = "torch" if session is None else "onnxruntime"
        return self._by_torch(self._torch, given) if session is None else session(given)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InferenceNet:
        """Refuse ``to``, ``double`` and the like, which would change nothing.

        Raises:
            CaffeCompatError: always.
        """
        raise CaffeCompatError("a net that infers stays on its device and in its type: make it of a net that is moved")

    @property
    def used(self) -> str:
        """The engine that computed the last pass; "" before the first."""
        return self._used

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # it has no children to notice, which takes torch a while

    def _by_net(self, given: Blobs) -> dict[str, Tensor]:
        with torch.no_grad():
            tops: dict[str, Tensor] = self._net(given)
            return tops

    def _by_torch(self, folded: FoldedNet, given: Blobs) -> dict[str, Tensor]:
        try:
            return folded(self._net.fed_tensors(given))
        except REFUSED:
            return self._by_net(given)  # it says what is wrong, and in which layer

    def _session(self, given: Blobs) -> OnnxruntimeNet | None:
        """Onnxruntime's net for these inputs; None where torch is to compute them."""
        shapes = {blob: tuple(value.shape) for blob, value in given.items()}
        key = tuple(shapes.values())
        if not (key in self._sessions or self._refused):
            with _ONE_THREAD:
                if not (key in self._sessions or self._refused) and self._is_worth_opening(shapes):
                    self._open(shapes, given)
        return self._sessions.get(key)

    def _is_worth_opening(self, shapes: dict[str, Shape]) -> bool:
        if len(self._sessions) == _SESSIONS:
            self._refused = True
            if self._wish == "onnxruntime":
                glog.info(f"torch computes net {self.name!r} in other shapes than the first {_SESSIONS}, for each of "
                          "which onnxruntime holds the weights once more")  # fmt: skip
            return False
        if self._wish == "onnxruntime":
            return True
        if self._macs_of_value is None:
            self._choose(shapes)
        if self._macs_of_value is None:
            return False
        key = tuple(shapes.values())
        self._spent[key] = self._spent.get(key, 0.0) + self._macs_of_value * sum(map(math.prod, key))
        return self._spent[key] >= self._patience

    def _choose(self, shapes: dict[str, Shape]) -> None:
        """Find whether onnxruntime is faster, which size hardly changes, and what a value of the inputs costs."""
        if self._unsuited() or not _is_installed():
            self._refused = True
            return
        net = self._to_reshape()
        try:
            net.reshape(shapes)
        except CaffeCompatError:
            return  # torch says what is wrong with the shapes
        if faster_engine(net) == "onnxruntime":
            self._macs_of_value = work_of(net).macs / max(1, sum(map(math.prod, shapes.values())))
        else:
            self._refused = True

    def _open(self, shapes: dict[str, Shape], given: Blobs) -> None:
        """Open a session whose first outputs are torch's, if it can be."""
        try:
            opened = OnnxruntimeNet(self._to_reshape(), shapes)
            opened.check(given, self._by_net(given))
        except CaffeCompatError as problem:
            self._refuse(str(problem))
        else:
            self._sessions[tuple(shapes.values())] = opened

    def _to_reshape(self) -> Net:
        """A copy of the net that shares its parameters; the net itself may be computing in another thread."""
        if self._twin is None:
            shared = {id(held): held for held in (*self._net.parameters(), *self._net.buffers())}
            self._twin = copy.deepcopy(self._net, shared)
        return self._twin

    def _unsuited(self) -> str:
        """Why onnxruntime cannot compute the net; "" where nothing is known."""
        if self._net.device.type != "cpu":
            return f"the net is on {self._net.device}, and onnxruntime computes on the CPU"
        return self._unfit

    def _refuse(self, reason: str) -> None:
        self._refused = True
        glog.info(f"torch computes net {self.name!r}, not onnxruntime: {' '.join(reason.split())}")


def as_engine(engine: str) -> Engine:
    """The name of an engine.

    Raises:
        CaffeCompatError: there is none of that name; or it is onnxruntime, which is not installed.
    """
    if engine not in ENGINES:
        raise CaffeCompatError(f"engine {engine!r}: expected {', '.join(ENGINES)}")
    known: Engine = engine  # type: ignore[assignment]
    if engine == "onnxruntime" and not _is_installed():
        raise CaffeCompatError(
            "engine 'onnxruntime' needs the packages onnx and onnxruntime; install the extra: "
            "pip install 'caffecompat[onnx]', or take the engine 'torch'"
        )
    return known


def _is_installed() -> bool:
    return find_spec("onnx") is not None and find_spec("onnxruntime") is not None


def _why_unfit(net: Net) -> str:
    """Why a net is only computed layer by layer; "" where it need not be."""
    fixed = net.quantization is not None or net.half_precision
    if fixed or any(parameter.dtype != torch.float32 for parameter in net.parameters()):
        return "the net computes in other numbers than 32-bit floating point"
    if not _are_finite(slot.tensor() for layer in net.layers for slot in layer.slots):
        return "its weights hold NaN or infinite values, which have to be seen in the scores"
    return ""


def _are_finite(blobs: Iterable[Blob]) -> bool:
    """Whether no value is NaN or infinite; a sum beyond what a float holds counts as such."""
    with np.errstate(all="ignore"):
        return all(math.isfinite(blob.sum().item()) for blob in blobs)
