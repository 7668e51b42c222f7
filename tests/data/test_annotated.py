from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import data
from caffecompat.data import DataError
from caffecompat.forks import Fork
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from caffecompat.formats.picture import encode_picture
from tests.data.batches import TEST, TRAIN, picture, refuses, source

# A picture of four quarters in four colors; every object is one of them, so that a box tells what is inside it.
COLORS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [240, 240, 240]], np.uint8)
QUARTERS = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]], np.float32)


@pytest.fixture(autouse=True)
def same_every_time() -> Iterator[None]:
    data.seed(1)
    yield
    data.seed(None)


def quarters(height: int = 40, width: int = 60) -> np.ndarray:
    return np.kron(COLORS.reshape(2, 2, 3), np.ones((height // 2, width // 2, 1), np.uint8))


def objects(*labels: int) -> np.ndarray:
    """The quarters 1, 2, 3, 4 as objects of these classes; 3 is difficult."""
    rows = np.zeros((len(labels), 7), np.float32)
    for row, label in zip(rows, labels, strict=True):
        row[0], row[2:6], row[6] = label, QUARTERS[label - 1], label == 3
    return rows


def make(path: Path, records: list[AnnotatedDatum]) -> Path:
    with open_database(path, "lmdb", "w") as database:
        database.put([(b"%08d" % k, encode_annotated_datum(record)) for k, record in enumerate(records)])
    return path


def datum(pixels: np.ndarray, kind: str = "") -> Datum:
    if not kind:
        return Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), -1)
    return Datum(data=encode_picture(pixels, kind), label=-1, encoded=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Four records: two objects, none, four, one; raw and PNG."""
    found = [objects(1, 4), objects(), objects(1, 2, 3, 4), objects(2)]
    records = [AnnotatedDatum(datum(quarters(), "" if k % 2 else "png"), rows) for k, rows in enumerate(found)]
    return make(tmp_path / "db", records)


def fields(database: Path, transform: str = "", annotated: str = "", batch: int = 2) -> str:
    return (
        f'name: "d" type: "AnnotatedData" top: "data" top: "label" data_param {{ source: "{database}" backend: LMDB '
        f"batch_size: {batch} }} transform_param {{ {transform} }} annotated_data_param {{ {annotated} }}"
    )


def rows_agree_with_pixels(batch: np.ndarray, label: np.ndarray) -> int:
    """Each box's center shows its object's color; returns how many boxes there were."""
    count = 0
    for item, name, _, left, top, right, bottom, difficult in label.reshape(-1, 8).tolist():
        if item < 0:
            continue
        height, width = batch.shape[2:]
        y, x = int((top + bottom) / 2 * height), int((left + right) / 2 * width)
        assert np.abs(batch[int(item), :, y, x] - COLORS[int(name) - 1]).max() < 40
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert difficult == (name == 3)
        count += 1
    return count


def test_rows_of_a_batch_and_of_one_without_boxes(database: Path) -> None:
    with source(fields(database), TEST, Fork.SSD) as made:
        assert made.top_shapes == [(2, 3, 40, 60), (1, 1, 2, 8)]
        batch, label = made.next()
        np.testing.assert_array_equal(batch[0], quarters().transpose(2, 0, 1))
        assert label.shape == (1, 1, 2, 8)
        assert label[0, 0, :, :3].tolist() == [[0, 1, 0], [0, 4, 0]]
        assert made.next()[1][0, 0, :, 0].tolist() == [0, 0, 0, 0, 1]
    with source(fields(database, batch=1), TEST, Fork.SSD) as made:
        made.next()
        np.testing.assert_array_equal(made.next()[1], np.full((1, 1, 1, 8), -1))


def test_only_pictures(database: Path) -> None:
    with source(fields(database).replace('top: "label"', ""), TEST, Fork.SSD) as made:
        assert made.top_shapes == [(2, 3, 40, 60)] and len(made.next()) == 1


@pytest.mark.parametrize(
    "transform",
    [
        "",
        "crop_size: 30",
        "resize_param { height: 36 width: 36 }",
        "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 48 width: 48 }",
    ],
)
def test_boxes_follow_mirror_crop_and_resize(database: Path, transform: str) -> None:
    corners = set()
    with source(fields(database, transform + " mirror: true"), TRAIN, Fork.SSD) as made:
        count = 0
        for _ in range(20):
            batch, label = made.next()
            count += rows_agree_with_pixels(batch, label)
            corners.update((row[1], row[3]) for row in label[0, 0].tolist() if row[0] >= 0)
    assert count > 60 and len(corners) >= 8


SAMPLER = (
    "batch_sampler { sampler { min_scale: 0.4 max_scale: 0.9 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } "
    "sample_constraint { min_jaccard_overlap: 0.1 } max_sample: 1 }"
)
EXPAND = "expand_param { prob: 1 max_expand_ratio: 3 } mean_value: 100 mean_value: 110 mean_value: 120"


def test_boxes_follow_expansion_and_sampling(database: Path) -> None:
    transform = f"{EXPAND} mirror: true resize_param {{ height: 60 width: 60 }} emit_constraint {{ }}"
    with source(fields(database, transform, SAMPLER), TRAIN, Fork.SSD) as made:
        count, sides = 0, []
        for _ in range(40):
            batch, label = made.next()
            pixels = batch + np.array([100, 110, 120], np.float32).reshape(3, 1, 1)
            count += rows_agree_with_pixels(pixels, label)
            sides += (label[0, 0, :, 5] - label[0, 0, :, 3]).tolist()
    assert count > 60
    assert 0 < min(side for side in sides if side) < 0.25 and max(sides) > 0.6


def test_equal_choice_of_samplers(database: Path) -> None:
    """Of a whole picture and ninety slices SSD nearly always takes a slice; with equal chances, half of the time."""
    slices = "sampler { min_width: 0.02 max_width: 0.02 max_height: 1 }"
    samplers = f"batch_sampler {{ max_sample: 1 }} batch_sampler {{ max_sample: 90 {slices} }}"
    transform = "resize_param { height: 40 width: 60 interp_mode: NEAREST }"
    shares = []
    for choice in ("POOLED", "EQUAL"):
        with source(fields(database, transform, f"sampler_choice: {choice} {samplers}"), TRAIN, Fork.SSD) as made:
            pictures = np.concatenate([made.next()[0] for _ in range(100)])
        shares.append((pictures[:, :, 0, 0] != pictures[:, :, 0, -1]).any(1).mean())  # only whole ones have both colors
    assert shares[0] < 0.1 and 0.4 < shares[1] < 0.6


def test_expansion_without_sampling(tmp_path: Path) -> None:
    database = make(tmp_path / "db", [AnnotatedDatum(datum(quarters()), objects(1, 2, 3, 4))])
    with source(fields(database, EXPAND, batch=1), TRAIN, Fork.SSD) as made:
        for _ in range(20):
            batch, label = made.next()
            height, width = batch.shape[2:]
            assert 40 <= height <= 120 and 60 <= width <= 180
            inside = (batch != 0).any(1).sum()  # around it lies the mean
            assert inside == 40 * 60
            np.testing.assert_allclose(label[0, 0, :, 5] - label[0, 0, :, 3], 30 / width, rtol=1e-4)


def test_probability_of_expansion(tmp_path: Path) -> None:
    database = make(tmp_path / "db", [AnnotatedDatum(datum(quarters()), objects(1))])
    with source(fields(database, EXPAND.replace("prob: 1", "prob: 0.3"), batch=1), TRAIN, Fork.SSD) as made:
        larger = [made.next()[0].shape[2] > 40 for _ in range(150)]
    assert 0.15 < np.mean(larger) < 0.45


def test_emit_constraint_drops_objects_whose_center_is_cut_off(tmp_path: Path) -> None:
    record = AnnotatedDatum(datum(quarters()), objects(1, 2, 3, 4))
    narrow = "batch_sampler { sampler { min_scale: 0.5 max_scale: 0.5 } max_sample: 1 max_trials: 1 }"
    counts = {}
    for constraint in ("", "emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.6 }", "emit_constraint { }"):
        with source(
            fields(make(tmp_path / f"db{len(constraint)}", [record]), constraint, narrow, 1), TEST, Fork.SSD
        ) as made:
            counts[constraint] = [int((made.next()[1][0, 0, :, 0] >= 0).sum()) for _ in range(40)]
    without, overlap, center = counts.values()
    assert set(without) == {4}  # a part this size touches all quarters
    assert max(overlap) <= 1 and 0 in overlap and set(center) <= {1, 2} | {0}


def test_augmentation_happens_in_test_as_well(database: Path) -> None:
    with source(fields(database, "resize_param { height: 30 width: 30 }", SAMPLER, 1), TEST, Fork.SSD) as made:
        shown = {made.next()[0].tobytes() for _ in range(8)}
    assert len(shown) > 4


def test_distortion_spares_the_canvas(tmp_path: Path) -> None:
    database = make(tmp_path / "db", [AnnotatedDatum(datum(quarters()), objects(1))])
    bright = "distort_param { brightness_prob: 1 brightness_delta: 9 }"
    with source(fields(database, EXPAND + " " + bright, batch=1), TRAIN, Fork.SSD) as made:
        shifts = []
        for _ in range(12):
            batch, label = made.next()
            height, width = batch.shape[2:]
            left, top = round(float(label[0, 0, 0, 3]) * width), round(float(label[0, 0, 0, 4]) * height)
            pixel = batch[0, :, top + 5, left + 5] + (100, 110, 120)
            shifts.append(float(pixel[1] - 10))
            outside = np.ones((height, width), bool)
            outside[top : top + 40, left : left + 60] = False
            assert not batch[0][:, outside].any()
    assert len(set(shifts)) > 4 and max(map(abs, shifts)) <= 9


def test_a_seed_repeats_the_batches_whatever_the_threads(database: Path) -> None:
    text = fields(database, EXPAND + " mirror: true resize_param { height: 20 width: 20 interp_mode: [LINEAR, CUBIC] }",
                  SAMPLER)  # fmt: skip
    runs = []
    for threads in (1, 4):
        data.seed(7)
        with source(text.replace("batch_size", f"threads: {threads} batch_size"), TRAIN, Fork.SSD) as made:
            runs.append([made.next() for _ in range(6)])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_ssds_mean_picture_is_not_mirrored(tmp_path: Path) -> None:
    from caffecompat.formats.mean import write_mean

    mean = np.arange(3 * 4 * 6, dtype=np.float32).reshape(3, 4, 6)
    write_mean(tmp_path / "mean", mean)
    pixels = picture(4, 6)
    database = make(tmp_path / "db", [AnnotatedDatum(datum(pixels), objects())])
    with source(fields(database, f'mirror: true mean_file: "{tmp_path}/mean"', batch=1), TRAIN, Fork.SSD) as made:
        straight, turned = (want.transpose(2, 0, 1) - mean for want in (pixels, pixels[:, ::-1]))
        seen = {(np.array_equal(got, straight), np.array_equal(got, turned)) for got in
                (made.next()[0][0] for _ in range(12))}  # fmt: skip
    assert seen == {(True, False), (False, True)}


def test_sizes_may_differ_where_the_shorter_side_fits(tmp_path: Path) -> None:
    records = [AnnotatedDatum(datum(quarters(40, side)), objects(1)) for side in (60, 80)]
    database = make(tmp_path / "db", records)
    transform = "resize_param { resize_mode: FIT_SMALL_SIZE height: 20 width: 20 }"
    with source(fields(database, transform, batch=1), TEST, Fork.SSD) as made:
        assert [made.next()[0].shape[3] for _ in range(2)] == [30, 40]
    with (
        source(fields(database, transform), TEST, Fork.SSD) as made,
        pytest.raises(DataError, match="record '00000001' is 20x40x3, but the first of the batch"),
    ):
        made.next()


def test_classification_records(tmp_path: Path) -> None:
    records = [AnnotatedDatum(Datum(3, 4, 6, bytes(72), label=k), type=None) for k in (5, 9)]
    with source(fields(make(tmp_path / "db", records)), TEST, Fork.SSD) as made:
        assert made.top_shapes == [(2, 3, 4, 6), (2,)]
        assert made.next()[1].tolist() == [5, 9]


def test_xilinx_oriented_boxes(tmp_path: Path) -> None:
    rows = np.hstack([objects(3), np.array([[0.6, 0.8]], np.float32)])
    database = make(tmp_path / "db", [AnnotatedDatum(datum(quarters()), rows, oriented=True)])
    with source(fields(database, batch=1), TEST, Fork.XILINX) as made:
        (row,) = made.next()[1].reshape(-1, 10).tolist()
    np.testing.assert_allclose(row, [0, 3, 0, 0, 0.5, 0.5, 1, 0.6, 0.8, 1])
    refuses(fields(database, annotated="has_seg_label: true"), "has_seg_label .* is not supported", Fork.XILINX)


class TestMistakes:
    def test_records_of_other_kinds(self, tmp_path: Path) -> None:
        from tests.data.batches import make_database

        refuses(fields(make_database(tmp_path / "plain", [picture(4, 4)])), "'00000000'.*plain Datum", Fork.SSD)
        mixed = [AnnotatedDatum(datum(quarters()), objects(1)), AnnotatedDatum(datum(quarters()), type=None)]
        with (
            source(fields(make(tmp_path / "mixed", mixed)), TEST, Fork.SSD) as made,
            pytest.raises(DataError, match="record '00000001' has no annotation type, unlike the first"),
        ):
            made.next()

    def test_damaged_picture(self, tmp_path: Path) -> None:
        bad = AnnotatedDatum(Datum(data=b"no picture", label=-1, encoded=True), objects(1))
        refuses(
            fields(make(tmp_path / "db", [bad])),
            "record '00000000': the encoded picture .* cannot be decoded",
            Fork.SSD,
        )

    @pytest.mark.parametrize(
        ("transform", "message"),
        [
            ("expand_param { max_expand_ratio: 1 }", "max_expand_ratio must be more than 1"),
            ('expand_param { max_expand_ratio: 2 } mean_file: "m"', "has a mean_file"),
            ("crop_size: 50", "record '00000000': the crop of 50x50 is larger"),
            ("distort_param { hue_delta: -1 }", "hue_delta"),
        ],
    )
    def test_parameters(self, database: Path, transform: str, message: str) -> None:
        refuses(fields(database, transform), message, Fork.SSD)


def test_decoding_matches_opencv(tmp_path: Path) -> None:
    pixels = cv2.GaussianBlur(picture(30, 40), (9, 9), 3)
    database = make(tmp_path / "db", [AnnotatedDatum(datum(pixels, "jpg"), objects(1))])
    want = cv2.imdecode(np.frombuffer(datum(pixels, "jpg").data or b"", np.uint8), cv2.IMREAD_COLOR)
    with source(fields(database, "scale: 0.5 mean_value: 3", batch=1), TEST, Fork.SSD) as made:
        np.testing.assert_array_equal(made.next()[0][0].transpose(1, 2, 0), (want.astype(np.float32) - 3) / 2)
