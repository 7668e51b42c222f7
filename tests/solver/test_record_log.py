"""The records that several processes read are those of one process, as the log of records says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from caffecompat import CaffeCompatError, Net, data
from caffecompat.data.share import ALL, Share, share_records
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.schema import parse_text, pb
from caffecompat.solver.record_log import RecordLog

SOURCES = {
    "Data": 'data_param { source: "db" batch_size: 4 backend: LMDB %s }',
    "HDF5Data": 'hdf5_data_param { source: "data.txt" batch_size: 4 %s }',
    "ImageData": 'image_data_param { source: "list.txt" batch_size: 4 %s }',
}
SHUFFLE = {"Data": "cache: true shuffle: true"}
BATCHES = 9  # of each process: past the end of 22 records more than once


@pytest.fixture
def files(rank_files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(rank_files)
    if not (rank_files / "db").exists():
        with open_database("db", "lmdb", "w") as writer:
            for number in range(22):
                pixels = np.full((3, 6, 6), number, np.uint8).tobytes()
                writer.put([(f"{number:08d}".encode(), encode_datum(Datum(3, 6, 6, pixels, number % 3)))])
    yield rank_files
    share_records(ALL)
    data.seed(None)


def logged(kind: str, settings: str, share: Share, batches: int) -> list[str]:
    """The records that a process of that share reads, by its log."""
    share_records(share)
    data.seed(5)
    text = f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" {SOURCES[kind] % settings} }}'
    net = Net(parse_text(text, pb.NetParameter()), "TRAIN", sources=data.make_source, log=False)
    records = RecordLog("records.txt", net)
    for records.iteration in range(batches):
        net.next_batch()
    net.close()
    lines = [line.split("\t") for line in Path("records.txt").read_text().splitlines()]
    assert [line[:2] for line in lines] == [[str(number), "data"] for number in range(batches) for _ in range(4)]
    return [line[2] for line in lines]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("kind", SOURCES)
def test_together_they_read_what_one_reads(files: Path, kind: str, shuffled: bool, size: int) -> None:
    settings = SHUFFLE.get(kind, "shuffle: true") if shuffled else ""
    one = logged(kind, settings, ALL, BATCHES * size)
    assert len(set(one)) == 22
    each = [logged(kind, settings, Share(rank, size), BATCHES) for rank in range(size)]
    assert [record for round_ in zip(*each, strict=True) for record in round_] == one


def test_a_log_that_cannot_be_written(files: Path) -> None:
    text = 'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 } } }'
    net = Net(parse_text(text, pb.NetParameter()), "TRAIN", sources=data.make_source, log=False)
    with pytest.raises(CaffeCompatError, match="cannot write the log of records"):
        RecordLog("nowhere/records.txt", net)
