"""How fast a large caffemodel opens and loads, and how much memory that takes.

Makes a file of VGG16's shape (138 million parameters, 528 MiB) in a temporary folder and measures, taking turns and
reporting medians: listing its contents, loading it into memory of one's own, and, to compare, one copy of the file.

    python tools/bench/bench_caffemodel.py [--rounds 7] [--keep FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.formats import load_caffemodel, open_caffemodel, save_caffemodel

# (name, channels in, channels out) of the 3x3 convolutions, then (name, inputs, outputs) of the full connections
_CONVOLUTIONS = (
    ("conv1_1", 3, 64), ("conv1_2", 64, 64), ("conv2_1", 64, 128), ("conv2_2", 128, 128), ("conv3_1", 128, 256),
    ("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv4_1", 256, 512), ("conv4_2", 512, 512),
    ("conv4_3", 512, 512), ("conv5_1", 512, 512), ("conv5_2", 512, 512), ("conv5_3", 512, 512),
)  # fmt: skip
_FULL = (("fc6", 25088, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000))

_MEMORY = """
{imports}
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
before = peak()
{work}
print(peak() - before)
"""


def make_vgg16(path: Path) -> None:
    """Write a caffemodel with VGG16's layers and random values."""
    from caffecompat.schema import pb

    net = pb.NetParameter(name="VGG_ILSVRC_16_layers")
    blobs: dict[str, list[np.ndarray]] = {}
    random = np.random.default_rng(0)
    shapes: list[tuple[str, str, tuple[int, ...]]] = [
        *((name, "Convolution", (outputs, inputs, 3, 3)) for name, inputs, outputs in _CONVOLUTIONS),
        *((name, "InnerProduct", (outputs, inputs)) for name, inputs, outputs in _FULL),
    ]
    for name, kind, shape in shapes:
        net.layer.add(name=name, type=kind)
        net.layer.add(name=f"relu_{name}", type="ReLU")
        blobs[name] = [random.random(shape, np.float32), random.random(shape[:1], np.float32)]
    save_caffemodel(path, net, blobs)


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call; what it returns is freed after the clock has stopped."""
    begin = time.perf_counter()
    result = work()
    end = time.perf_counter()
    del result
    return end - begin


def mebibytes(imports: str, work: str) -> float:
    """How far a fresh process grows at its peak over its imports when it does `work` (mapped pages included)."""
    code = _MEMORY.format(imports=imports, work=work)
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return int(printed) / 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each kind (default 7)")
    parser.add_argument("--keep", type=Path, help="use this file, made when absent, instead of a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "vgg16.caffemodel"
        if not path.exists():
            make_vgg16(path)
        report(path, args.rounds)
    return 0


def report(path: Path, rounds: int) -> None:
    """Print the table for one file."""
    works: dict[str, Callable[[], Any]] = {
        "one copy of the file": path.read_bytes,
        "list the contents": lambda: [
            blob.shape for layer in open_caffemodel(path).layers for blob in layer.blobs if blob
        ],
        "load": lambda: load_caffemodel(path),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work)
            if turn:  # the first one fills the page cache
                times[name].append(spent)
    median = {name: statistics.median(values) for name, values in times.items()}
    size = os.path.getsize(path)
    importing = "from caffecompat.formats import load_caffemodel, open_caffemodel"
    print(f"{path.name}: {size / 2**20:.1f} MiB; medians of {rounds}")
    for name, value in median.items():
        low, high = min(times[name]) * 1000, max(times[name]) * 1000
        print(f"  {name:<22}{value * 1000:9.1f} ms   (from {low:.1f} to {high:.1f})")
    print(f"  load / one copy       {median['load'] / median['one copy of the file']:9.2f}")
    print(f"  peak memory: list     {mebibytes(importing, f'open_caffemodel({str(path)!r})'):9.1f} MiB")
    print(f"  peak memory: load     {mebibytes(importing, f'weights = load_caffemodel({str(path)!r})'):9.1f} MiB")


if __name__ == "__main__":
    sys.exit(main())
