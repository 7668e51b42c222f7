"""A net and its weights from files, in one call; to work with, or to infer only."""

from __future__ import annotations

import os
from typing import Literal, overload

from caffecompat.deploy.inference.inference_net import Engine, InferenceNet, as_engine
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.net import Net
from caffecompat.net.weights import WeightPaths
from caffecompat.python_code import allowing_python_layers
from caffecompat.schema import as_phase, open_net, pb

__all__ = ["load_net"]


@overload
def load_net(
    prototxt: str | os.PathLike[str],
    weights: WeightPaths | None = None,
    phase: int | str = "TEST",
    *,
    skip_mismatched: bool = False,
    fork: ForkName | None = None,
    python_layers: bool = True,
    engine: None = None,
) -> Net: ...


@overload
def load_net(
    prototxt: str | os.PathLike[str],
    weights: WeightPaths | None = None,
    phase: Literal["TEST", 1] = "TEST",
    *,
    skip_mismatched: bool = False,
    fork: ForkName | None = None,
    python_layers: bool = True,
    engine: Engine,
) -> InferenceNet: ...


def load_net(
    prototxt: str | os.PathLike[str],
    weights: WeightPaths | None = None,
    phase: int | str = "TEST",
    *,
    skip_mismatched: bool = False,
    fork: ForkName | None = None,
    python_layers: bool = True,
    engine: Engine | None = None,
) -> Net | InferenceNet:
    """A net fed from outside (a deploy prototxt) as a torch module.

    Args:
        prototxt: path.
        weights: path of a caffemodel or HDF5 file, or a list of such paths.
        phase: "TRAIN" or "TEST", in any case, or pycaffe's numbers of them.
        skip_mismatched: leave layers that do not fit the weights at their initial values.
        python_layers: whether the code of the net's Python layers may run; False refuses a net that needs it.
        fork: the Caffe whose rules the net follows ("jacinto", ``Fork.JACINTO``), where its text cannot show it.
        engine: None for the net itself, whose layers, parameters and blobs are Caffe's. "torch", "onnxruntime" or
            "auto" (the faster of the two, by a table of measurements) for one that only infers, faster: normalization
            is folded into convolutions, ReLUs are computed with them, and it has no parameters to look at or change.

    Returns:
        The net, a torch module that takes the input blobs in order or by name, pictures as (N, C, H, W) float32, and
        returns a dict of output blobs by name (see :meth:`Net.forward`); both kinds are called alike.

    Raises:
        NetError, WeightsMismatch, CaffeCompatError: as for :class:`Net`; an `engine` is unknown, not installed, or
            given for a net that trains.

    >>> import torch
    >>> from caffecompat import load_net
    >>> net = load_net("deploy.prototxt", "net.caffemodel")
    >>> net(torch.zeros(1, 3, 8, 8))["prob"].shape
    torch.Size([1, 2])
    >>> quick = load_net("deploy.prototxt", "net.caffemodel", engine="auto")
    >>> torch.allclose(quick(torch.zeros(1, 3, 8, 8))["prob"], net(torch.zeros(1, 3, 8, 8))["prob"])
    True
    """
    if engine is not None:
        as_engine(engine)
        if as_phase(phase) != pb.TEST:
            raise CaffeCompatError(f"engine {engine!r} infers, as phase TEST does; leave it out for a net that trains")
    document = open_net(prototxt, fork=fork)
    with allowing_python_layers(python_layers):
        net = Net(document, phase, log=False, weights=weights, skip_mismatched=skip_mismatched)
    return net if engine is None else InferenceNet(net, engine)
