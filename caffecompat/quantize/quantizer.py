"""The whole way of vai_q_caffe quantize: fold, place neurons, calibrate, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from caffecompat.data import make_source
from caffecompat.formats import save_caffemodel
from caffecompat.formats.atomic import atomic_together, atomic_write
from caffecompat.layers.bn import BN
from caffecompat.layers.normalization import BatchNorm
from caffecompat.net import Net
from caffecompat.net.device import as_device
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.quantize.calibrate import calibrated, quantized_net
from caffecompat.quantize.deploy_files import DeployedFixed, deploy_fixed
from caffecompat.quantize.fold import FoldedNet, fold, read_norm
from caffecompat.quantize.neurons import place_neurons
from caffecompat.quantize.settings import QuantizeError, QuantizeSettings
from caffecompat.schema import NetDocument, NetSource, as_document, pb, write_text
from caffecompat.schema.data_layers import is_input
from caffecompat.wording import few

__all__ = ["Quantized", "deploy_quantized", "folded_net", "quantize_stated", "write_train_test"]

Progress = Callable[[int], None]


@dataclass
class Quantized:
    """A calibrated net and where it was written.

    Attributes:
        message: quantize_train_test.prototxt. `blobs`: its floats and positions.
        deployed: what deploy.prototxt and deploy.caffemodel hold.
        files: the paths that were written.
        notes: what a user should know, a line each.
    """

    message: pb.NetParameter
    blobs: dict[str, list[np.ndarray]]
    deployed: DeployedFixed
    files: list[str]
    notes: list[str] = field(default_factory=list)


def quantize_stated(
    model: NetSource,
    weights: WeightPaths,
    output_dir: str | os.PathLike[str],
    settings: QuantizeSettings = QuantizeSettings(),  # noqa: B008 (frozen)
    *,
    info: bool = False,
    device: torch.device | str = "cpu",
    on_iteration: Progress = lambda done: None,
) -> Quantized:
    """Quantize a net as vai_q_caffe does, and write its four files.

    Args:
        model: path of a prototxt with a data layer in TRAIN, whose pictures calibrate, or a net that was read.
        weights: its weight file(s).
        output_dir: made if absent. Gets quantize_train_test.prototxt and .caffemodel (the net for testing and
            fine-tuning, weights in floating point) and deploy.prototxt and .caffemodel (for the compiler).
        info: also write quantize_info.txt: of each layer its number, name and positions.
        device: where to calibrate.
        on_iteration: called after each batch with how many are done.

    Raises:
        QuantizeError: the net cannot be quantized so.
        CaffeCompatError: it, its weights or its pictures cannot be read; a file cannot be written.
    """
    weights = weight_paths(weights)
    document = as_document(model)
    folded, notes = folded_net(document, weights, settings)
    quantized = place_neurons(folded.message, settings)
    _warn_of_unknown(quantized, settings, notes)
    quantized.ClearField("name")
    made = NetDocument.from_message(quantized, like=document.fork_choice, relative_to=document.relative_to)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    net = quantized_net(made, folded.blobs, as_device(device))
    try:
        shape = net.blob_shapes.get(settings.input_blob)
        if shape is None:
            raise QuantizeError(f"no blob is named {settings.input_blob!r}, where the pictures would come in")
        unfed = [layer.top[0] for layer in net.message.layer if is_input(layer)]
        if unfed:
            raise QuantizeError(
                f"{document.path or 'the net'}: no data layer fills {few(unfed)} in TRAIN, whose pictures calibrate; "
                "give the train_val prototxt, or name pictures: caffecompat quantize MODEL WEIGHTS PICTURES OUT"
            )
        calibrated(net, settings.calib_iter, on_iteration)
        blobs = {name: [np.array(blob) for blob in own] for name, own in net.blobs_by_layer().items()}
        train = net.message
        files = write_train_test(folder, quantized, train, blobs, document)
        deployed = deploy_fixed(
            train, blobs, shape, input_blob=settings.input_blob, keep_fixed_neuron=settings.keep_fixed_neuron
        )
    finally:
        net.close()
    files += _write_deploy(folder, deployed, document, info)
    return Quantized(quantized, blobs, deployed, files, [*notes, *folded.notes, *deployed.info.lines])


def deploy_quantized(
    model: NetSource,
    weights: WeightPaths,
    output_dir: str | os.PathLike[str],
    settings: QuantizeSettings = QuantizeSettings(),  # noqa: B008 (frozen)
    *,
    info: bool = False,
) -> tuple[DeployedFixed, list[str]]:
    """Write deploy.prototxt and deploy.caffemodel of a net that was quantized (and trained) before.

    Args:
        model, weights: quantize_train_test.prototxt and its weights, calibrated.

    Returns:
        What was written, and the paths.

    Raises:
        QuantizeError: a layer in fixed point has a blob without a position.
        CaffeCompatError: a file cannot be read or written.
    """
    document = as_document(model)
    net = Net(document, pb.TRAIN, sources=make_source, log=False, weights=weights)
    try:
        _require_all(net, weights)
        blobs = net.blobs_by_layer()
        shape = net.blob_shapes.get(settings.input_blob)
        if shape is None:
            raise QuantizeError(f"no blob is named {settings.input_blob!r}, where the pictures would come in")
        deployed = deploy_fixed(
            net.message, blobs, shape, input_blob=settings.input_blob, keep_fixed_neuron=settings.keep_fixed_neuron
        )
    finally:
        net.close()
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return deployed, _write_deploy(folder, deployed, document, info)


def folded_net(document: NetDocument, weights: WeightPaths, settings: QuantizeSettings) -> tuple[FoldedNet, list[str]]:
    """The net of both phases without batch normalization, its weights read by name in the TRAIN phase."""
    net = Net(document, pb.TRAIN, sources=make_source, log=False, weights=weights)
    try:
        notes = (
            [net.loaded.describe_missing(", ".join(weight_paths(weights)))] if net.loaded and net.loaded.missing else []
        )
        blobs = {name: [np.array(blob) for blob in own] for name, own in net.blobs_by_layer().items()}
        norms = {
            layer.name: read_norm(layer.param, blobs.pop(layer.name), getattr(layer.module, "layout", "pspnet"))
            for layer in net.layers
            if isinstance(layer.module, BatchNorm | BN)
        }
    finally:
        net.close()
    return fold(document.message, blobs, norms, as_original=settings.as_original), notes


def _require_all(net: Net, weights: WeightPaths) -> None:
    if net.loaded and net.loaded.missing:
        raise QuantizeError(net.loaded.describe_missing(", ".join(weight_paths(weights))))


def _warn_of_unknown(quantized: pb.NetParameter, settings: QuantizeSettings, notes: list[str]) -> None:
    known = {layer.name for layer in quantized.layer}
    for what, names in (
        ("ignore_layers", settings.ignore_layers),
        ("sigmoided_layers", settings.sigmoided_layers),
        ("special_layers", settings.special_layers),
    ):
        notes.extend(f"{what}: the net has no layer {name!r}" for name in names if name not in known)
    compared = {
        layer.top[0]
        for layer in quantized.layer
        if layer.type == "FixedNeuron" and layer.fixed_param.fixed_method == pb.FixedParameter.DIFF_S_SIGMOID
    }
    notes.extend(
        f"sigmoided_layers: without effect on {layer.name!r}: it counts for a Convolution that no ReLU, maximum "
        "pooling or Concat follows, under method 1"
        for layer in quantized.layer
        if layer.name in settings.sigmoided_layers and not compared & set(layer.top)
    )


def write_train_test(
    folder: Path,
    quantized: pb.NetParameter,
    train: pb.NetParameter,
    blobs: dict[str, list[np.ndarray]],
    document: NetDocument,
    name: str = "quantize_train_test",
) -> list[str]:
    """Write a quantized net as NAME.prototxt and its floats as NAME.caffemodel; the paths."""
    text, model = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    with atomic_together(model, text) as (weights_file, text_file):
        save_caffemodel(weights_file, train, blobs, fork=document.fork_choice.stored)
        with atomic_write(text_file) as file:
            file.write(write_text(quantized).encode())
    return [str(text), str(model)]


def _write_deploy(folder: Path, deployed: DeployedFixed, document: NetDocument, info: bool) -> list[str]:
    text, model = folder / "deploy.prototxt", folder / "deploy.caffemodel"
    with atomic_together(model, text) as (weights_file, text_file):
        save_caffemodel(weights_file, deployed.model, deployed.blobs, fork=document.fork_choice.stored)
        with atomic_write(text_file) as file:
            file.write(write_text(deployed.text).encode())
    files = [str(text), str(model)]
    if info:
        path = folder / "quantize_info.txt"
        with atomic_write(path) as file:
            file.write("".join(f"{line}\n" for line in deployed.lines).encode())
        files.append(str(path))
    return files
