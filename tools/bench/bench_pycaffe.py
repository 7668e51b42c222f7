#!/usr/bin/env python3
"""What pycaffe's face costs: net.forward() with every blob kept, against the plain GraphModule of the same net.

    python tools/bench/bench_pycaffe.py [--runs 15] [--threads 1]

Each row interleaves both in one run over the same input and prints medians of wall-clock and of processor time; the
latter stands where others share the machine. 1.10 is the limit. The face also lays out its outputs in C order. The
third variant first looks at every blob, as a notebook may have done, without holding on to any.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from deploy_nets import espnet, googlenet

import caffecompat.pycaffe as caffe

Call = Callable[[], object]


def compare(title: str, text: str, runs: int) -> None:
    """Print medians of the plain module and of pycaffe's face, and the ratios of the latter to the former."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        plain, face, seen = (caffe.Net(file.name, caffe.TEST) for _ in range(3))
    shape = plain.blobs["data"].shape
    batch = np.random.default_rng(0).standard_normal(shape, np.float32)
    plain._core.allow_inplace(True)
    feed = {"data": torch.from_numpy(batch)}
    for net in (face, seen):
        net.blobs["data"].data[...] = batch
    for blob in seen.blobs.values():
        assert blob.data.size

    @torch.no_grad()
    def module() -> object:
        return plain._core.forward(feed)

    variants: dict[str, Call] = {"GraphModule": module, "pycaffe": face.forward, "all blobs seen": seen.forward}
    wall: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for run in range(runs + 2):
        for name, call in variants.items():
            begun, used = time.perf_counter(), time.process_time()
            call()
            if run >= 2:
                wall[name].append(time.perf_counter() - begun)
                cpu[name].append(time.process_time() - used)
    print(title)
    for name in variants:
        clock, used = (statistics.median(times[name]) * 1000 for times in (wall, cpu))
        over = [statistics.median(times[name]) / statistics.median(times["GraphModule"]) for times in (wall, cpu)]
        print(f"  {name:<16}{clock:9.2f} ms ({over[0]:.3f})   processor {used:9.2f} ms ({over[1]:.3f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    compare("ESPNet 512x256", espnet(256, 512), args.runs)
    compare("GoogLeNet 224x224", googlenet(), args.runs)


if __name__ == "__main__":
    main()
