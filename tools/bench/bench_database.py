#!/usr/bin/env python3
"""Reading encoded records from an LMDB against cv2.imdecode alone, on the same bytes.

    python tools/bench/bench_database.py [--images 64] [--rounds 9]

For JPEG and PNG pictures of a usual size, on one thread each, in turn within each round, measured in
processor time, so that what else the machine does counts little:

    bare      cv2.imdecode of the bytes, which lie in memory
    records   what a reader does: cursor, Datum, decoding
    layer     a Data layer with one loading thread: the same, and mean, scale and batches of float32

Prints the median rates and each one's share of the bare rate; exits with 1 when `records` is under --least.
(`layer` writes four bytes for each decoded one, into fresh memory, which no decoder has to.)
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from caffecompat.data import make_source
from caffecompat.forks import Fork
from caffecompat.formats.database import DatabaseReader, open_database
from caffecompat.formats.datum import Datum, decode_datum, encode_datum
from caffecompat.schema import pb

BATCH = 16


def make_pictures(kind: str, height: int, width: int, count: int) -> list[bytes]:
    """Files of smooth shapes with a little noise, which compress about as photographs do."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + random.integers(-6, 7, smooth.shape, np.int16)
        files.append(cv2.imencode("." + kind, np.clip(noisy, 0, 255).astype(np.uint8))[1].tobytes())
    return files


def write_database(path: Path, files: Sequence[bytes]) -> None:
    with open_database(path, "lmdb", "w") as writer:
        records = [encode_datum(Datum(data=file, label=0, encoded=True)) for file in files]
        writer.put([(b"%08d" % index, record) for index, record in enumerate(records)])


def bare(files: Sequence[bytes]) -> None:
    for file in files:
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)


def read_records(database: DatabaseReader) -> None:
    cursor = database.cursor()
    while records := cursor.read(BATCH):
        for _, record in records:
            decode_datum(record).image(True)
    cursor.close()


def layer_parameter(path: Path) -> pb.LayerParameter:
    layer = pb.LayerParameter(name="data", type="Data", top=["data", "label"])
    layer.data_param.source = str(path)
    layer.data_param.backend = pb.DataParameter.LMDB
    layer.data_param.batch_size = BATCH
    layer.data_param.prefetch = 1
    layer.data_param.threads = 1
    layer.transform_param.mean_value.extend([104, 117, 123])
    layer.transform_param.scale = 0.017
    return layer


def time_layer(layer: pb.LayerParameter, count: int) -> float:
    """From the first request of a fresh source, before which it reads nothing ahead."""
    source = make_source(layer, pb.TRAIN, Fork.BVLC, None)
    taken = seconds(lambda: [source.next() for _ in range(count // BATCH)])
    source.close()
    return taken


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, of all threads together."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--least", type=float, default=0.85)
    args = parser.parse_args()
    count = -(-args.images // BATCH) * BATCH
    cv2.setNumThreads(1)
    worst = 1.0
    for kind, height, width in (("jpg", 375, 500), ("png", 375, 500), ("jpg", 512, 1024), ("png", 512, 1024)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "db")
            files = make_pictures(kind, height, width, count)
            write_database(path, files)
            layer = layer_parameter(path)
            times: dict[str, list[float]] = {"bare": [], "records": [], "layer": []}
            with open_database(path) as database:
                for _ in range(args.rounds):
                    times["bare"].append(seconds(partial(bare, files)))
                    times["records"].append(seconds(partial(read_records, database)))
                    times["layer"].append(time_layer(layer, count))
        rates = {name: count / statistics.median(taken) for name, taken in times.items()}
        shares = {name: rate / rates["bare"] for name, rate in rates.items()}
        size = sum(map(len, files)) / count / 1024
        print(f"{kind} {width}x{height} ({size:.0f} KiB): bare {rates['bare']:.0f} images/s, " + ", ".join(
            f"{name} {rates[name]:.0f} ({shares[name]:.2f})" for name in ("records", "layer")))  # fmt: skip
        worst = min(worst, shares["records"])
    print(f"records: worst share {worst:.2f}, wanted at least {args.least:.2f}")
    return 0 if worst >= args.least else 1


if __name__ == "__main__":
    sys.exit(main())
