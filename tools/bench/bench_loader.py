#!/usr/bin/env python3
"""How fast the data layers read, against OpenCV's bare decoder on the same bytes, and what reading costs a trainer.

    python tools/bench/bench_loader.py                 # the table of readers
    python tools/bench/bench_loader.py --only recipe   # the rows that have this in their names
    python tools/bench/bench_loader.py --trainer       # and a small net's training step, alone and while reading

Readers are compared by processor time a picture, one loader thread against one thread that only decodes, taken in
turns: on a shared machine the ratio is steady where wall-clock times wander. 0.85 or more is the aim, and 0.5 for
whole recipes of augmentation. What a reader adds to decoding without these is mostly the writing of float32 pixels,
four bytes for each decoded one, to memory beyond the caches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.schema import parse_text, pb

PICTURES = 24


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with detail at all scales, the more of it the larger; a file of 43 kB at 500x375 and quality 90."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(8):
        rows, columns = (max(1, size >> octave) for size in (height, width))
        noise = generator.normal(0, 3.0 * 1.7**octave, (rows, columns, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 110, 0, 255).astype(np.uint8)


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with as much contrast at each scale, most of it gray, as photographs have on average.

    At 500x375 and quality 90 it is a file of 100 kB, as pictures of Pascal VOC and ImageNet are of that size.
    """
    generator = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 110, np.float32)
    for octave in range(8):
        rows, columns = (max(1, size >> octave) for size in (height, width))
        noise = generator.normal(0, 15, (rows, columns, 1)) + generator.normal(0, 3, (rows, columns, 3))
        picture += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


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
    """One reader and the bytes it decodes; the name begins with the layer's type."""

    def __init__(self, folder: Path, name: str, height: int, width: int, kind: str, transform: str, batch: int) -> None:
        self.name = name
        self.batch = batch
        self._folder, self._kind = folder, kind
        draw = photograph if "recipe" in name else scene
        pictures = [encode(draw(height, width, k), kind) for k in range(PICTURES)]
        self.files = [[data] for data in pictures]
        self.flags = [cv2.IMREAD_COLOR]
        layer = name.split()[0]
        fields = {
            "Data": self._database,
            "AnnotatedData": self._boxes,
            "ImageData": self._list,
            "ImageSegData": self._pairs,
        }[layer](height, width)
        self.text = f'type: "{layer}" top: "data" top: "label" {fields} transform_param {{ {transform} }}'

    def _database(self, height: int, width: int) -> str:
        return self._stored([Datum(data=data, label=k, encoded=True) for k, (data,) in enumerate(self.files)])

    def _boxes(self, height: int, width: int) -> str:
        """With from one to eight boxes a picture, and the samplers of MLPerf's SSD."""
        generator = np.random.default_rng(0)
        records = []
        for (data,) in self.files:
            low = generator.uniform(0, 0.7, (generator.integers(1, 9), 2))
            objects = np.zeros((len(low), 7), np.float32)
            objects[:, 0] = 1
            objects[:, 2:4], objects[:, 4:6] = low, low + generator.uniform(0.05, 0.3, low.shape)
            records.append(AnnotatedDatum(Datum(data=data, encoded=True), objects))
        return f"{self._stored(records)} annotated_data_param {{ {MLPERF_SAMPLERS} }}"

    def _stored(self, records: Sequence[Datum | AnnotatedDatum]) -> str:
        with open_database(self._folder / "db", "lmdb", "w") as database:
            database.put(
                [
                    (b"%08d" % k, encode_datum(one) if isinstance(one, Datum) else encode_annotated_datum(one))
                    for k, one in enumerate(records)
                ]
            )
        return f'data_param {{ source: "{self._folder}/db" backend: LMDB batch_size: {self.batch} threads: 1 }}'

    def _list(self, height: int, width: int) -> str:
        self._write_pictures()
        return self._listed("".join(f"{k}.{self._kind} {k}\n" for k in range(PICTURES)))

    def _pairs(self, height: int, width: int) -> str:
        self._write_pictures()
        self.flags.append(cv2.IMREAD_GRAYSCALE)
        for k, files in enumerate(self.files):
            files.append(encode(regions(height, width, k), "png"))
            (self._folder / f"label{k}.png").write_bytes(files[1])
        return self._listed("".join(f"{k}.{self._kind} label{k}.png\n" for k in range(PICTURES)))

    def _write_pictures(self) -> None:
        for k, files in enumerate(self.files):
            (self._folder / f"{k}.{self._kind}").write_bytes(files[0])

    def _listed(self, lines: str) -> str:
        (self._folder / "list.txt").write_text(lines)
        where = f'source: "{self._folder}/list.txt" root_folder: "{self._folder}/"'
        return f"image_data_param {{ {where} batch_size: {self.batch} shuffle: true }}"

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


MEAN = "mean_value: 73 mean_value: 82 mean_value: 72 scale: 0.022"
CROP_227 = MEAN + " crop_size: 227 mirror: true"
NORMALIZED = "mean_value: [103.53, 116.28, 123.675] std_value: [57.375, 57.12, 58.395] mirror: true"
CLASSIFICATION = (
    NORMALIZED + ' crop_size: 224 random_resized_crop_param {} rand_augment_param { policy: "rand-m9-mstd0.5-inc1" }'
    " random_erase_param { prob: 0.25 mode: PIXEL }"
)
SEGMENTATION = NORMALIZED + " crop_size: 513 scale_min: 0.5 scale_max: 2"
DETECTION = (
    NORMALIZED + " resize_param { height: 300 width: 300 } emit_constraint { emit_type: CENTER }"
    " distort_param { mode: TORCHVISION brightness_delta: 0.125 contrast_lower: 0.5 contrast_upper: 1.5"
    " saturation_lower: 0.5 saturation_upper: 1.5 hue_delta: 0.05 }"
)
SIDES = "sampler { min_width: 0.3 min_height: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } max_trials: 1"
CONSTRAINT = "every_object: true min_objects: 1 min_jaccard_overlap:"
MLPERF_SAMPLERS = "sampler_choice: EQUAL batch_sampler {} " + " ".join(
    f"batch_sampler {{ {SIDES} sample_constraint {{ {CONSTRAINT} {least} }} }}" for least in (0.1, 0.3, 0.5, 0.7, 0.9)
)
# Name, height, width, kind of file, transform_param, pictures a batch.
CASES = [
    ("ImageSegData 1024x512 PNG+PNG", 512, 1024, "png", MEAN, 2),
    ("ImageSegData 1024x512 JPEG+PNG", 512, 1024, "jpg", MEAN, 2),
    ("ImageSegData 1024x512 JPEG+PNG, crop 512, mirror", 512, 1024, "jpg", MEAN + " crop_size: 512 mirror: true", 2),
    ("Data LMDB 1024x512 JPEG", 512, 1024, "jpg", MEAN, 2),
    ("Data LMDB 500x375 JPEG", 375, 500, "jpg", MEAN, 8),
    ("Data LMDB 500x375 JPEG, crop 227, mirror", 375, 500, "jpg", CROP_227, 8),
    ("Data LMDB 256x256 JPEG, crop 227, mirror", 256, 256, "jpg", CROP_227, 8),
    ("Data LMDB 256x256 PNG, crop 227, mirror", 256, 256, "png", CROP_227, 8),
    ("Data LMDB 500x375 JPEG, recipe of ImageNet at 224", 375, 500, "jpg", CLASSIFICATION, 8),
    ("ImageData 500x375 JPEG, recipe of ImageNet at 224", 375, 500, "jpg", CLASSIFICATION, 8),
    ("ImageSegData 500x375 JPEG+PNG, recipe of DeepLab at 513", 375, 500, "jpg", SEGMENTATION, 4),
    ("AnnotatedData 500x375 JPEG, recipe of SSD at 300", 375, 500, "jpg", DETECTION, 8),
]


def cases(folder: Path, only: str) -> list[Case]:
    """Those of CASES with `only` in their names."""
    made = []
    for k, row in enumerate(CASES):
        if only in row[0]:
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
    parser.add_argument("--only", default="", metavar="TEXT", help="the rows that have this in their names")
    parser.add_argument("--trainer", action="store_true", help="also measure a training step with and without reading")
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = cases(Path(folder), flags.only)
        print(f"{'':56}{'decode':>10}{'reader':>10}{'pictures/s/core':>17}{'ratio':>8}")
        for case in made:
            bare, whole = compare(case, flags.rounds)
            print(f"{case.name:56}{bare * 1e3:7.2f} ms{whole * 1e3:7.2f} ms{1 / whole:17.0f}{bare / whole:8.3f}")
        if flags.trainer:
            train(flags.rounds, made[0])


if __name__ == "__main__":
    main()
