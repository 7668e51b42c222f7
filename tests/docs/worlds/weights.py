"""Weight files of nets that nobody trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb

__all__ = ["random_weights"]

_NEUTRAL: dict[int, Sequence[float]] = {3: (0, 1, 1), 5: (1, 0, 0, 1, 0)}  # of BatchNorm, by the number of its blobs


def random_weights(prototxt: str, caffemodel: str) -> None:
    """Weights of a net as its fillers make them, and statistics of batch normalization that fit anything."""
    net = Net(open_net(prototxt), pb.TEST, log=False)
    blobs = net.blobs_by_layer()
    for layer in net.message.layer:
        if layer.type == "BatchNorm":
            for blob, value in zip(blobs[layer.name], _NEUTRAL[len(blobs[layer.name])], strict=True):
                blob[...] = value
        elif layer.type == "Convolution" and not layer.convolution_param.HasField("weight_filler"):
            weight = blobs[layer.name][0]
            scale = float(np.sqrt(2 / np.prod(weight.shape[1:])))
            weight[...] = np.random.default_rng(len(blobs)).normal(0, scale, weight.shape)
    Path(caffemodel).parent.mkdir(parents=True, exist_ok=True)
    save_caffemodel(caffemodel, net.message, blobs)
