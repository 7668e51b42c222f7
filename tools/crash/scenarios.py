"""Small runs that have everything a resumed run must remember: data in order or shuffled, chance, losses to average."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import h5py
import numpy as np

from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum

__all__ = ["SCENARIOS", "TOGETHER", "TRAIN", "Scenario"]

TRAIN = ("caffecompat", "train", "--solver", "solver.prototxt", "--resume", "auto")

_COUNT = 22  # records, of which batches of 4 straddle the end
_PICTURES = "transform_param { mirror: true crop_size: 10 scale: 0.004 }"
_SOURCES = {
    "lmdb": f'type: "Data" data_param {{ source: "db" batch_size: 4 backend: LMDB MORE }} {_PICTURES}',
    "list": f'type: "ImageData" image_data_param {{ source: "list.txt" batch_size: 4 MORE }} {_PICTURES}',
    "hdf5": 'type: "HDF5Data" hdf5_data_param { source: "hdf5.txt" batch_size: 4 MORE }',
}
_SHUFFLE = {"lmdb": "cache: true shuffle: true threads: 2", "list": "shuffle: true", "hdf5": "shuffle: true"}
_NET = """
layer { name: "train" top: "data" top: "label" include { phase: TRAIN } SOURCE }
layer { name: "test" top: "data" top: "label" include { phase: TEST } SOURCE }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
_SOLVER = """net: "net.prototxt" type: "{type}" snapshot_format: {format} random_seed: 7 snapshot_prefix: "{prefix}"
base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 10 momentum: 0.9 weight_decay: 0.001 average_loss: 5
max_iter: {iterations} display: 1 snapshot: 3 test_iter: 2 test_interval: 8
"""


@dataclass(frozen=True)
class Scenario:
    """A solver, a net and its data.

    Attributes:
        source: of _SOURCES.
        type: of the solver.
        format: of its snapshots.
        more: other fields of the solver.
        processes: how many train together.
    """

    source: str
    shuffled: bool
    type: str
    format: str
    more: str = ""
    processes: int = 1

    @property
    def name(self) -> str:
        kept = ", keep/best/ema" if self.more else ""
        several = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.source}{' shuffled' * self.shuffled}, {self.type}, {self.format}{kept}{several}"

    @property
    def words(self) -> tuple[str, ...]:
        """The command that trains it, and goes on where it was killed."""
        return TRAIN if self.processes == 1 else (*TRAIN, "--processes", str(self.processes))

    def write(self, folder: Path, iterations: int = 26, prefix: str = "run") -> None:
        """Write all the files of a run.

        Args:
            iterations: the solver's max_iter.
            prefix: its snapshot_prefix.
        """
        source = _SOURCES[self.source].replace("MORE", _SHUFFLE[self.source] if self.shuffled else "")
        (folder / "net.prototxt").write_text(_NET.replace("SOURCE", source))
        (folder / "solver.prototxt").write_text(
            _SOLVER.format(type=self.type, format=self.format, iterations=iterations, prefix=prefix) + self.more
        )
        _write_data(self.source, folder)


SCENARIOS = [
    Scenario(*choice)
    for choice in product(("lmdb", "list", "hdf5"), (False, True), ("SGD", "Adam"), ("BINARYPROTO", "HDF5"))
]
_KEPT = 'snapshot_keep: 2 snapshot_best: "min:loss" ema_decay: 0.9'
SCENARIOS += [Scenario("list", True, "SGD", format, _KEPT) for format in ("BINARYPROTO", "HDF5")]
TOGETHER = [
    Scenario("lmdb", False, "SGD", "BINARYPROTO", processes=2),
    Scenario("lmdb", True, "Adam", "HDF5", processes=2),
    Scenario("list", True, "Adam", "BINARYPROTO", _KEPT, processes=2),
    Scenario("hdf5", True, "SGD", "HDF5", processes=2),
    Scenario("list", False, "SGD", "BINARYPROTO", processes=3),
]


def _write_data(source: str, folder: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (_COUNT, 12, 12, 3), np.uint8)
    labels = np.arange(_COUNT) % 3
    if source == "hdf5":
        for number, rows in enumerate((slice(0, 9), slice(9, _COUNT))):
            with h5py.File(folder / f"data{number}.h5", "w") as file:
                file["data"] = pictures[rows].transpose(0, 3, 1, 2)[..., :10, :10] / np.float32(255)
                file["label"] = labels[rows].astype(np.float32)
        (folder / "hdf5.txt").write_text("data0.h5\ndata1.h5\n")
    elif source == "list":
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(folder / f"{number}.png"), picture)
        (folder / "list.txt").write_text("".join(f"{number}.png {label}\n" for number, label in enumerate(labels)))
    else:
        with open_database(str(folder / "db"), "lmdb", "w") as writer:
            for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
                datum = Datum(3, 12, 12, picture.transpose(2, 0, 1).tobytes(), int(label))
                writer.put([(f"{number:08d}".encode(), encode_datum(datum))])
