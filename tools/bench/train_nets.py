"""The TRAIN nets of bench_step, with Input layers in place of their data layers."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

import caffecompat.pycaffe as caffe
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.zoo import NETWORKS, network_files

__all__ = ["alexnet", "hand_written_loss", "train_net"]

_LRN = {"local_size": 5, "alpha": 1e-4, "beta": 0.75}


def train_net(name: str, data: tuple[int, ...], label: tuple[int, ...], **options: Any) -> Net:
    """A network's TRAIN net fed with blobs of such shapes, without accuracies, which nets by hand do not compute.

    Args:
        name: of the zoo's, or "alexnet".
        options: as of :class:`caffecompat.Net`.
    """
    if name == "alexnet":
        message = alexnet()
    else:
        message = parse_text(network_files(NETWORKS[name])["train_val.prototxt"], pb.NetParameter())
    fed = pb.NetParameter(name=name)
    for blob, shape in (("data", data), ("label", label)):
        layer = fed.layer.add(name=blob, type="Input", top=[blob])
        layer.input_param.shape.add().dim.extend(shape)
    fed.layer.extend(layer for layer in message.layer if "Data" not in layer.type and layer.type != "Accuracy")
    return Net(fed, pb.TRAIN, log=False, **options)


def hand_written_loss(scores: Tensor | tuple[Tensor, ...], label: Tensor) -> Tensor:
    """Cross-entropy; GoogLeNet's two classifiers at half the depth count 0.3."""
    first, *others = scores if isinstance(scores, tuple) else (scores,)
    loss = F.cross_entropy(first, label, ignore_index=255)
    for other in others:
        loss = loss + 0.3 * F.cross_entropy(other, label)
    return loss


def alexnet() -> pb.NetParameter:
    """BVLC's AlexNet, the layers that learn and the loss."""
    spec = caffe.NetSpec()
    layers = caffe.layers
    spec.data, spec.label = layers.DummyData(ntop=2)
    blob: Any = spec.data
    convolutions = {1: (96, 11, 4, 0, 1), 2: (256, 5, 1, 2, 2), 3: (384, 3, 1, 1, 1), 4: (384, 3, 1, 1, 2),
                    5: (256, 3, 1, 1, 2)}  # fmt: skip
    for number, (outputs, kernel, stride, pad, group) in convolutions.items():
        spec[f"conv{number}"] = layers.Convolution(
            blob, num_output=outputs, kernel_size=kernel, stride=stride, pad=pad, group=group,
            weight_filler={"type": "gaussian", "std": 0.01},
        )  # fmt: skip
        spec[f"relu{number}"] = blob = layers.ReLU(spec[f"conv{number}"], in_place=True)
        if number < 3:
            spec[f"norm{number}"] = blob = layers.LRN(blob, **_LRN)
        if number in (1, 2, 5):
            spec[f"pool{number}"] = blob = layers.Pooling(blob, kernel_size=3, stride=2)
    for number in (6, 7, 8):
        spec[f"fc{number}"] = layers.InnerProduct(
            blob, num_output=1000 if number == 8 else 4096, weight_filler={"type": "gaussian", "std": 0.005}
        )
        if number < 8:
            spec[f"relu{number}"] = layers.ReLU(spec[f"fc{number}"], in_place=True)
            spec[f"drop{number}"] = blob = layers.Dropout(spec[f"relu{number}"], dropout_ratio=0.5, in_place=True)
    spec.loss = layers.SoftmaxWithLoss(spec.fc8, spec.label)
    return spec.to_proto()
