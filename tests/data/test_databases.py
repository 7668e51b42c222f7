from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from tests.data.batches import TRAIN, make_database, picture, refuses, source


def fields(path: Path, batch: int = 2, extra: str = "", tops: str = 'top: "data" top: "label"') -> str:
    return f'name: "d" type: "Data" {tops} data_param {{ source: "{path}" backend: LMDB batch_size: {batch} }} {extra}'


@pytest.mark.parametrize("encoded", [False, True])
def test_batches_straddle_the_end(tmp_path: Path, encoded: bool) -> None:
    pictures = [picture(6, 5, seed=k) for k in range(5)]
    path = make_database(tmp_path / "db", pictures, encoded=encoded)
    with source(fields(path, 3)) as made:
        assert made.top_shapes == [(3, 3, 6, 5), (3,)]
        for k in range(7):
            batch, label = made.next()
            wanted = [(3 * k + i) % 5 for i in range(3)]
            np.testing.assert_array_equal(label, wanted)
            np.testing.assert_array_equal(batch, np.stack([pictures[i] for i in wanted]).transpose(0, 3, 1, 2))


def test_batch_larger_than_the_database(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(4, 4, 1, k) for k in range(3)])
    with source(fields(path, 8)) as made:
        np.testing.assert_array_equal(made.next()[1], [0, 1, 2, 0, 1, 2, 0, 1])
        np.testing.assert_array_equal(made.next()[1], [2, 0, 1, 2, 0, 1, 2, 0])


def test_batches_are_channels_last(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(6, 5)])
    with source(fields(path)) as made:
        batch = made.next()[0]
        assert batch.shape == (2, 3, 6, 5) and batch.transpose(0, 2, 3, 1).flags.c_contiguous


def test_without_a_label_top(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(6, 5)])
    with source(fields(path, tops='top: "data"')) as made:
        assert made.top_shapes == [(2, 3, 6, 5)]
        assert len(made.next()) == 1


def test_float_data(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    with open_database(tmp_path / "db", "leveldb", "w") as database:
        database.put([(b"0", encode_datum(Datum.from_array(values, 7)))])
    with source(fields(tmp_path / "db", 1).replace("LMDB", "LEVELDB")) as made:
        batch, label = made.next()
        np.testing.assert_array_equal(batch[0], values)
        assert label.tolist() == [7]


def test_small_records_read_many_at_once_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    """Runs of like records, broken by another shape of the bytes, a large label, no label, an encoded one."""
    pictures = [picture(4, 3, 2, k) for k in range(12)]
    records = []
    for k, pixels in enumerate(pictures):
        datum = Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), (3, 300, -1, 127, 128)[k % 5])
        value = encode_datum(datum)
        if k == 7:
            value = b"\x28\x05" + encode_datum(Datum(2, 4, 3, datum.data))  # the label in front
        if k == 8:
            value = encode_datum(Datum(2, 4, 3, datum.data))
        if k == 9:
            value += b"\x38\x00"  # encoded: false
        records.append((b"%02d" % k, value))
    with open_database(tmp_path / "db", "lmdb", "w") as database:
        database.put(records)
    extra = "transform_param { mean_value: 3 mean_value: 5 scale: 0.5 }"
    labels = [3, 300, -1, 127, 128, 3, 300, 5, 0, 128, 3, 300]
    with source(fields(tmp_path / "db", 8, extra)) as made:
        for k in range(6):
            wanted = [(8 * k + i) % 12 for i in range(8)]
            batch, label = made.next()
            assert label.tolist() == [labels[i] for i in wanted]
            pixels = np.stack([pictures[i] for i in wanted]).astype(np.float32)
            np.testing.assert_array_equal(batch, ((pixels - [3, 5]) / 2).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("threads", [1, 3])
def test_runs_of_small_records(tmp_path: Path, threads: int) -> None:
    pictures = [picture(5, 4, 1, k) for k in range(7)]
    path = make_database(tmp_path / "db", pictures)
    with source(fields(path, 10).replace("batch_size", f"threads: {threads} batch_size")) as made:
        for k in range(5):
            wanted = [(10 * k + i) % 7 for i in range(10)]
            batch, label = made.next()
            assert label.tolist() == wanted
            np.testing.assert_array_equal(batch[:, 0], np.stack([pictures[i][:, :, 0] for i in wanted]))


def test_force_gray_and_color_are_for_encoded_records(tmp_path: Path) -> None:
    gray = make_database(tmp_path / "gray", [picture(6, 5, 1)], encoded=True)
    with source(fields(gray, extra="transform_param { force_color: true }")) as made:
        assert made.top_shapes[0] == (2, 3, 6, 5)
    color = make_database(tmp_path / "color", [picture(6, 5)], encoded=True)
    with source(fields(color, extra="transform_param { force_gray: true }")) as made:
        assert made.top_shapes[0] == (2, 1, 6, 5)
    raw = make_database(tmp_path / "raw", [picture(6, 5)])
    with source(fields(raw, extra="transform_param { force_gray: true }")) as made:
        assert made.top_shapes[0] == (2, 3, 6, 5)


def test_single_records_may_differ_in_size(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(6, 5), picture(8, 3)])
    with source(fields(path, 1)) as made:
        assert [made.next()[0].shape for _ in range(3)] == [(1, 3, 6, 5), (1, 3, 8, 3), (1, 3, 6, 5)]


def test_a_seeded_run_repeats_exactly(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(30, 30, seed=k) for k in range(7)], encoded=True)

    def run(threads: int) -> list[np.ndarray]:
        data.seed(5)
        try:
            text = fields(path, 8, "transform_param { crop_size: 11 mirror: true }")
            with source(text.replace("batch_size", f"threads: {threads} batch_size"), TRAIN) as made:
                return [made.next()[0] for _ in range(6)]
        finally:
            data.seed(None)

    first = run(1)
    for threads in (1, 2, 5):
        for one, other in zip(first, run(threads), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], first[1])


def test_sources_of_one_seed_differ_from_each_other(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(30, 30)])
    text = fields(path, 4, "transform_param { crop_size: 5 mirror: true }")
    data.seed(5)
    try:
        with source(text, TRAIN) as one, source(text, TRAIN) as other:
            assert not np.array_equal(one.next()[0], other.next()[0])
    finally:
        data.seed(None)


def test_two_sources_of_one_database(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", [picture(6, 5, seed=k) for k in range(3)])
    with source(fields(path, 1)) as one, source(fields(path, 2)) as other:
        assert one.next()[1].tolist() == [0]
        assert other.next()[1].tolist() == [0, 1]
        assert one.next()[1].tolist() == [1]


def test_relative_paths_are_found_beside_the_prototxt(tmp_path: Path) -> None:
    make_database(tmp_path / "db", [picture(6, 5)])
    with source(fields(Path("db")), relative_to=tmp_path / "net.prototxt") as made:
        assert made.top_shapes[0] == (2, 3, 6, 5)


class TestMistakes:
    def test_default_backend_on_an_lmdb(self, tmp_path: Path) -> None:
        path = make_database(tmp_path / "db", [picture(6, 5)])
        refuses(
            fields(path).replace("backend: LMDB", ""),
            r'layer "d" \(Data\): .* is a LMDB and is opened as a LevelDB.*backend: LMDB',
        )

    def test_no_database(self, tmp_path: Path) -> None:
        refuses(fields(tmp_path / "nowhere"), "data_param.source: .*nowhere: there is no such file or folder")

    def test_empty_database(self, tmp_path: Path) -> None:
        with open_database(tmp_path / "db", "lmdb", "w") as database:
            database.put([])
        refuses(fields(tmp_path / "db"), "holds no records")

    def test_no_source_and_no_batch_size(self, tmp_path: Path) -> None:
        refuses('type: "Data" top: "data" data_param { batch_size: 1 }', r"data_param\.source is missing")
        refuses(fields(tmp_path / "db", 0), "batch_size must be at least 1")

    def test_damaged_record_is_named(self, tmp_path: Path) -> None:
        good = encode_datum(Datum.from_array(np.zeros((1, 2, 2), np.uint8)))
        with open_database(tmp_path / "db", "lmdb", "w") as database:
            database.put([(b"first", good), (b"second", good[:-3])])
        with source(fields(tmp_path / "db", 1)) as made:
            made.next()
            with pytest.raises(DataError, match=r"db, record 'second': "):
                made.next()

    def test_pictures_of_two_sizes_in_a_batch(self, tmp_path: Path) -> None:
        path = make_database(tmp_path / "db", [picture(6, 5), picture(8, 3)])
        with (
            source(fields(path, 2)) as made,
            pytest.raises(DataError, match=r"record '00000001' is 8x3x3, but the first of the batch.* is 6x5x3.*crop"),
        ):
            made.next()

    def test_crop_larger_than_the_picture(self, tmp_path: Path) -> None:
        path = make_database(tmp_path / "db", [picture(6, 5)])
        refuses(
            fields(path, extra="transform_param { crop_size: 9 }"),
            r"record '00000000': the crop of 9x9 is larger than the picture, 6x5",
        )

    def test_three_tops(self, tmp_path: Path) -> None:
        refuses(fields(tmp_path, tops='top: "a" top: "b" top: "c"'), r"Data has 1 to 2 top\(s\), this layer has 3")
