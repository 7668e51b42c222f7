#!/usr/bin/env python3
"""How fast the data layers read, against OpenCV's bare decoder on the same bytes, and what reading costs a trainer.

    python tools/bench/bench_loader.py                 # the table of readers
    python tools/bench/bench_loader.py --trainer       # and a small net's training step, alone and while reading

Readers are compared by processor time a picture, one loader thread against one thread that only decodes, taken in
turns: on a shared machine the ratio stands where wall-clock times wander. 0.85 or more is the aim. What a reader adds
to decoding is mostly the writing of float32 pixels, four bytes for each decoded one, to memory beyond the caches.
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

import cv2
import numpy as np

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.schema import parse_text, pb

PICTURES = 24


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with detail at all scales, about as hard to compress as a photograph."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(8):
        rows, columns = (max(1, size >> octave) for size in (height, width))
        noise = generator.normal(0, 3.0 * 1.7**octave, (rows, columns, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 110, 0, 255).astype(np.uint8)


def regions(height: int, width: int, seed: int) -> np.ndarray:
    """A label picture: large regions of few classes."""
    coarse = np.random.default_rng(seed).integers(0, 19, (height // 64, width // 64), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """A file's bytes: JPEG of quality 90, or PNG."""
    return bytes(cv2.imencode(f".{kind}", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90] if kind == "jpg" else [])[1])


def source_of(text: str) -> Any:
    """The source of a layer given as text."""
    layer = pb.LayerParameter()
    parse_text(text, layer)
    return make_source(layer, pb.TRAIN, Fork.XILINX)


class Case:
    """One reader and the bytes it decodes."""

    def __init__(self, folder: Path, name: str, height: int, width: int, kind: str, transform: str, batch: int) -> None:
        self.name = name
        self.batch = batch
        self.flags = [cv2.IMREAD_UNCHANGED]
        pictures = [encode(scene(height, width, k), kind) for k in range(PICTURES)]
        self.files = [[data] for data in pictures]
        text = f"transform_param {{ {transform} }}"
        if name.startswith("Data"):
            with open_database(folder / "db", "lmdb", "w") as database:
                database.put(
                    [
                        (b"%08d" % k, encode_datum(Datum(data=data, label=k, encoded=True)))
                        for k, data in enumerate(pictures)
                    ]
                )
            fields = f'source: "{folder}/db" backend: LMDB batch_size: {batch} threads: 1'
            self.text = f'type: "Data" top: "data" top: "label" data_param {{ {fields} }} {text}'
            return
        labels = [encode(regions(height, width, k), "png") for k in range(PICTURES)]
        for k, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            (folder / f"{k}.{kind}").write_bytes(picture)
            (folder / f"label{k}.png").write_bytes(label)
        (folder / "list.txt").write_text("".join(f"{k}.{kind} label{k}.png\n" for k in range(PICTURES)))
        self.files = [list(pair) for pair in zip(pictures, labels, strict=True)]
        self.flags = [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE]
        fields = f'source: "{folder}/list.txt" root_folder: "{folder}/" batch_size: {batch} shuffle: true'
        self.text = f'type: "ImageSegData" top: "data" top: "label" image_data_param {{ {fields} }} {text}'

    def decode(self) -> None:
        """All pictures once, by the decoder alone."""
        for files in self.files:
            for data, flag in zip(files, self.flags, strict=True):
                cv2.imdecode(np.frombuffer(data, np.uint8), flag)


def processor_time(work: Callable[[], object]) -> float:
    """Seconds of processor time, over all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def settle() -> None:
    """Wait until no thread works: the reader has read ahead as far as it goes."""
    last = -1.0
    while (now := time.process_time()) - last > 2e-4:
        last = now
        time.sleep(0.02)


def compare(case: Case, rounds: int) -> tuple[float, float]:
    """Processor seconds a picture: decoder alone, whole reader."""
    source = source_of(case.text)
    batches = PICTURES // case.batch
    bare, whole = [], []

    def read() -> None:  # begins and ends with the queue full: as many pictures are read as taken
        for _ in range(batches):
            source.next()
        settle()

    read()
    case.decode()
    for _ in range(rounds):
        bare.append(processor_time(case.decode))
        whole.append(processor_time(read))
    source.close()
    return statistics.median(bare) / PICTURES, statistics.median(whole) / PICTURES


def cases(folder: Path) -> list[Case]:
    """What is measured: the tutorial's input, and ImageNet's."""
    mean = "mean_value: 73 mean_value: 82 mean_value: 72 scale: 0.022"
    rows = [
        ("ImageSegData 1024x512 PNG+PNG", 512, 1024, "png", mean, 2),
        ("ImageSegData 1024x512 JPEG+PNG", 512, 1024, "jpg", mean, 2),
        (
            "ImageSegData 1024x512 JPEG+PNG, crop 512, mirror",
            512,
            1024,
            "jpg",
            mean + " crop_size: 512 mirror: true",
            2,
        ),
        ("Data LMDB 1024x512 JPEG", 512, 1024, "jpg", mean, 2),
        ("Data LMDB 500x375 JPEG", 375, 500, "jpg", mean, 8),
        ("Data LMDB 256x256 JPEG, crop 227, mirror", 256, 256, "jpg", mean + " crop_size: 227 mirror: true", 8),
        ("Data LMDB 256x256 PNG, crop 227, mirror", 256, 256, "png", mean + " crop_size: 227 mirror: true", 8),
    ]
    made = []
    for k, row in enumerate(rows):
        (folder / str(k)).mkdir()
        made.append(Case(folder / str(k), *row))
    return made


def train(rounds: int, case: Case) -> None:
    """Steps of a small net at the tutorial's input size: on one batch again and again, and on batches being read."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for out, stride in ((16, 2), (32, 2), (64, 2), (64, 1), (64, 1), (128, 1), (19, 1)):
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        channels = out
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9)

    def step(data: torch.Tensor, label: torch.Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data), label).backward()
        optimizer.step()

    def tensors(batch: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(batch[0]), torch.from_numpy(batch[1])[:, 0, ::8, ::8].long()

    source = source_of(case.text)
    fixed = tensors(source.next())
    alone: list[float] = []
    reading: list[float] = []
    kinds: list[tuple[list[float], Callable[[], tuple[torch.Tensor, torch.Tensor]]]] = [
        (alone, lambda: fixed),
        (reading, lambda: tensors(source.next())),
    ]
    for _ in range(rounds):
        for times, batch_of in kinds:
            step(*batch_of())
            start = time.perf_counter()
            for _ in range(8):
                step(*batch_of())
            times.append((time.perf_counter() - start) / 8)
    source.close()
    one, other = statistics.median(alone), statistics.median(reading)
    print(f"step on {case.name}: {one * 1e3:.0f} ms alone, {other * 1e3:.0f} ms while reading, x{other / one:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured; the median counts")
    parser.add_argument("--trainer", action="store_true", help="also measure a training step with and without reading")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = cases(Path(folder))
        print(f"{'':52}{'decode':>10}{'reader':>10}{'pictures/s':>12}{'ratio':>8}")
        for case in made:
            bare, whole = compare(case, flags.rounds)
            print(f"{case.name:52}{bare * 1e3:7.2f} ms{whole * 1e3:7.2f} ms{1 / whole:12.0f}{bare / whole:8.3f}")
        if flags.trainer:
            train(flags.rounds, made[0])


if __name__ == "__main__":
    main()
