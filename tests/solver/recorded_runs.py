"""Nets of all that draws or remembers, their data, and runs whose every loss and weight is recorded."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from caffecompat.solver import Solver
from tests.data.batches import make_database, picture, write_picture

COUNT = 10  # records, of which batches of 3 straddle the end


HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


TOPS = 'top: "data" top: "label"'
LMDB = f'layer {{ name: "d" type: "Data" {TOPS} data_param {{ source: "db" backend: LMDB batch_size: 3 MORE }} EXTRA }}'
LIST = (
    f'layer {{ name: "d" type: "ImageData" {TOPS} image_data_param {{ source: "list.txt" batch_size: 3 MORE }} EXTRA }}'
)
HDF5 = f'layer {{ name: "d" type: "HDF5Data" {TOPS} hdf5_data_param {{ source: "h5.txt" batch_size: 3 MORE }} EXTRA }}'
CHANCE = "transform_param { crop_size: 6 mirror: true scale: 0.01 }"
SCALE = "transform_param { scale: 0.01 }"


def data(text: str, more: str = "", extra: str = "") -> str:
    return text.replace("MORE", more).replace("EXTRA", extra)


def among(layers: str) -> str:
    """The head with other layers before it."""
    return layers + HEAD.replace('bottom: "data"', 'bottom: "last"')


# One net for each source, each layer that draws and each that remembers; and a test net where it says TEST.
NETS = {
    "lmdb": data(LMDB, extra=SCALE) + HEAD,
    "lmdb-chance": data(LMDB, extra=CHANCE) + HEAD,
    "lmdb-shuffled": data(LMDB, "cache: true shuffle: true threads: 3", CHANCE) + HEAD,
    "leveldb": data(LMDB, extra=SCALE).replace('"db" backend: LMDB', '"leveldb"') + HEAD,
    "list": data(LIST, extra=SCALE) + HEAD,
    "list-chance": data(LIST, "shuffle: true rand_skip: 3", CHANCE) + HEAD,
    "list-resized": data(
        LIST,
        "shuffle: true",
        "transform_param { crop_size: 6 mirror: true std_value: 58 random_resized_crop_param { min_area: 0.3 } "
        "distort_param { brightness_prob: 0.5 brightness_delta: 32 } }",
    )
    + HEAD,
    "lmdb-jitter": data(
        LMDB, extra="transform_param { crop_size: 6 mirror: true scale_min: 0.4 scale_max: 2 scale: 0.01 }"
    )
    + HEAD,
    "hdf5": data(HDF5) + HEAD,
    "hdf5-shuffled": data(HDF5, "shuffle: true") + HEAD,
    "windows": """layer { name: "d" type: "WindowData" top: "data" top: "label"
        transform_param { crop_size: 5 mirror: true } window_data_param { source: "windows.txt" batch_size: 3
        bg_threshold: 0.3 fg_fraction: 0.4 scale: 0.01 } }"""
    + HEAD,
    "annotated": """layer { name: "d" type: "AnnotatedData" top: "data" top: "label"
        data_param { source: "boxes" backend: LMDB batch_size: 3 }
        annotated_data_param { batch_sampler { max_sample: 1 max_trials: 9 sampler { min_scale: 0.3 }
            sample_constraint { min_jaccard_overlap: 0.1 } } }
        transform_param { mirror: true scale: 0.01 resize_param { prob: 1 height: 6 width: 6 interp_mode: LINEAR }
            expand_param { prob: 0.5 max_expand_ratio: 3 }
            distort_param { brightness_prob: 0.5 brightness_delta: 32 random_order_prob: 0.5 } } }
      layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
      layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" reduction_param { operation: SUMSQ }
        loss_weight: 1 }
      layer { name: "unused" type: "Silence" bottom: "label" }""",
    "dummy": """layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 3 dim: 5 }
        shape { dim: 3 } data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 2 } } }"""
    + HEAD,
    "dropout": data(HDF5)
    + among('layer { name: "drop" type: "Dropout" bottom: "data" top: "last" dropout_param { dropout_ratio: 0.4 } }'),
    "drop-path": data(HDF5)
    + among('layer { name: "drop" type: "DropPath" bottom: "data" top: "last" drop_path_param { drop_prob: 0.4 } }'),
    "mixup": data(LMDB, extra=SCALE)
    + among(
        'layer { name: "mix" type: "Mixup" bottom: "data" bottom: "label" top: "last" top: "soft" mixup_param { '
        "cutmix_alpha: 1 prob: 0.8 mode: ELEM off_iter: 10 num_classes: 10 } }"
    ).replace('bottom: "ip" bottom: "label"', 'bottom: "ip" bottom: "soft"'),
    "stochastic": data(LMDB, extra=SCALE)
    + among(
        'layer { name: "p" type: "Pooling" bottom: "data" top: "last" pooling_param { pool: STOCHASTIC '
        "kernel_size: 3 stride: 2 } }"
    ),
    "batch-norm": data(LMDB, extra=CHANCE) + among('layer { name: "bn" type: "BatchNorm" bottom: "data" top: "last" }'),
    "python": 'layer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "placed_data" '
    'layer: "Placed" } }' + HEAD,
    "two-sources": data(HDF5)
    + data(HDF5, "shuffle: true")
    .replace('name: "d"', 'name: "e"')
    .replace('"data"', '"b"')
    .replace('"label"', '"l"')
    .replace("h5.txt", "other.txt")
    + among('layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "b" top: "last" }'),
    "lstm": """layer { name: "d" type: "HDF5Data" top: "data" top: "label" top: "cont"
        hdf5_data_param { source: "steps.txt" batch_size: 3 } }
      layer { name: "lstm" type: "LSTM" bottom: "data" bottom: "cont" top: "lstm" recurrent_param { num_output: 4
        weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
      layer { name: "loss" type: "SoftmaxWithLoss" bottom: "lstm" bottom: "label" top: "loss"
        softmax_param { axis: 2 } }""",
    "tests": data(LIST, "shuffle: true", CHANCE + " include { phase: TRAIN }")
    + data(LMDB, extra=SCALE.replace("scale", "crop_size: 6 scale") + " include { phase: TEST }").replace(
        "batch_size: 3", "batch_size: 4"
    )
    + among("""layer { name: "drop" type: "Dropout" bottom: "data" top: "last" }
      layer { name: "extra" type: "InnerProduct" bottom: "data" top: "extra" include { phase: TEST }
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }"""),
}


PLACED = """
import random
import numpy as np
import caffe

class Placed(caffe.Layer):
    def setup(self, bottom, top):
        self.at = 0
    def reshape(self, bottom, top):
        top[0].reshape(3, 5)
        top[1].reshape(3)
    def forward(self, bottom, top):
        self.at += 1
        top[0].data[...] = np.random.rand(3, 5) + random.random() + self.at
        top[1].data[...] = self.at % 4
    def backward(self, top, propagate_down, bottom):
        pass
    def state(self):
        return {"at": self.at}
    def restore(self, state):
        self.at = state["at"]
"""


SOLVER = 'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 weight_decay: 0.001 max_iter: 12 snapshot_prefix: "s" '


def write_data(at: Path) -> None:
    """Data for all of these nets, in a folder."""
    pictures = [picture(8, 8, seed=k) for k in range(COUNT)]
    for name, backend in (("db", "lmdb"), ("leveldb", "leveldb")):
        make_database(at / name, pictures, backend)
    found = np.array([[1, 0, 0.1, 0.1, 0.6, 0.7, 0]], np.float32)
    with open_database(at / "boxes", "lmdb", "w") as database:
        for k, pixels in enumerate(pictures):
            plain = Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), -1)
            database.put([(b"%08d" % k, encode_annotated_datum(AnnotatedDatum(plain, found[: k % 2])))])
    generator = np.random.default_rng(1)
    for k, pixels in enumerate(pictures):
        write_picture(at / f"{k}.png", pixels)
    (at / "list.txt").write_text("".join(f"{k}.png {k % 4}\n" for k in range(COUNT)))
    for name, rows in (("a", 4), ("b", 3), ("c", 5)):
        with h5py.File(at / f"{name}.h5", "w") as file:
            file["data"] = file["b"] = generator.standard_normal((rows, 5)).astype("f4")
            file["label"] = file["l"] = generator.integers(0, 4, rows).astype("f4")
    (at / "h5.txt").write_text("a.h5\nb.h5\n")
    (at / "other.txt").write_text("c.h5\nb.h5\n")
    with h5py.File(at / "steps.h5", "w") as file:
        file["data"] = generator.standard_normal((7, 2, 5)).astype("f4")
        file["label"] = generator.integers(0, 4, (7, 2)).astype("f4")
        file["cont"] = np.ones((7, 2), "f4")
    (at / "steps.txt").write_text("steps.h5\n")
    windows = "2\n3 0.9 1 1 6 7\n9 0.1 0 0 6 6\n"
    (at / "windows.txt").write_text("".join(f"# {k}\n{at}/{k}.png\n3\n8\n8\n{windows}" for k in range(COUNT)))
    (at / "placed_data.py").write_text(PLACED)


class Run:
    """A solver whose losses, weights and test scores are recorded."""

    def __init__(self, net: str, solver: str = "") -> None:
        Path("net.prototxt").write_text(net)
        tests = " test_iter: 3 test_interval: 2 test_initialization: false" if "phase: TEST" in net else ""
        policy = "" if "lr_policy" in solver else ' lr_policy: "fixed"'
        policy += "" if "snapshot: " in solver else " snapshot: 1"
        Path("solver.prototxt").write_text(SOLVER + solver + policy + tests)
        self.solver = Solver("solver.prototxt")
        self.seen: dict[int, Any] = {}
        self.scores: dict[int, Any] = {}
        self.solver.observers.append(self._record)
        test = self.solver.test
        self.solver.test = lambda index: self.scores.setdefault(self.solver.iter, test(index))  # type: ignore[method-assign]

    def _record(self, solver: Solver) -> None:
        weights = b"".join(blob.tobytes() for blobs in solver.net.blobs_by_layer().values() for blob in blobs)
        losses = [float(loss).hex() for loss in solver.display.losses]
        self.seen[solver.iter] = losses, solver.smoothed_loss.hex(), hash(weights)

    def close(self) -> None:
        for net in (self.solver.net, *self.solver.test_nets):
            net.close()


def somewhere_else() -> None:
    """Generators as another process has them."""
    torch.manual_seed(12345)
    np.random.seed(999)
    random.seed(888)
