"""A CRNN in little: pictures of up to three signs in a row, read by a convolution and an LSTM in both directions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

BATCH, STEPS, SIGNS, BLANK = 16, 12, 3, 3

_SIZES = f"time_step: {STEPS} batch_size: {BATCH}"
_LSTM = 'recurrent_param { num_output: 12 weight_filler { type: "uniform" min: -0.3 max: 0.3 } }'
BODY = f"""
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{ num_output: 8 kernel_size: 3
  pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "columns" type: "Transpose" bottom: "pool" top: "columns"
  transpose_param {{ dim: 3 dim: 0 dim: 1 dim: 2 }} }}
layer {{ name: "steps" type: "Reshape" bottom: "columns" top: "steps"
  reshape_param {{ shape {{ dim: 0 dim: 0 dim: -1 }} }} }}
layer {{ name: "indicator" type: "ContinuationIndicator" top: "indicator" continuation_indicator_param {{ {_SIZES} }} }}
layer {{ name: "forwards" type: "LSTM" bottom: "steps" bottom: "indicator" top: "forwards" {_LSTM} }}
layer {{ name: "turned" type: "Reverse" bottom: "steps" top: "turned" reverse_param {{ axis: 0 }} }}
layer {{ name: "backwards" type: "LSTM" bottom: "turned" bottom: "indicator" top: "backwards" {_LSTM} }}
layer {{ name: "back" type: "Reverse" bottom: "backwards" top: "back" reverse_param {{ axis: 0 }} }}
layer {{ name: "both" type: "Concat" bottom: "forwards" bottom: "back" top: "both" concat_param {{ axis: 2 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param {{ num_output: {SIGNS + 1} axis: 2
  weight_filler {{ type: "xavier" }} }} }}
"""
ENDS = f"""
layer {{ name: "loss" type: "CtcLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 1
  ctc_loss_param {{ alphabet_size: {SIGNS + 1} blank_label: {BLANK} time_step: {STEPS} }} }}
layer {{ name: "by_item" type: "Transpose" bottom: "fc" top: "by_item" transpose_param {{ dim: 1 dim: 0 dim: 2 }}
  include {{ phase: TEST }} }}
layer {{ name: "accuracy" type: "LabelsequenceAccuracy" bottom: "by_item" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} labelsequence_accuracy_param {{ blank_label: {BLANK} }} }}
"""


def write_pictures(path: Path, count: int, seed: int) -> None:
    """An HDF5 file of pictures `data` (count, 1, 8, 24) and their signs `label` (count, 3), filled up with BLANK."""
    rng = np.random.default_rng(seed)
    glyphs = np.zeros((SIGNS, 8, 5), np.float32)
    glyphs[0, :, 2] = glyphs[1, 2::3] = 1  # a bar, two dashes
    glyphs[2, range(8), [0, 1, 2, 3, 4, 3, 2, 1]] = 1  # an angle
    data = rng.normal(0, 0.1, (count, 1, 8, 24)).astype(np.float32)
    label = np.full((count, 3), BLANK, np.float32)
    for picture, row in zip(data[:, 0], label, strict=True):
        length = rng.integers(1, 4)
        row[:length] = signs = rng.integers(0, SIGNS, length)
        starts = np.sort(rng.choice(4, length, replace=False)) * 6 + rng.integers(0, 2, length)
        for sign, start in zip(signs, starts, strict=True):
            picture[:, start : start + 5] += glyphs[sign]
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, label


def write_train_val(folder: Path) -> Path:
    """The net that trains, with its pictures: 160 to learn from and 96 others."""
    text = ""
    for phase, count, seed in (("TRAIN", 160, 1), ("TEST", 96, 2)):
        write_pictures(folder / f"{phase}.h5", count, seed)
        (folder / f"{phase}.txt").write_text(f"{folder}/{phase}.h5\n")
        text += (
            f'layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" include {{ phase: {phase} }}\n'
            f'hdf5_data_param {{ source: "{folder}/{phase}.txt" batch_size: {BATCH} }} }}\n'
        )
    path = folder / "train_val.prototxt"
    path.write_text(text + BODY + ENDS)
    return path
