"""Quantizing with pictures from outside: the net's data layer is made of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from caffecompat.arguments import as_count
from caffecompat.data.dataset import dataset_parts
from caffecompat.data.preprocess import Preprocess, choose_preprocess
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.files import read_text
from caffecompat.forks import ForkName
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.database import detect_backend, open_database
from caffecompat.formats.datum import decode_datum
from caffecompat.formats.picture import PICTURES
from caffecompat.net.weights import WeightPaths
from caffecompat.quantize.quantizer import Quantized, quantize_stated
from caffecompat.quantize.settings import QuantizeError, QuantizeSettings
from caffecompat.schema import NetDocument, NetSource, as_document, pb
from caffecompat.schema.data_layers import is_input

__all__ = ["quantize_net"]

PathLike = str | os.PathLike[str]
_MOST_BATCHES = 100  # as many as vai_q_caffe calibrates on by default


def quantize_net(
    model: NetSource,
    weights: WeightPaths,
    pictures: PathLike | Sequence[PathLike],
    output_dir: PathLike,
    settings: QuantizeSettings = QuantizeSettings(),  # noqa: B008 (frozen)
    *,
    batch: int = 1,
    iterations: int | None = None,
    preprocess: Preprocess | None = None,
    size: tuple[int, int] | None = None,
    info: bool = False,
    device: torch.device | str = "cpu",
    fork: ForkName | None = None,
    on_iteration: Callable[[int, int], None] = lambda done, total: None,
) -> Quantized:
    """Quantize a net for the DPU, calibrated on pictures: weights and activations on power-of-two grids.

    Positions, folding and files are those of Xilinx' vai_q_caffe, but for what that tool computes wrongly (see `notes`
    of the result).

    Args:
        model: path of a deploy or train_val prototxt, or a net that was read.
        weights: its weight file(s).
        pictures: a list (one picture a line; what follows on the line is passed over), a folder, a database (LMDB or
            LevelDB), a picture, or paths of pictures. A hundred or so are enough; they need no labels.
        output_dir: made if absent. Gets quantize_train_test.prototxt and .caffemodel, to score and fine-tune,
            deploy.prototxt and .caffemodel, for the compiler, and pictures.txt, the list that the first of them reads.
        settings: method, bits, and layers with rules of their own; `calib_iter` counts only without `iterations`.
        batch: pictures at a time; the position of an activation is the most frequent one of the batches.
        iterations: batches to calibrate on; None is all pictures once, at most 100 batches.
        preprocess: how pixels become inputs; by default what the prototxt states.
        size: (height, width) of the input instead of the prototxt's.
        info: also write quantize_info.txt: of each layer its number, name and positions.
        device: where to calibrate.
        fork: the Caffe whose rules hold, where the text cannot show it.
        on_iteration: called after each batch with how many are done, and of how many.

    Raises:
        QuantizeError: the net cannot be quantized so, or there are no pictures.
        CaffeCompatError: it, its weights or its pictures cannot be read; a file cannot be written.

    >>> import caffecompat
    >>> done = caffecompat.quantize_net("deploy.prototxt", "net.caffemodel", "list.txt", "fixed")
    >>> done.files[2:]
    ['fixed/deploy.prototxt', 'fixed/deploy.caffemodel']
    >>> done.deployed.info.blobs["fc"].bits
    8
    """
    batch, iterations = as_count(batch, "batch") or 1, as_count(iterations, "iterations")
    document = as_document(model, fork=fork)
    deployed = deploy_net(document, size=size)
    shape = _picture_input(deployed.inputs, document)
    blob = next(iter(deployed.inputs))
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = _data_layer(blob, shape, batch)
    _set_transform(data.transform_param, choose_preprocess(deployed.message.layer, document.path or "", preprocess))
    count = _set_source(data, pictures, folder, shape)
    message = pb.NetParameter()
    message.CopyFrom(deployed.message)
    message.ClearField("layer")
    message.layer.extend([data, *(layer for layer in deployed.message.layer if not is_input(layer))])
    total = iterations or min(_MOST_BATCHES, math.ceil(count / batch))
    fed = NetDocument.from_message(message, document.path, like=document.fork_choice, relative_to=document.relative_to)
    return quantize_stated(
        fed, weights, folder, replace(settings, calib_iter=total, input_blob=blob), info=info, device=device,
        on_iteration=lambda done: on_iteration(done, total),
    )  # fmt: skip


def _picture_input(inputs: dict[str, tuple[int, ...]], document: NetDocument) -> tuple[int, ...]:
    shape = next(iter(inputs.values()), ())
    if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (1, 3):
        fed = ", ".join(f"{name} {given}" for name, given in inputs.items()) or "nothing"
        raise QuantizeError(f"{document.path}: a picture goes into one input of 1 or 3 channels; this net takes {fed}")
    return shape


def _data_layer(blob: str, shape: Sequence[int], batch: int) -> pb.LayerParameter:
    layer = pb.LayerParameter(name=blob, type="ImageData", top=[blob, "label"])
    param = layer.image_data_param
    param.batch_size, param.new_height, param.new_width = batch, shape[2], shape[3]
    if shape[1] == 1:
        param.is_color = False
    return layer


def _set_transform(transform: pb.TransformationParameter, preprocess: Preprocess) -> None:
    """(pixel - mean) * factor - subtract as one subtraction and one product, which is all that Caffe has."""
    factors = preprocess.factors
    mean = preprocess.mean
    if preprocess.subtract:
        channels = max(map(len, (mean, preprocess.subtract, factors)))
        spread = [values * channels if len(values) == 1 else values
                  for values in (mean or (0.0,), preprocess.subtract, factors)]  # fmt: skip
        mean = tuple(value + less / factor for value, less, factor in zip(*spread, strict=True))
    transform.mean_value.extend(mean)
    transform.std_value.extend(preprocess.std)
    if preprocess.scale != 1:
        transform.scale = preprocess.scale


def _set_source(
    layer: pb.LayerParameter, pictures: PathLike | Sequence[PathLike], folder: Path, shape: Sequence[int]
) -> int:
    """Let the layer read the pictures; how many there are."""
    if isinstance(pictures, str | os.PathLike):
        path = os.fspath(pictures)
        if os.path.isdir(path) and (detect_backend(path) or dataset_parts(path) != ("",)):
            return _set_database(layer, Path(path, dataset_parts(path)[0]), shape)
        if os.path.isdir(path):
            found = _folder_pictures(path)
        else:
            found = [path] if path.lower().endswith(tuple(PICTURES)) else _listed_pictures(path)
    else:
        found = [os.fspath(one) for one in pictures]
    if not found:
        raise QuantizeError(f"{pictures} holds no pictures ({' '.join(PICTURES)})")
    listed = folder / "pictures.txt"
    with atomic_write(listed) as file:
        file.write("".join(f"{os.path.abspath(one)} 0\n" for one in found).encode())
    layer.image_data_param.source = str(listed)
    return len(found)


def _set_database(layer: pb.LayerParameter, path: Path, shape: Sequence[int]) -> int:
    """The records of a database, resized to the net's input if they are not of that size."""
    batch = layer.image_data_param.batch_size
    layer.ClearField("image_data_param")
    layer.type = "Data"
    reader = open_database(path)
    try:
        count, backend = len(reader), detect_backend(path)
        first = decode_datum(next(iter(reader))[1])
    finally:
        reader.close()
    param = layer.data_param
    param.source, param.batch_size = str(path), batch
    param.backend = pb.DataParameter.LEVELDB if backend == "leveldb" else pb.DataParameter.LMDB
    if first.encoded:
        param.force_encoded_color = shape[1] == 3
    if first.encoded or (first.height, first.width) != tuple(shape[2:]):
        resize = layer.transform_param.resize_param
        resize.prob, resize.resize_mode, resize.height, resize.width = 1.0, pb.ResizeParameter.WARP, *shape[2:]
    return count


def _folder_pictures(path: str) -> list[str]:
    return sorted(str(file) for file in Path(path).rglob("*") if file.suffix.lower() in PICTURES)


def _listed_pictures(path: str) -> list[str]:
    """The first file that each line names; relative paths lead from the current folder or the list's."""
    found, missing = [], []
    for number, line in enumerate(read_text(path, "the list of pictures").splitlines(), 1):
        if not line.strip():
            continue
        names = (line.strip(), line.strip().rsplit(None, 1)[0], line.split()[0].strip('"'))
        places = (place for name in names for place in (name, os.path.join(os.path.dirname(path), name)))
        file = next((place for place in places if os.path.isfile(place)), None)
        if file is None:
            missing.append(f"{path}:{number}: no such file: {names[1]}")
        else:
            found.append(file)
    if missing:
        more = f"; and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise QuantizeError("\n".join(missing[:10]) + more)
    return found
