"""Positions of activations, found by running a quantized net on pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from caffecompat.data import make_source
from caffecompat.layers.fixed import FixedNeuron, count_positions
from caffecompat.layers.fixed_point import NO_POSITION
from caffecompat.net import Net
from caffecompat.quantize.settings import QuantizeError
from caffecompat.schema import NetDocument, pb

__all__ = ["calibrated", "quantized_net"]


def quantized_net(
    document: NetDocument, blobs: Mapping[str, Sequence[np.ndarray]], device: torch.device, phase: int = pb.TRAIN
) -> Net:
    """A net with its data, by default in the TRAIN phase, with these blobs; others have their fillers' values."""
    net = Net(document, phase, sources=make_source, log=False)
    with torch.no_grad():
        for layer in net.layers:
            for slot, values in zip(layer.slots, blobs.get(layer.name, ()), strict=False):
                slot.parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).reshape(slot.parameter.shape))
            if layer.module is not None and layer.name in blobs:
                layer.module.weights_loaded()
    return net.to(device)


def calibrated(net: Net, iterations: int, on_iteration: Callable[[int], None] = lambda done: None) -> None:
    """Run the net on so many batches; each neuron keeps the position that it found most often.

    Raises:
        QuantizeError: an activation is NaN or infinite, so that no position fits.
    """
    net.train()
    count_positions(net)
    with torch.no_grad():
        for done in range(iterations):
            net()
            _require_positions(net, done)
            on_iteration(done + 1)


def _require_positions(net: Net, batch: int) -> None:
    for layer in net.layers:
        if isinstance(layer.module, FixedNeuron) and layer.module.position.item() == NO_POSITION:
            raise QuantizeError(
                f"blob {layer.param.top[0]!r} holds NaN or infinity in batch {batch} of the calibration (counted from "
                "0), so that no fixed point fits; the weights or the preprocessing are not those of a working net"
            )
