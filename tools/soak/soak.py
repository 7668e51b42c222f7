#!/usr/bin/env python3
"""Whether long work leaks: memory, open files and threads while a net trains and while nets and solvers come and go.

    python tools/soak/soak.py                          # 20000 iterations, 2000 nets and 2000 solvers
    python tools/soak/soak.py --iterations 2000 --objects 200

Prints a table with a row for each tenth of the work; the last line says whether the second half grew. Memory is the
process's resident set; nothing helps the garbage collector. Exit status 1: something grew.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("GLOG_minloglevel", "2")

import cv2
import numpy as np

import caffecompat.pycaffe as caffe
from caffecompat import Solver
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum

NET = """
layer { name: "pictures" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        data_param { source: "lmdb" batch_size: 8 backend: LMDB }
        transform_param { mirror: true crop_size: 12 scale: 0.004 } }
layer { name: "files" type: "ImageData" top: "data" top: "label" include { phase: TEST }
        image_data_param { source: "list.txt" batch_size: 8 shuffle: true new_height: 12 new_width: 12 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 snapshot_prefix: "soak" average_loss: 20
max_iter: {iterations} snapshot: {snapshot} test_iter: 2 test_interval: 500 snapshot_after_train: false"""
ALLOWED = 1.02  # growth of memory over the second half of the work; the allocator's own ups and downs are below


@dataclass(frozen=True)
class Use:
    """What the process holds: resident memory in bytes, open files, threads."""

    memory: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> Use:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threading.active_count())

    def __str__(self) -> str:
        return f"{self.memory / 2**20:9.1f} MiB {self.files:6} files {self.threads:6} threads"


def write_data() -> None:
    """Sixty small pictures, as an LMDB and as files with a list, in the current folder."""
    generator = np.random.default_rng(0)
    Path("pictures").mkdir()
    lines = []
    with open_database("lmdb", "lmdb", "w") as writer:
        for number in range(60):
            picture = generator.integers(0, 256, (16, 16, 3), np.uint8)
            cv2.imwrite(f"pictures/{number}.png", picture)
            lines.append(f"pictures/{number}.png {number % 3}\n")
            datum = Datum(3, 16, 16, picture.transpose(2, 0, 1).tobytes(), number % 3)
            writer.put([(f"{number:08d}".encode(), encode_datum(datum))])
    Path("list.txt").write_text("".join(lines))
    Path("net.prototxt").write_text(NET)


@contextlib.contextmanager
def in_a_folder() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def watch(title: str, count: int, work: Callable[[int], None]) -> bool:
    """Do something `count` times in ten parts; whether what the process holds grew from the middle to the end."""
    print(f"{title}, {count} times")
    uses = []
    for part in range(10):
        for number in range(part * count // 10, (part + 1) * count // 10):
            work(number)
        uses.append(Use.now())
        print(f"{(part + 1) * count // 10:8}  {uses[-1]}", flush=True)
    middle, end = uses[4], uses[-1]
    grew = end.memory > middle.memory * ALLOWED or end.files > middle.files or end.threads > middle.threads
    print(f"{'GREW' if grew else 'flat'} over the second half: memory x{end.memory / middle.memory:.3f}\n", flush=True)
    return grew


def train(iterations: int) -> bool:
    solver = Solver("solver.prototxt")
    return watch("iterations of a solver", iterations, lambda number: solver.step(1))


def make_net(number: int) -> None:
    net = caffe.Net("net.prototxt", caffe.TRAIN if number % 2 else caffe.TEST)
    net.forward()


def make_solver(number: int) -> None:
    caffe.SGDSolver("solver.prototxt").step(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=2_000, help="nets, and as many solvers")
    args = parser.parse_args()
    with in_a_folder():
        write_data()
        Path("solver.prototxt").write_text(
            SOLVER.format(iterations=args.iterations + 1, snapshot=max(1, args.iterations // 40))
        )
        grew = [
            train(args.iterations),
            watch("pycaffe nets made and dropped", args.objects, make_net),
            watch("pycaffe solvers made, stepped and dropped", args.objects, make_solver),
        ]
    return int(any(grew))


if __name__ == "__main__":
    sys.exit(main())
