"""The readers that are fuzzed: each reads a file, or the folder of a database, as the commands of users do."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import formats
import numpy as np
import seeds
from mutators import TEXT_MUTATORS, Mutator

from caffecompat.data import make_source
from caffecompat.data.inspection import Checks, inspect_records, verify_records
from caffecompat.data.label_picture import LabelError, decode_labels
from caffecompat.formats import detections, image_list
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.annotations import read_annotations, read_coco
from caffecompat.formats.arrays import read_array
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.formats.label_map import read_class_numbers, read_label_map
from caffecompat.formats.mean import read_mean
from caffecompat.formats.window_file import read_window_file
from caffecompat.net.torch_weights import read_state
from caffecompat.schema import parse_text, pb

__all__ = ["READERS", "FuzzedReader"]


class FuzzedReader(NamedTuple):
    """A reader under test.

    Attributes:
        seeds: makes sound files in a folder.
        read: reads one, sound or damaged; a CaffeCompatError is a good answer.
        mutators: the damage that knows the format.
    """

    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    mutators: tuple[Mutator, ...] = ()


def _next(text: str, batches: int = 2) -> None:
    """Batches of a data layer."""
    layer = pb.LayerParameter()
    parse_text(text, layer)
    source = make_source(layer, pb.TRAIN)
    try:
        for _ in range(batches):
            source.next()
    finally:
        source.close()


def _read_database(path: Path, backend: str, *, counted: bool = True) -> None:
    """As lmdb info, verify and show do, then as the Data layer does.

    Args:
        counted: records that are missing without an error are a failure.
    """
    with open_database(path) as database:
        inspect_records(database)
        verify_records(database, Checks(one_size=False), threads=1)
        keys = list(database.keys())
        if counted and len(keys) != seeds.RECORDS[path.name.removeprefix("x_")]:
            raise AssertionError(f"{len(keys)} records of {path.name}: some are lost in silence")
        assert database.get(keys[-1]) is not None
    _next(f'name: "d" type: "Data" top: "data" top: "label" data_param {{ source: "{path}" batch_size: 5 '
          f"backend: {backend.upper()} }}")  # fmt: skip


def _read_datum(path: Path) -> None:
    """A record among sound ones in a sound database, as lmdb verify and the Data or AnnotatedData layer read it."""
    sound, kind, more = Datum.from_array(np.zeros((3, 8, 8), np.uint8), 0), "Data", ""
    neighbor = encode_datum(sound)
    if path.name.endswith("boxes"):
        neighbor = encode_annotated_datum(AnnotatedDatum(sound))
        kind, more = "AnnotatedData", "transform_param { resize_param { height: 8 width: 8 } }"
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        with open_database(folder / "db", "lmdb", "w") as writer:
            writer.put([(b"0", neighbor), (b"1", path.read_bytes()), (b"2", neighbor)])
        with open_database(folder / "db") as database:
            inspect_records(database)
            verify_records(database, Checks(classes=3), threads=1)
        _next(f'name: "d" type: "{kind}" top: "data" top: "label" {more} data_param {{ source: "{folder}/db" '
              "batch_size: 3 backend: LMDB }")  # fmt: skip
    finally:
        shutil.rmtree(folder)


def _read_picture(path: Path) -> None:
    """As a label picture, and as ImageData reads it as it is, and resized."""
    with contextlib.suppress(LabelError):
        decode_labels(path.read_bytes())
    listed = path.with_name("list.txt")
    listed.write_text(f"{path} 1\n")
    for size in ("", "new_height: 8 new_width: 9"):
        fields = f'image_data_param {{ source: "{listed}" batch_size: 2 {size} }}'
        _next(f'name: "d" type: "ImageData" top: "data" top: "label" {fields}', 1)


def _read_hdf5(path: Path) -> None:
    listed = path.with_name("list.txt")
    listed.write_text(f"{path}\n")
    _next(f'name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param {{ source: "{listed}" batch_size: 7 }}')


def _read_annotations(path: Path) -> None:
    if path.name.endswith("coco.json"):
        for picture in read_coco(path).pictures:
            picture.annotations("coco.json", (24, 31), {"3": 1})
    elif "one" in path.name:
        read_annotations(path, path.suffix[1:], (24, 31), {"cat": 1, "dog": 2, "1": 1, "2": 2})
    else:
        detections.read_detections(str(path))


_TEXTS: dict[str, Callable[[Path], object]] = {
    "mean.binaryproto": read_mean,
    "images.txt": image_list.read_image_list,
    "pairs.txt": image_list.read_pair_list,
    "labelmap.prototxt": lambda path: (read_label_map(path), read_class_numbers(path)),
    "windows.txt": read_window_file,
    "sizes.txt": lambda path: detections.read_name_sizes(str(path)),
}


def _read_text(path: Path) -> None:
    next(read for name, read in _TEXTS.items() if path.name.endswith(name))(path)


def _databases(backend: str) -> Callable[[Path], list[Path]]:
    return partial(seeds.databases, backend=backend)


READERS: dict[str, FuzzedReader] = {
    "lmdb": FuzzedReader(_databases("lmdb"), partial(_read_database, backend="lmdb"), formats.LMDB * 2),
    "leveldb": FuzzedReader(_databases("leveldb"), partial(_read_database, backend="leveldb")),
    "leveldb_entries": FuzzedReader(  # whose checksums are right, so that records can be gone
        _databases("leveldb"), partial(_read_database, backend="leveldb", counted=False), formats.LEVELDB * 4
    ),
    "datum": FuzzedReader(seeds.datums, _read_datum),
    "picture": FuzzedReader(seeds.pictures, _read_picture, formats.PNG),
    "hdf5": FuzzedReader(seeds.hdf5_files, _read_hdf5),
    "npy": FuzzedReader(seeds.arrays, read_array, formats.NPY),
    "state": FuzzedReader(seeds.states, read_state, formats.ZIP),
    "annotations": FuzzedReader(seeds.annotation_files, _read_annotations, TEXT_MUTATORS),
    "text": FuzzedReader(seeds.texts, _read_text, TEXT_MUTATORS),
}
