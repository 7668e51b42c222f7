"""The net for the DPU's compiler: weights on the grid, positions of every layer, an Input in place of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caffecompat.layers.functional.fixed_point import to_grid
from caffecompat.quantize.positions import FixInfo, fix_info, parameter_positions
from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = ["DeployedFixed", "deploy_fixed"]


@dataclass
class DeployedFixed:
    """A quantized net for deployment.

    Attributes:
        text: what deploy.prototxt holds. `model`: the layers of deploy.caffemodel, with `fix_info`.
        blobs: of the layers of `model`: weights on the grid, neurons' positions adjusted.
        info: the positions. `lines`: of quantize_info.txt.
    """

    text: pb.NetParameter
    model: pb.NetParameter
    blobs: dict[str, list[np.ndarray]]
    info: FixInfo
    lines: list[str]


def deploy_fixed(
    train: pb.NetParameter,
    blobs: Mapping[str, Sequence[np.ndarray]],
    input_shape: Sequence[int],
    *,
    input_blob: str = "data",
    keep_fixed_neuron: bool = True,
) -> DeployedFixed:
    """Make a calibrated net ready for the compiler.

    Args:
        train: the quantized net in its TRAIN phase.
        blobs: of its layers, floats.
        input_shape: (N, C, H, W) of the input blob; the Input has a batch of 1.
        keep_fixed_neuron: whether the neurons stay.

    Raises:
        QuantizeError: a layer in fixed point has a blob without a position.
    """
    info = fix_info(train.layer, blobs)
    made = DeployedFixed(pb.NetParameter(), pb.NetParameter(), {}, info, [])
    for layer in train.layer:
        if layer.type == "FixedNeuron" and not keep_fixed_neuron:
            continue
        bare = made.model.layer.add()
        bare.CopyFrom(layer)
        bare.phase = pb.TRAIN
        bare.type = layer.type.removesuffix("Fixed")
        if bare.type != layer.type:
            bare.ClearField("fixed_param")
        pairs = [number for pair in info.layers[layer.name] for number in pair]
        bare.fixed_param.MergeFrom(pb.FixedParameter(fix_info=pairs))
        own = _blobs(layer, blobs.get(layer.name, ()), info)
        if own:
            made.blobs[layer.name] = own
        made.lines.append(" ".join(map(str, (len(made.lines), layer.name, *pairs))))
    _write_text_net(made, train, input_shape, input_blob)
    return made


def _blobs(layer: pb.LayerParameter, blobs: Sequence[np.ndarray], info: FixInfo) -> list[np.ndarray]:
    if layer.type == "FixedNeuron":
        return [np.full_like(blobs[0], info.blobs[layer.top[0]].position)]
    if not layer.type.endswith("Fixed"):
        return [np.asarray(blob) for blob in blobs]
    return [
        to_grid(torch.from_numpy(np.ascontiguousarray(blob)), at.position, at.bits).numpy()
        for blob, at in zip(blobs, parameter_positions(layer, blobs), strict=True)
    ]


def _write_text_net(made: DeployedFixed, train: pb.NetParameter, input_shape: Sequence[int], input_blob: str) -> None:
    """The prototxt: what belongs to one phase is left out, and a loss becomes a Softmax."""
    entry = made.text.layer.add(name=input_blob, type="Input", top=[input_blob])
    for layer in train.layer:
        if layer.HasField("transform_param"):
            entry.transform_param.CopyFrom(layer.transform_param)
    entry.input_param.shape.add().dim.extend((1, *input_shape[1:]))
    for layer in made.model.layer:
        if data_layer(layer.type) is not None or layer.include:
            continue
        added = made.text.layer.add()
        added.CopyFrom(layer)
        added.fixed_param.ClearField("fix_info")
        if layer.type != "FixedNeuron":
            added.ClearField("fixed_param")
        if layer.type == "SoftmaxWithLoss":
            _as_softmax(added)


def _as_softmax(layer: pb.LayerParameter) -> None:
    layer.type = "Softmax"
    del layer.bottom[1:], layer.top[1:]
    for name in ("loss_param", "loss_weight", "include", "exclude"):
        layer.ClearField(name)
