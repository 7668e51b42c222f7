"""A net and its weights from files, in one call."""

from __future__ import annotations

import os

from caffecompat.forks import ForkName
from caffecompat.net.net import Net
from caffecompat.net.weights import WeightPaths
from caffecompat.python_code import allowing_python_layers
from caffecompat.schema import open_net

__all__ = ["load_net"]


def load_net(
    prototxt: str | os.PathLike[str],
    weights: WeightPaths | None = None,
    phase: int | str = "TEST",
    *,
    skip_mismatched: bool = False,
    fork: ForkName | None = None,
    python_layers: bool = True,
) -> Net:
    """A net fed from outside (a deploy prototxt) as a torch module.

    Args:
        prototxt: path.
        weights: path of a caffemodel or HDF5 file, or a list of such paths.
        phase: "TRAIN" or "TEST", in any case, or pycaffe's numbers of them.
        skip_mismatched: leave layers that do not fit the weights at their initial values.
        python_layers: whether the code of the net's Python layers may run; False refuses a net that needs it.
        fork: the Caffe whose rules the net follows ("jacinto", ``Fork.JACINTO``), where its text cannot show it.

    Returns:
        The net, a torch module that takes the input blobs in order or by name, pictures as (N, C, H, W) float32, and
        returns a dict of output blobs by name (see :meth:`Net.forward`).

    Raises:
        NetError, WeightsMismatch, CaffeCompatError: as for :class:`Net`.

    >>> import torch
    >>> from caffecompat import load_net
    >>> net = load_net("deploy.prototxt", "net.caffemodel")
    >>> net(torch.zeros(1, 3, 8, 8))["prob"].shape
    torch.Size([1, 2])
    """
    document = open_net(prototxt, fork=fork)
    with allowing_python_layers(python_layers):
        return Net(document, phase, log=False, weights=weights, skip_mismatched=skip_mismatched)
