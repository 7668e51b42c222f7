#!/usr/bin/env python3
"""What calibrating costs: a batch of it against a plain forward pass of the net in floating point.

    python tools/bench/bench_quantize.py                     # ESPNet at 512x256, one picture at a time
    python tools/bench/bench_quantize.py --model F --size WxH --rounds N

Both are medians over the rounds. At most 3 is the aim: each activation is read for its limits, compared with up to
five grids, and rounded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch

from caffecompat import QuantizeSettings, quantize_net
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import pb

ROOT = Path(__file__).resolve().parents[2]


def plain_seconds(net: Net, shape: tuple[int, ...], rounds: int) -> float:
    """Of one forward pass."""
    batch = torch.randn(shape)
    seconds = []
    with torch.no_grad():
        for _ in range(rounds + 2):
            begin = time.perf_counter()
            net(batch)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[2:])


def calibration_seconds(model: pb.NetParameter, weights: Path, folder: Path, method: int, rounds: int) -> float:
    """Of one batch, with reading the picture."""
    ends: list[float] = []
    quantize_net(
        model, str(weights), folder / "pictures", folder / "out", QuantizeSettings(method=method),
        iterations=rounds + 2,
        on_iteration=lambda done, total: ends.append(time.perf_counter()),
    )  # fmt: skip
    return float(statistics.median(np.diff(ends)[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/espnet/deploy.prototxt"))
    parser.add_argument("--size", default="512x256", metavar="WxH")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    width, height = map(int, args.size.split("x"))
    model = deploy_net(args.model, size=(height, width)).message
    net = Net(model, "TEST", log=False)
    for module in net.modules():  # statistics of a net that was never trained are zeros
        for name, blob in module.named_parameters(recurse=False):
            if name == "variance":
                blob.data.fill_(1.0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pictures").mkdir()
        for number in range(4):
            small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            cv2.imwrite(str(folder / f"pictures/{number}.png"), cv2.resize(small, (width, height)))
        save_caffemodel(folder / "net.caffemodel", net.message, net.blobs_by_layer())
        plain = plain_seconds(net, (1, 3, height, width), args.rounds)
        print(f"plain forward pass {plain * 1e3:8.1f} ms")
        for method in (0, 1):
            seconds = calibration_seconds(model, folder / "net.caffemodel", folder, method, args.rounds)
            print(f"calibration, method {method} {seconds * 1e3:6.1f} ms, {seconds / plain:.2f} times as long")


if __name__ == "__main__":
    main()
