"""Fine-tuning in fixed point: the quantized net with data and losses, and the files of what it learned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from caffecompat.net.weights import WeightPaths
from caffecompat.quantize.neurons import place_neurons
from caffecompat.quantize.quantizer import Quantized, deploy_quantized, folded_net, write_train_test
from caffecompat.quantize.settings import QuantizeError, QuantizeSettings
from caffecompat.schema import NetDocument

__all__ = ["write_finetuned", "write_training_net"]

PathLike = str | os.PathLike[str]


def write_training_net(
    document: NetDocument, weights: WeightPaths, calibrated: Quantized, folder: PathLike, settings: QuantizeSettings
) -> tuple[str, str]:
    """Write train_val.prototxt, a net with data and losses in fixed point, and train_val.caffemodel to start from.

    Args:
        document: the net of a solver. `weights`: in floating point.
        calibrated: the same net for deployment, quantized; the positions of its neurons are taken over by name.

    Returns:
        The paths of the prototxt and the caffemodel.

    Raises:
        QuantizeError: the net cannot be quantized, or has no layer of the calibrated one.
        CaffeCompatError: it or its data cannot be read.
    """
    folded, _ = folded_net(document, weights, settings)
    quantized = place_neurons(folded.message, settings)
    own = {layer.name for layer in quantized.layer if layer.type.endswith("Fixed")}
    if not own & {layer.name for layer in calibrated.message.layer}:
        raise QuantizeError(f"{document.path}: the solver's net has no layer of the net that is quantized")
    positions = {name: blobs for name, blobs in calibrated.blobs.items() if name.endswith("_fixed")}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    text, model = write_train_test(target, quantized, quantized, folded.blobs | positions, document, name="train_val")
    return text, model


def write_finetuned(
    calibrated: Quantized, trained: Mapping[str, Sequence[np.ndarray]], folder: PathLike, like: NetDocument,
    settings: QuantizeSettings, *, info: bool = False,
) -> Quantized:  # fmt: skip
    """Write the four files of a quantization again with what training made of the weights and positions.

    Args:
        calibrated: as it was before. `trained`: blobs by layer; layers that have none keep theirs.
        like: the net in floating point.

    Raises:
        QuantizeError: a position is missing.
        CaffeCompatError: a file cannot be written.
    """
    blobs = {name: [np.array(blob) for blob in trained.get(name, own)] for name, own in calibrated.blobs.items()}
    files = write_train_test(Path(folder), calibrated.message, calibrated.message, blobs, like)
    deployed, written = deploy_quantized(files[0], files[1], folder, settings, info=info)
    return Quantized(calibrated.message, blobs, deployed, files + written, list(deployed.info.lines))
