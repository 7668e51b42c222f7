"""Every data source goes on, in a new process, exactly where its state was taken; in changed data as near as can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from caffecompat import data
from caffecompat.data import MemorySource, Source, make_source
from caffecompat.data.source import _sources
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from tests.data.batches import TEST, TRAIN, layer, make_database, picture, write_picture

COUNT = 7  # records, rows, lines; batches of 3 straddle their end

DATA = 'type: "Data" top: "data" top: "label" data_param { source: "db" backend: LMDB batch_size: 3 %s }'
LIST = 'type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" batch_size: 3 %s }'
PAIRS = (
    'type: "%s" %s { source: "pairs.txt" batch_size: 3 shuffle: true } transform_param { crop_size: 6 mirror: true }'
)
TWO = (
    'type: "%s" top: "data" top: "label" image_label_data_param { image_list_path: "%s" label_list_path: "%s" '
    "batch_size: 3 %s } transform_param { crop_size: 6 mirror: true }"
)
SSD = """type: "AnnotatedData" top: "data" top: "label" data_param { source: "boxes" backend: LMDB batch_size: 3 }
    annotated_data_param { batch_sampler { max_sample: 1 max_trials: 9 sampler { min_scale: 0.3 }
        sample_constraint { min_jaccard_overlap: 0.1 } } }
    transform_param { mirror: true mean_value: 100 resize_param { prob: 1 height: 8 width: 8 interp_mode: LINEAR
            interp_mode: NEAREST } expand_param { prob: 0.5 max_expand_ratio: 3 }
        distort_param { brightness_prob: 0.5 brightness_delta: 32 hue_prob: 0.5 hue_delta: 18 random_order_prob: 0.5 }
        noise_param { saltpepper: true saltpepper_param { fraction: 0.2 value: 9 value: 9 value: 9 } } }"""

RESIZED = (
    "transform_param { crop_size: 6 mirror: true std_value: 58 expand_param { prob: 0.5 max_expand_ratio: 2 } %s }"
)
CROPS = RESIZED % "random_resized_crop_param { interp_mode: LINEAR interp_mode: CUBIC }"
JITTER = RESIZED % "scale_min: 0.5 scale_max: 2"

TEXTS = {
    "Data": [
        DATA % "",
        (DATA % "") + "transform_param { crop_size: 6 mirror: true }",
        (DATA % "cache: true shuffle: true") + "transform_param { mirror: true random_seed: 4 }",
        DATA.replace('"db" backend: LMDB', '"leveldb"') % "",
        DATA.replace('"db"', '"shards"') % "",
        DATA.replace('"db"', '"shards/*"') % "cache: true shuffle: true",
        DATA.replace('"db"', '"db,shards,db"') % "",  # keys come again in each
        (DATA % "") + CROPS,
    ],
    "AnnotatedData": [SSD, SSD[: SSD.index("transform_param")] + JITTER],
    "ImageData": [LIST % "", LIST % "rand_skip: 5", (LIST % "shuffle: true") + "transform_param { mirror: true }"],
    "ImageSegData": [
        PAIRS % ("ImageSegData", 'top: "data" top: "label" image_data_param'),
        PAIRS[: PAIRS.index("transform_param")] % ("ImageSegData", 'top: "data" top: "label" image_data_param')
        + JITTER,
    ],
    "ImageLabelmapData": [PAIRS % ("ImageLabelmapData", 'top: "data" top: "label" image_data_param')],
    "DenseImageData": [PAIRS % ("DenseImageData", 'top: "data" top: "label" dense_image_data_param')],
    "ImageLabelData": [
        TWO % ("ImageLabelData", images, "labels", f"backend: LMDB {s}")
        for images in ("db", "shards")
        for s in ("", "shuffle: true")
    ],
    "ImageLabelListData": [
        TWO % ("ImageLabelListData", "images.txt", "labels.txt", f"scale_prob: 0.5 scale_min: 0.8 scale_max: 1.5 {s}")
        for s in ("", "shuffle: true rand_skip: 4")
    ],
    "HDF5Data": [
        f'type: "HDF5Data" top: "data" top: "label" hdf5_data_param {{ source: "h5.txt" batch_size: 3 {s} }}'
        for s in ("", "shuffle: true")
    ],
    "WindowData": [
        'type: "WindowData" top: "data" top: "label" transform_param { crop_size: 5 mirror: true } window_data_param '
        '{ source: "windows.txt" batch_size: 3 bg_threshold: 0.3 fg_fraction: 0.4 }'
    ],
    "MemoryData": [
        'type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 3 channels: 1 height: 1 width: 2 }'
    ],
    "VideoData": [
        'type: "VideoData" top: "data" data_param { batch_size: 3 } video_data_param { video_type: VIDEO '
        'video_file: "v.avi" skip_frames: 1 } transform_param { mirror: true }'
    ],
    "DummyData": [
        'type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 3 } '
        'data_filler { type: "gaussian" std: 1 } data_filler { type: "uniform" } }'
    ],
    "Input": ['type: "Input" top: "data" input_param { shape { dim: 3 } }'],
}
CASES = [pytest.param(text, id=f"{kind}-{k}") for kind, texts in TEXTS.items() for k, text in enumerate(texts)]


@pytest.fixture(autouse=True)
def unseeded() -> Iterator[None]:
    """Generators begin anywhere, as in two processes of a run without random_seed."""
    data.seed(None)
    yield
    data.seed(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data for all of them."""
    at = tmp_path_factory.mktemp("data")
    pictures = [picture(12, 10, seed=k) for k in range(COUNT)]
    make_database(at / "db", pictures)
    make_database(at / "leveldb", pictures, "leveldb")
    with open_database(at / "db") as database:
        records = list(database)
    for shard, part in enumerate((records[:3], records[3:])):
        (at / "shards").mkdir(exist_ok=True)
        with open_database(at / f"shards/shard-{shard:05}-of-00002", "lmdb", "w") as written:
            written.put(part)
    make_database(at / "labels", [pixels[:, :, :1] for pixels in pictures])
    rows = np.array([[1, 0, 0.1, 0.1, 0.6, 0.7, 0]], np.float32)
    boxes = [
        AnnotatedDatum(Datum.from_array(p.transpose(2, 0, 1).copy(), -1), rows[: k % 2]) for k, p in enumerate(pictures)
    ]
    with open_database(at / "boxes", "lmdb", "w") as database:
        database.put([(b"%08d" % k, encode_annotated_datum(box)) for k, box in enumerate(boxes)])
    for k, pixels in enumerate(pictures):
        write_picture(at / f"i{k}.png", pixels)
        write_picture(at / f"l{k}.png", pixels[:, :, :1])
    for name, line in (
        ("list", "i{0}.png {0}"),
        ("pairs", "i{0}.png l{0}.png"),
        ("images", "i{0}.png"),
        ("labels", "l{0}.png"),
    ):
        (at / f"{name}.txt").write_text("".join(line.format(k) + "\n" for k in range(COUNT)))
    for name, first, last in (("a", 0, 5), ("b", 5, COUNT)):
        write_rows(at / f"{name}.h5", range(first, last))
    (at / "h5.txt").write_text("a.h5\nb.h5\n")
    windows = "2\n3 0.9 1 1 6 8\n9 0.1 0 0 9 9\n"
    (at / "windows.txt").write_text("".join(f"# {k}\n{at}/i{k}.png\n3\n12\n10\n{windows}" for k in range(COUNT)))
    writer = cv2.VideoWriter(str(at / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for k in range(90):
        writer.write(picture(24, 32, seed=k))
    writer.release()
    return at


def write_rows(path: Path, numbers: range) -> None:
    with h5py.File(path, "w") as file:
        file["label"] = np.array(numbers)
        file["data"] = np.array(numbers)[:, None] * np.ones(2)


def opened(text: str, folder: Path, phase: int = TRAIN) -> Source:
    made = make_source(layer(text), phase, relative_to=folder / "net.prototxt")
    if isinstance(made, MemorySource):
        give_arrays(made)
    return made


def give_arrays(made: MemorySource) -> None:
    made.set_arrays(np.arange(18, dtype=np.float32).reshape(9, 1, 1, 2), np.arange(9, dtype=np.float32))


def batches(made: Source, count: int) -> list[bytes]:
    return [b"".join(np.ascontiguousarray(top).tobytes() for top in made.next()) for _ in range(count)]


def test_every_source_is_tried_here() -> None:
    """A new one joins by `state` and `restore`, and its text here."""
    assert set(TEXTS) == set(_sources)
    assert all(f'type: "{kind}"' in text for kind, texts in TEXTS.items() for text in texts)


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("text", CASES)
def test_a_source_goes_on_in_another_process(text: str, phase: int, folder: Path) -> None:
    with opened(text, folder, phase) as one:
        if one.fed:
            assert one.state() == {} and one.restore({}) == []
            return
        for done in (0, 1, 2, 4, 1):  # so on and on: states after 0, 1, 3, 7 and 8 batches
            batches(one, done)
            state, chance = one.state(), torch.get_rng_state()
            kept = repr(state)
            expected = batches(one, 5)
            assert repr(state) == kept  # nothing of it has changed meanwhile
            torch.manual_seed(0)
            with opened(text, folder, phase) as other:
                batches(other, 2)
                torch.set_rng_state(chance)
                assert other.restore(state) == []
                assert batches(other, 5) == expected
            torch.set_rng_state(chance)
            assert one.restore(state) == []  # the same object goes back
    with opened(text, folder, phase) as last:
        torch.set_rng_state(chance)
        last.restore(state)
        assert batches(last, 5) == expected


def test_memory_data_that_gets_its_arrays_after_it_was_restored(folder: Path) -> None:
    (text,) = TEXTS["MemoryData"]
    made = make_source(layer(text), TRAIN)
    assert isinstance(made, MemorySource)
    made.restore({"batch_size": 3, "at": 6})
    give_arrays(made)
    assert made.next()[1].tolist() == [6, 7, 8]
    give_arrays(made)  # new arrays begin with their first item, as ever
    assert made.next()[1].tolist() == [0, 1, 2]


def labels(made: Source, count: int) -> list[int]:
    return [int(label) for _ in range(count) for label in made.next()[1]]


def carried(text: str, folder: Path, other: str, there: Path, after: int) -> tuple[list[str], list[int]]:
    """Remarks and the labels of the next two batches, `after` batches of one source carried over to another."""
    with opened(text, folder) as one, opened(other, there) as two:
        batches(one, after)
        return list(two.restore(one.state())), labels(two, 2)


def test_another_batch_size_leaves_out_no_record(folder: Path) -> None:
    for kind in ("Data", "ImageData", "HDF5Data"):
        text = TEXTS[kind][0]
        remarks, found = carried(text, folder, text.replace("batch_size: 3", "batch_size: 4"), folder, 1)
        assert found == [3, 4, 5, 6, 0, 1, 2, 3]
        assert remarks == ["batch_size was 3, it is 4; no record is left out"]


def numbered(path: Path, numbers: list[int], backend: str) -> None:
    """A database of tiny pictures whose keys and labels are the numbers."""
    path.parent.mkdir(exist_ok=True)
    pixels = np.zeros((1, 2, 2), np.uint8)
    with open_database(path, backend, "w") as database:
        database.put([(b"%08d" % number, encode_datum(Datum.from_array(pixels, number))) for number in numbers])


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_a_changed_database(tmp_path: Path, backend: str) -> None:
    text = (DATA % "").replace("LMDB", backend.upper())
    for name, numbers in (("whole", [0, 1, 2, 3, 4]), ("grown", list(range(9))), ("thinned", [0, 1, 4, 6])):
        numbered(tmp_path / name / "db", numbers, backend)
    remarks, found = carried(text, tmp_path / "whole", text, tmp_path / "grown", 1)
    assert found == [3, 4, 5, 6, 7, 8] and remarks == [f"{tmp_path}/grown/db held 5 records, it holds 9"]
    remarks, found = carried(text, tmp_path / "whole", text, tmp_path / "thinned", 1)
    assert found == [4, 6, 0, 1, 4, 6]
    assert "held 5 records, it holds 4" in remarks[0] and "no record '00000002' any more" in remarks[1]
    remarks, found = carried(text, tmp_path / "grown", text, tmp_path / "whole", 3)
    assert found == [0, 1, 2, 3, 4, 0] and "no record '00000008' any more" in remarks[1]


def test_a_changed_database_that_is_shuffled(tmp_path: Path) -> None:
    text = DATA % "cache: true shuffle: true"
    for name, numbers in (("whole", [0, 1, 2, 3, 4]), ("grown", list(range(7))), ("other", [0, 1, 2, 3, 9])):
        numbered(tmp_path / name / "db", numbers, "lmdb")
    with opened(text, tmp_path / "whole") as one, opened(text, tmp_path / "grown") as two:
        first = labels(one, 1)
        remarks = two.restore(one.state())
        rest = labels(two, 1) + labels(two, 1)[:1]
        assert len(remarks) == 2 and sorted(first + rest) == list(range(7)) and rest[2:] == [5, 6]
    with opened(text, tmp_path / "whole") as one, opened(text, tmp_path / "other") as two:
        assert two.restore(one.state()) == [
            f"{tmp_path}/other/db has other keys; the order of this round holds for their places"
        ]
    remarks, found = carried(text, tmp_path / "whole", DATA % "", tmp_path / "whole", 1)
    assert found[:5] == [0, 1, 2, 3, 4] and remarks == ["records were shuffled, they are not; the first comes next"]
    remarks, _ = carried(DATA % "", tmp_path / "whole", text, tmp_path / "whole", 1)
    assert remarks == ["records were not shuffled, they are; a new order begins"]


def with_list(folder: Path, at: Path, numbers: list[int]) -> Path:
    """A folder with a list of these of the pictures, each with its number as label."""
    at.mkdir()
    (at / "list.txt").write_text("".join(f"{folder}/i{number}.png {number}\n" for number in numbers))
    return at


def test_a_changed_list(folder: Path, tmp_path: Path) -> None:
    whole = with_list(folder, tmp_path / "whole", list(range(6)))
    more_before = with_list(folder, tmp_path / "before", [6, *range(6)])
    fewer = with_list(folder, tmp_path / "fewer", [0, 1])
    remarks, found = carried(LIST % "", whole, LIST % "", more_before, 1)
    assert found == [3, 4, 5, 6, 0, 1]
    assert remarks == [f"{more_before}/list.txt has changed (it had 6 lines, it has 7); line 5 comes next"]
    remarks, found = carried(LIST % "", whole, LIST % "", fewer, 1)
    assert found == [0, 1, 0, 1, 0, 1] and "line 1 comes next" in remarks[0]
    text = LIST % "shuffle: true"
    with opened(text, whole) as one, opened(text, more_before) as two:
        first = labels(one, 2)[:5]
        assert len(two.restore(one.state())) == 1
        assert sorted(first) != labels(two, 1)
    remarks, _ = carried(text, whole, LIST % "", whole, 1)
    assert remarks == ["shuffle was true, it is false"]


def test_changed_hdf5_files(folder: Path, tmp_path: Path) -> None:
    plain, shuffled = TEXTS["HDF5Data"]
    write_rows(tmp_path / "b.h5", range(5, 7))
    write_rows(tmp_path / "c.h5", range(7, 9))
    (tmp_path / "h5.txt").write_text("c.h5\nb.h5\n")
    remarks, found = carried(plain, folder, plain, tmp_path, 2)  # row 1 of b.h5 is next
    assert found == [6, 7, 8, 5, 6, 7] and remarks == [f"{tmp_path}/h5.txt lists other files; b.h5 is read"]
    write_rows(tmp_path / "b.h5", range(5, 6))
    remarks, found = carried(plain, folder, plain, tmp_path, 2)
    assert found[:3] == [7, 8, 5] and remarks[1] == f"{tmp_path}/b.h5 has 1 rows, the file then had 2"
    remarks, _ = carried(shuffled, folder, plain, folder, 1)
    assert remarks[0] == "shuffle was true, it is false"
