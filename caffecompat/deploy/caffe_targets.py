"""The forms in which vendors' tools that read Caffe's own files want a net: Vitis AI up to 2.0, and TI's TIDL.

Vitis AI (user guide 1414 up to release 2.0; the files of Xilinx' segmentation and SSD tutorials): `float.prototxt`
begins with an ImageData layer of phase TRAIN that lists calibration pictures. The tutorials' files keep bilinear
Deconvolutions; the DPU's own upsampling, DeephiResize, computes other values along the border.

TIDL's importer (TI Deep Learning Product User Guide, "Importer") reads BVLC's and caffe-jacinto's layers, so a
BatchNorm with a scale in Xilinx' form becomes BatchNorm and Scale; it is described by a text file of `name = value`
lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from caffecompat.data.preprocess import Preprocess
from caffecompat.deploy.bilinear import upsampling_factor
from caffecompat.deploy.deploy_net import Deployed, DeployError
from caffecompat.forks import Fork
from caffecompat.formats.mean import MeanError, read_mean
from caffecompat.layers import Context, class_of
from caffecompat.layers.bn import BN
from caffecompat.layers.convolution import Deconvolution
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.pooling import Pooling
from caffecompat.layers.python_layer import PythonLayer
from caffecompat.layers.resampling import DeephiResize
from caffecompat.net import Net
from caffecompat.schema import pb
from caffecompat.schema.dialects import layer_forks

__all__ = [
    "channel_means", "fold_std", "picture_input", "resize_for_bilinear", "round_up", "split_norms",
    "tidl_import_text", "unknown_layers",
]  # fmt: skip

_FORKS = {  # whose layers each tool's reader is built on
    "vitis": {Fork.XILINX},
    "tidl-caffe": {Fork.BVLC, Fork.JACINTO, Fork.JACINTO16, Fork.JACINTO15},
}

Blobs = dict[str, list[np.ndarray]]


def picture_input(deployed: Deployed) -> tuple[str, tuple[int, ...]]:
    """The blob that pictures are fed to, and its shape (N, C, H, W).

    Raises:
        DeployError: there is none.
    """
    for blob, shape in deployed.inputs.items():
        if len(shape) == 4:
            return blob, shape
    shapes = ", ".join(f"{blob} {shape}" for blob, shape in deployed.inputs.items())
    raise DeployError(f"--for needs a net of pictures, with an input (N, C, H, W); its inputs are {shapes}")


def channel_means(deployed: Deployed, relative_to: str | None) -> tuple[list[float], str]:
    """What is subtracted from each channel of a picture, and what to report about it ("" for nothing).

    Args:
        relative_to: the prototxt, next to which a mean file may be.
    """
    transform, channels = deployed.transform, picture_input(deployed)[1][1]
    if transform is not None and transform.mean_file:
        try:
            picture = read_mean(transform.mean_file, relative_to)
        except MeanError as problem:
            return [0.0] * channels, f"warning: {problem}: inMean is 0; put the means of its channels there"
        means = [float(mean) for mean in picture.mean((1, 2), dtype=np.float64)]
        return means, f"{transform.mean_file}: inMean has the means of its channels, TIDL takes no mean picture"
    means = list(transform.mean_value) if transform is not None else []
    return (means if len(means) > 1 else (means or [0.0]) * channels), ""


def fold_std(message: pb.NetParameter, target: str) -> list[str]:
    """Put an Input's std_value, which no other Caffe knows, into its scale, in place.

    Returns:
        notes.

    Raises:
        DeployError: channels differ in it, and `target` takes one scale alone ("vitis").
    """
    notes = []
    for layer in message.layer:
        transform = layer.transform_param
        if not transform.std_value:
            continue
        if len(set(transform.std_value)) == 1:
            transform.scale /= transform.std_value[0]
        elif target == "vitis":
            raise DeployError(
                f"{layer.name!r} has one std_value a channel, and Xilinx' Caffe one scale for all of them; let a Scale "
                "layer do it"
            )
        else:
            notes.append(f"{layer.name!r}: std_value, which that tool's Caffe cannot read, is in inScale alone")
        transform.ClearField("std_value")
    return notes


def unknown_layers(message: pb.NetParameter, target: str) -> dict[str, list[str]]:
    """Names of the layers that a tool cannot know, by type: those of other forks, and Python code."""
    found: dict[str, list[str]] = {}
    for layer in message.layer:
        if class_of(layer.type) is PythonLayer or not _FORKS[target] & set(layer_forks(layer.type)):
            found.setdefault(layer.type, []).append(layer.name)
    return found


def round_up(net: Net, message: pb.NetParameter) -> list[str]:
    """Take round_mode, which Xilinx' Caffe does not know, off poolings that it does not change, in place.

    Returns:
        warnings: of each pooling that comes out smaller by it, as that Caffe always rounds sizes up.
    """
    warnings = []
    layers = {layer.name: layer for layer in message.layer if class_of(layer.type) is Pooling}
    for layer in net.layers:
        param, module = layers.get(layer.name), layer.module
        if param is None or not isinstance(module, Pooling) or not param.pooling_param.HasField("round_mode"):
            continue
        bottom = layer.bottom_values[0]
        assert bottom is not None
        size = net.value_shapes[bottom][2:]
        here, there = module.window.counts(size), replace(module.window, ceil=True).counts(size)
        if module.whole_plane or here == there:
            param.pooling_param.ClearField("round_mode")
        else:
            warnings.append(
                f"{layer.name} rounds its size down to {here[0]}x{here[1]} (round_mode: FLOOR), which that tool's "
                f"Caffe cannot read; it always rounds up, to {there[0]}x{there[1]}"
            )
    return warnings


def resize_for_bilinear(net: Net, message: pb.NetParameter, blobs: Blobs) -> list[str]:
    """Turn bilinear Deconvolutions into DeephiResize, in place; a note for each, with its effect on the numbers."""
    notes = []
    layers = {layer.name: layer for layer in message.layer if class_of(layer.type) is Deconvolution}
    for layer in net.layers:
        param = layers.get(layer.name)
        if param is None or not isinstance(layer.module, Deconvolution) or len(layer.bottoms) != 1:
            continue
        factor = upsampling_factor(layer.module, blobs[layer.name]) if blobs.get(layer.name) else 0
        if not factor:
            continue
        param.type = "DeephiResize"
        param.ClearField("convolution_param")
        param.ClearField("param")
        resize = param.deephi_resize_param
        resize.scale_h = resize.scale_w = factor
        resize.resize_type = resize.BILINEAR
        blobs.pop(layer.name)
        border, inside = _effect(layer.module, param, factor)
        notes.append(
            f"{layer.name}: bilinear Deconvolution by {factor}, now DeephiResize; in the outermost {factor} pixels, "
            f"where a deconvolution fades to 0 and a resize repeats the edge, its top differs by up to {border:.0%} of "
            f"the bottom's range (tried on random values), inside by {inside:.1g}"
        )
    return notes


@torch.no_grad()
def _effect(deconvolution: Deconvolution, param: pb.LayerParameter, factor: int) -> tuple[float, float]:
    """How far a bilinear Deconvolution and the resize in its place are apart, at the border and inside it.

    Both are tried on values between 0 and 1.
    """
    side = 16
    values = torch.rand(1, deconvolution.group, side, side, generator=torch.Generator().manual_seed(1))
    resized = DeephiResize(param, [tuple(values.shape)], Context(pb.TEST))(values)
    apart = (deconvolution(values) - resized).abs()
    inside = apart[..., factor:-factor, factor:-factor]
    return float(apart.max()), float(inside.max())


def split_norms(net: Net, message: pb.NetParameter, blobs: Blobs) -> list[str]:
    """Turn batch normalizations with a scale of their own into BVLC's BatchNorm and Scale, in place; their names."""
    modules = {(layer.name, layer.type): layer.module for layer in net.layers}
    split: list[str] = []
    layers: list[pb.LayerParameter] = []
    for layer in message.layer:
        layers.append(layer)
        module: Any = modules.get((layer.name, layer.type))
        parts = _parts_of(module, blobs.get(layer.name, []))
        if parts is None:
            continue
        split.append(layer.name)
        for name in ("batch_norm_param", "bn_param", "param"):
            layer.ClearField(name)
        layer.type = "BatchNorm"
        layer.batch_norm_param.use_global_stats = True
        layer.batch_norm_param.eps = module.eps
        scale = pb.LayerParameter(name=f"{layer.name}_scale", type="Scale", bottom=[layer.top[0]], top=[layer.top[0]])
        scale.scale_param.bias_term = True
        layers.append(scale)
        one = np.ones(1, np.float32)
        blobs[layer.name] = [parts["mean"], parts["variance"], one]
        blobs[scale.name] = [parts["scale"], parts["bias"]]
    copies = [pb.LayerParameter.FromString(layer.SerializeToString()) for layer in layers]
    del message.layer[:]
    message.layer.extend(copies)
    return split


def _parts_of(module: Any, blobs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray] | None:
    """Statistics, scale and bias of a layer that has all of them in one."""
    if isinstance(module, BatchNorm) and module.scale is not None:
        return dict(zip(module.blob_names, blobs, strict=True))
    if isinstance(module, BN) and module.keeps_statistics:
        parts = {name: blob.reshape(-1) for name, blob in zip(module.blob_names, blobs, strict=True)}
        return parts | {"bias": parts["shift"]}
    return None


def tidl_import_text(
    deployed: Deployed, means: Sequence[float], prototxt: str, caffemodel: str, stem: str, calibration: str, count: int
) -> str:
    """The configuration file of TIDL's importer, for `tidl_model_import.out FILE`.

    Args:
        means: of the channels.
        prototxt, caffemodel, calibration: paths from the folder of the configuration.
        stem: of the files that it writes.
        count: how many pictures `calibration` lists.
    """
    channels, height, width = picture_input(deployed)[1][1:]
    transform = deployed.transform or pb.TransformationParameter()
    factors = Preprocess.of(transform).factors
    scales = factors if len(factors) > 1 else factors * channels
    settings: list[tuple[str, object]] = [
        ("modelType", 0),
        ("inputNetFile", f'"{prototxt}"'),
        ("inputParamsFile", f'"{caffemodel}"'),
        ("outputNetFile", f'"{stem}_net.bin"'),
        ("outputParamsFile", f'"{stem}_io_"'),
        ("numParamBits", 8),
        ("numFeatureBits", 8),
        ("inDataNorm", int(any(means) or factors != (1,))),
        ("inMean", " ".join(_shortest(mean) for mean in means)),
        ("inScale", " ".join(_shortest(scale) for scale in scales)),
        ("inDataFormat", 0),
        ("inWidth", width),
        ("inHeight", height),
        ("inNumChannels", channels),
        ("inData", f'"{calibration}"'),
        ("numFrames", count),
    ]
    comments = [
        "# TIDL importer: tidl_model_import.out THIS_FILE, in this file's folder",
        "# modelType 0 is Caffe; inDataFormat 0 is BGR, plane by plane; a pixel is fed as (value - inMean) * inScale",
    ]
    return "\n".join([*comments, *(f"{name:<17}= {value}" for name, value in settings)]) + "\n"


def _shortest(value: float) -> str:
    """The shortest text of a value that protobuf keeps as a float."""
    return f"{float(str(np.float32(value))):g}"
