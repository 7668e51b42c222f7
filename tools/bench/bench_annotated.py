#!/usr/bin/env python3
"""What SSD's augmentation costs a picture, in processor time of one thread, beside OpenCV's bare decoder.

    python tools/bench/bench_annotated.py

500x375 JPEGs with one to four boxes, to 300x300, with SSD300's parameters added one after another.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from bench_loader import encode, scene

from caffecompat.data.annotated import AnnotatedDataReader
from caffecompat.data.source import Request
from caffecompat.forks import Fork
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from caffecompat.schema import parse_text, pb

PICTURES, ROUNDS = 16, 5
MEAN = "mean_value: 104 mean_value: 117 mean_value: 123 "
WARP = "resize_param { height: 300 width: 300 interp_mode: LINEAR } mirror: true "
ANY = WARP.replace("LINEAR", "[LINEAR, AREA, NEAREST, CUBIC, LANCZOS4]")
SAMPLER = "sampler { min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } max_sample: 1 max_trials: 50"
SAMPLERS = "batch_sampler { max_sample: 1 max_trials: 1 } " + " ".join(
    f"batch_sampler {{ {SAMPLER} sample_constraint {{ {limit} }} }}"
    for limit in (
        "min_jaccard_overlap: 0.1",
        "min_jaccard_overlap: 0.3",
        "min_jaccard_overlap: 0.5",
        "min_jaccard_overlap: 0.7",
        "min_jaccard_overlap: 0.9",
        "max_jaccard_overlap: 1",
    )
)
DISTORT = (
    "distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5 "
    "contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5 "
    "saturation_upper: 1.5 } "
)
EXPAND = "expand_param { prob: 0.5 max_expand_ratio: 4 } "


def write_database(path: Path) -> list[bytes]:
    """The records; returns the pictures' files."""
    random = np.random.default_rng(0)
    files = [encode(scene(375, 500, k), "jpg") for k in range(PICTURES)]
    with open_database(path, "lmdb", "w") as database:
        for k, data in enumerate(files):
            rows = np.zeros((int(random.integers(1, 5)), 7), np.float32)
            rows[:, 2:4] = random.uniform(0, 0.6, (len(rows), 2))
            rows[:, 4:6] = rows[:, 2:4] + random.uniform(0.1, 0.39, (len(rows), 2))
            record = AnnotatedDatum(Datum(data=data, label=-1, encoded=True), rows)
            database.put([(b"%08d" % k, encode_annotated_datum(record))])
    return files


def milliseconds(work: Callable[[], None]) -> float:
    """The least processor time of a picture."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1e3 * min(times) / (4 * PICTURES)


def main() -> None:
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        files = write_database(Path(folder) / "db")

        def decode() -> None:
            for data in files * 4:
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

        print(f"{milliseconds(decode):6.2f} ms  OpenCV's decoder")
        for name, transform, annotated in (
            ("AnnotatedData, resized and mirrored", WARP, ""),
            ("... any interpolation", ANY, ""),
            ("... batch samplers", ANY, SAMPLERS),
            ("... distorted", ANY + DISTORT, SAMPLERS),
            ("... expanded", ANY + DISTORT + EXPAND, SAMPLERS),
        ):
            layer = parse_text(
                f'type: "AnnotatedData" top: "data" top: "label" data_param {{ source: "{folder}/db" backend: LMDB '
                f"batch_size: 8 }} transform_param {{ {MEAN}{transform} }} annotated_data_param {{ {annotated} }}",
                pb.LayerParameter(),
            )
            reader = AnnotatedDataReader(Request(layer, pb.TRAIN, Fork.SSD))
            out = np.empty((1, 300, 300, 3), np.float32)

            def read(reader: AnnotatedDataReader = reader, out: np.ndarray = out) -> None:
                for record in reader.take(4 * PICTURES):
                    reader.write(reader.read(record), [out], 0)

            print(f"{milliseconds(read):6.2f} ms  {name}")


if __name__ == "__main__":
    main()
