"""The outputs of all layers of a net for one input, as a folder of files."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from caffecompat.arguments import as_size
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.net.net import Net
from caffecompat.net.trace import write_trace
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetSource, as_document

__all__ = ["dump_blobs", "only_input", "random_inputs"]


def dump_blobs(
    model: NetSource | Net,
    weights: WeightPaths | None,
    out: str | os.PathLike[str],
    *,
    inputs: Mapping[str, np.ndarray | Tensor] | np.ndarray | Tensor | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    layout: str = "npy",
    allow_missing: bool = False,
    fork: ForkName | None = None,
) -> int:
    """Write every layer's output for one input, to be compared with a board's trace (`compare_blobs`).

    Args:
        model: path of a deploy prototxt, or a net that was read; or a `Net`.
        weights: weight file(s); None leaves the net's values.
        out: folder for LAYER.npy of each layer (LAYER.TOP.npy where it has several tops), float32 in (N, C, H, W)
            order, and layers.json with their names, types, blobs and shapes. A layer that works in place has a file of
            its own.
        inputs: the fed blobs by name, float32 (N, C, H, W); or the array alone where the net has one.
        seed: instead of `inputs`, normally distributed values drawn with it.
        size: (height, width) in pixels of the net's input instead of the prototxt's.
        layout: "npy", or "tidl": the names and raw float32 of TIDL's layer traces.
        allow_missing: go on though layers that need training get no weights from the files.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Returns:
        How many blobs were written.

    Raises:
        CaffeCompatError: the net or its weights cannot be read or do not fit, `inputs` and `seed` are given both or
            not at all, or inputs are missing or have another shape.
        WriteError: a file cannot be written.

    >>> import caffecompat
    >>> caffecompat.dump_blobs("deploy.prototxt", "net.caffemodel", "blobs", seed=7)
    4
    >>> import numpy
    >>> numpy.load("blobs/prob.npy").shape
    (1, 2)
    """
    if (inputs is None) == (seed is None):
        raise CaffeCompatError("give what the net is fed with: one of inputs and seed")
    if layout not in ("npy", "tidl"):
        raise CaffeCompatError(f"layout {layout!r}: expected npy or tidl")
    net = model if isinstance(model, Net) else Net(as_document(model, fork=fork), "TEST", log=False)
    if weights is not None:
        net.load_weights(weights).check(", ".join(weight_paths(weights)), allow_missing=allow_missing)
    size = as_size(size)
    if size:
        blob = only_input(net)
        net.reshape({blob: (*net.fed_shapes[blob][:2], *size)})
    if seed is not None:
        fed: Mapping[str, np.ndarray | Tensor] = random_inputs(net, seed)
    elif isinstance(inputs, Mapping):
        fed = inputs
    else:
        assert inputs is not None
        fed = {only_input(net): inputs}
    return write_trace(net, {blob: _values(blob, array) for blob, array in fed.items()}, out, tidl=layout == "tidl")


def _values(blob: str, given: object) -> Tensor:
    """What a blob is fed with, float32 unless it is a tensor of floats already."""
    if isinstance(given, Tensor):
        return given if given.is_floating_point() else given.float()
    try:
        return torch.from_numpy(np.asarray(given, np.float32))
    except (TypeError, ValueError):
        raise CaffeCompatError(f"inputs: {blob!r} is {type(given).__name__}; expected an array of numbers") from None


def only_input(net: Net) -> str:
    """The blob that takes a picture.

    Raises:
        CaffeCompatError: the net has several inputs, or none of four axes.
    """
    pictures = [blob for blob in net.fed if len(net.fed_shapes[blob]) == 4]
    if len(pictures) != 1 or len(net.fed) != 1:
        raise CaffeCompatError(
            f"--image, --input and --size are for nets with one input; this has {', '.join(net.fed)}; --random does"
        )
    return pictures[0]


def random_inputs(net: Net, seed: int) -> dict[str, Tensor]:
    """Normally distributed values for all fed blobs."""
    generator = torch.Generator().manual_seed(seed)
    return {blob: torch.randn(net.fed_shapes[blob], generator=generator) for blob in net.fed}
