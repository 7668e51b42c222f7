"""Small nets for several processes, and what starts, watches and reads their runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from caffecompat.formats import open_weights

ROOT = Path(__file__).parents[2]
DATA = 'layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "data.txt" %s } }'
PHASED = (
    'layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: %s } '
    'hdf5_data_param { source: "%s" batch_size: 4 } }'
)
IMAGES = (
    'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" '
    "batch_size: 4 shuffle: true } transform_param { scale: 0.01 mirror: true } }"
)
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4
  kernel_size: 3 weight_filler { type: "xavier" } } }"""
NORM = """layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "conv1" scale_param { bias_term: true } }"""
AROUND = NORM.replace('"norm" }', '"norm" batch_norm_param { use_global_stats: true update_global_stats: true } }')
OUTPUT = """layer { name: "output" type: "HDF5Output" bottom: "data" bottom: "label" include { phase: TRAIN }
  hdf5_output_param { file_name: "written.h5" } }"""
REST = """layer { name: "relu" type: "ReLU" bottom: "%s" top: "relu" }
layer { name: "ip" type: "InnerProduct" bottom: "relu" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "unused" type: "InnerProduct" bottom: "relu" top: "unused" inner_product_param { num_output: 2 } }
layer { name: "silence" type: "Silence" bottom: "unused" }"""
NETS = {
    "rows": "\n".join([DATA % "batch_size: 4", CONV, REST % "conv"]),
    "images": "\n".join([IMAGES, CONV, REST % "conv"]),
    "norm": "\n".join([DATA % "batch_size: 4", CONV, NORM, REST % "conv1"]),
    "spiked": "\n".join(
        [
            PHASED % ("TRAIN", "spiked.txt"),
            PHASED % ("TEST", "data.txt"),
            CONV,
            REST % "conv",
            "global_grad_scale_dynamic: true",
        ]
    ),
    "written": "\n".join([DATA % "batch_size: 4", CONV, REST % "conv", OUTPUT]),
    "around": "\n".join([DATA % "batch_size: 4", CONV, AROUND, REST % "conv1"]),
    "large_around": "\n".join([DATA % "batch_size: 8", CONV, AROUND, REST % "conv1"]),
    "own": "\n".join([PHASED % ("TRAIN", "own_%r_of_%n.txt"), PHASED % ("TEST", "data.txt"), CONV, REST % "conv"]),
    "large": "\n".join([DATA % "batch_size: 8", CONV, NORM, REST % "conv1"]),
}
SOLVER = """net: "%s.prototxt" base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 7 weight_decay: 0.001 max_iter: 20
snapshot_prefix: "snap" random_seed: 3 test_iter: 5 test_interval: 100 snapshot_after_train: false solver_mode: CPU %s
"""
RULES = {
    "sgd": ("rows", "momentum: 0.9"),
    "adam": ("rows", 'type: "Adam" momentum: 0.9'),
    "nesterov": ("rows", 'type: "Nesterov" momentum: 0.9'),
    "passes": ("rows", "momentum: 0.9 iter_size: 2"),
    "images": ("images", "momentum: 0.9"),
    "clipped": ("rows", "momentum: 0.9 clip_gradients: 0.3"),
    "plateau": ("rows", "momentum: 0.9 average_loss: 2 plateau_winsize: [2, 3]"),
    "averaged": ("rows", 'momentum: 0.9 ema_decay: 0.9 snapshot_best: "min:loss"'),
    "scaled": ("spiked", "momentum: 0.9"),
    "half": ("rows", "momentum: 0.9"),
}
# What else a Solver gets.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "plateau": {"overrides": ["lr_policy=plateau"]},
    "averaged": {"overrides": ["test_interval=5"]},
    "half": {"amp": "bf16"},
}


def write_files(at: Path) -> None:
    """Write nets, solvers and data; 22 records, so that batches straddle their end."""
    generator = np.random.default_rng(0)
    with h5py.File(at / "data.h5", "w") as file:
        labels = generator.integers(0, 3, 22)
        file["data"] = (labels[:, None, None, None] + generator.standard_normal((22, 2, 6, 6))).astype("f4")
        file["label"] = labels.astype("f4")
        rows = file["data"][:]
    for size in (2, 3):
        for rank in range(size):
            with h5py.File(at / f"own_{rank}_of_{size}.h5", "w") as file:
                file["data"], file["label"] = rows[rank::size], labels[rank::size].astype("f4")
            (at / f"own_{rank}_of_{size}.txt").write_text(f"own_{rank}_of_{size}.h5\n")
    rows[7, 0, 3, 3] = np.inf  # a record of the second process, of two or three
    with h5py.File(at / "spiked.h5", "w") as file:
        file["data"], file["label"] = rows, labels.astype("f4")
    (at / "spiked.txt").write_text("spiked.h5\n")
    (at / "data.txt").write_text("data.h5\n")
    for number in range(22):
        cv2.imwrite(str(at / f"{number}.png"), generator.integers(0, 256, (6, 6, 3), np.uint8))
    (at / "list.txt").write_text("".join(f"{number}.png {number % 3}\n" for number in range(22)))
    for name, text in NETS.items():
        (at / f"{name}.prototxt").write_text(text)
    for name, (net, text) in RULES.items():
        (at / f"{name}_solver.prototxt").write_text(SOLVER % (net, text))
    for name in ("norm", "large", "around", "large_around", "written", "own"):
        (at / f"{name}_solver.prototxt").write_text(SOLVER % (name, "momentum: 0.9"))


def environment(size: int, rank: int, port: int) -> dict[str, str]:
    group = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port), **group}


def start(folder: Path, *flags: str, processes: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "caffecompat", "train", "--processes", str(processes), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def long_run(folder: Path, prefix: str, iterations: int) -> list[str]:
    settings = [f"max_iter={iterations}", "snapshot=50", f"snapshot_prefix={prefix}", "display=10",
                "snapshot_after_train=true", "test_interval=40"]  # fmt: skip
    return ["--solver", "images_solver.prototxt", *(f"--set={setting}" for setting in settings)]


def wait_for(folder: Path, process: subprocess.Popen[str], pattern: str) -> None:
    """Until a file of that name is there."""
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes of the group, by rank."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def weights(path: Path) -> list[np.ndarray]:
    return [blob.array() for layer in open_weights(path).layers for blob in layer.blobs if blob is not None]
