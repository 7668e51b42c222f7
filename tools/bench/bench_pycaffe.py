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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

import caffecompat.pycaffe as caffe
from caffecompat.schema import parse_text, pb, write_text
from caffecompat.zoo import Segmentation, segmentation_files

Call = Callable[[], object]


def googlenet() -> str:
    """GoogLeNet's deploy.prototxt (BVLC's), batch of one."""
    spec = caffe.NetSpec()
    learned: dict[str, Any] = {"weight_filler": {"type": "xavier"}}

    def conv(bottom: Any, name: str, outputs: int, kernel: int, stride: int = 1) -> Any:
        made = caffe.layers.Convolution(
            bottom, num_output=outputs, kernel_size=kernel, stride=stride, pad=kernel // 2, **learned
        )
        spec[name] = made
        spec[f"{name}/relu"] = relu = caffe.layers.ReLU(made, in_place=True)
        return relu

    def pool(bottom: Any, kernel: int, stride: int, pad: int = 0, kind: int = caffe.params.Pooling.MAX) -> Any:
        return caffe.layers.Pooling(bottom, pool=kind, kernel_size=kernel, stride=stride, pad=pad)

    def inception(bottom: Any, name: str, *sizes: int) -> Any:
        one, three_before, three, five_before, five, pooled = sizes
        branches = [
            conv(bottom, f"{name}/1x1", one, 1),
            conv(conv(bottom, f"{name}/3x3_reduce", three_before, 1), f"{name}/3x3", three, 3),
            conv(conv(bottom, f"{name}/5x5_reduce", five_before, 1), f"{name}/5x5", five, 5),
            conv(pool(bottom, 3, 1, 1), f"{name}/pool_proj", pooled, 1),
        ]
        spec[f"{name}/output"] = caffe.layers.Concat(*branches)
        return spec[f"{name}/output"]

    spec.data = caffe.layers.Input(shape={"dim": [1, 3, 224, 224]})
    x = pool(conv(spec.data, "conv1", 64, 7, 2), 3, 2)
    x = caffe.layers.LRN(x, local_size=5, alpha=1e-4, beta=0.75)
    x = conv(conv(x, "conv2/3x3_reduce", 64, 1), "conv2/3x3", 192, 3)
    x = pool(caffe.layers.LRN(x, local_size=5, alpha=1e-4, beta=0.75), 3, 2)
    x = inception(x, "inception_3a", 64, 96, 128, 16, 32, 32)
    x = pool(inception(x, "inception_3b", 128, 128, 192, 32, 96, 64), 3, 2)
    x = inception(x, "inception_4a", 192, 96, 208, 16, 48, 64)
    x = inception(x, "inception_4b", 160, 112, 224, 24, 64, 64)
    x = inception(x, "inception_4c", 128, 128, 256, 24, 64, 64)
    x = inception(x, "inception_4d", 112, 144, 288, 32, 64, 64)
    x = pool(inception(x, "inception_4e", 256, 160, 320, 32, 128, 128), 3, 2)
    x = inception(x, "inception_5a", 256, 160, 320, 32, 128, 128)
    x = inception(x, "inception_5b", 384, 192, 384, 48, 128, 128)
    x = caffe.layers.Dropout(pool(x, 7, 1, kind=caffe.params.Pooling.AVE), dropout_ratio=0.4, in_place=False)
    spec.classifier = caffe.layers.InnerProduct(x, num_output=1000, **learned)
    spec.prob = caffe.layers.Softmax(spec.classifier)
    return str(spec.to_proto())


def espnet(height: int, width: int) -> str:
    """ESPNet's deploy.prototxt for pictures of this size."""
    message = parse_text(segmentation_files("espnet", Segmentation())["deploy.prototxt"], pb.NetParameter())
    message.layer[0].input_param.shape[0].dim[:] = [1, 3, height, width]
    return write_text(message)


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
