"""Small sound files of the formats that are fuzzed, always the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum

__all__ = ["RECORDS", "annotation_files", "arrays", "databases", "datums", "hdf5_files", "pictures", "states", "texts"]

_KINDS = ("png", "jpg", "bmp", "gif", "tiff", "webp", "pgm", "ppm", "pam", "pfm", "sr", "hdr", "jp2", "avif")


def _pixels(height: int = 24, width: int = 31, channels: int = 3) -> np.ndarray:
    rows, columns = np.indices((height, width))
    plane = (rows * 7 + columns * 5) % 256
    return np.stack([(plane + 60 * channel) % 256 for channel in range(channels)], 2).astype(np.uint8)


def pictures(folder: Path) -> list[Path]:
    """A picture of each kind that this OpenCV writes; PNGs of several kinds of pixels."""
    made = []
    for kind in _KINDS:
        pixels = _pixels()[:, :, 0] if kind == "pgm" else _pixels()
        pixels = pixels.astype(np.float32) if kind in ("pfm", "hdr") else pixels
        try:
            done, data = cv2.imencode("." + kind, pixels)
        except cv2.error:
            done = False
        if done:
            made.append(_write(folder / f"picture.{kind}", bytes(data)))
    for name, pixels in (
        ("gray", _pixels()[:, :, 0]),
        ("alpha", _pixels(channels=4)),
        ("deep", _pixels().astype(np.uint16) * 257),
    ):
        made.append(_write(folder / f"{name}.png", bytes(cv2.imencode(".png", pixels)[1])))
    return made


def datums(folder: Path) -> list[Path]:
    """Records: raw, of floats, encoded, annotated."""
    raw = Datum.from_array(_pixels(8, 8).transpose(2, 0, 1), 1)
    floats = Datum.from_array(np.ones((3, 8, 8), np.float32), 1)
    png = Datum(data=bytes(cv2.imencode(".png", _pixels(8, 8))[1]), label=1, encoded=True)
    jpg = Datum(data=bytes(cv2.imencode(".jpg", _pixels(8, 8))[1]), label=1, encoded=True)
    boxes = np.array([[1, 0, 0.1, 0.2, 0.6, 0.7, 0], [2, 0, 0, 0, 1, 1, 1]], np.float32)
    records = {
        name: encode_datum(datum) for name, datum in (("raw", raw), ("floats", floats), ("png", png), ("jpg", jpg))
    }
    records["boxes"] = encode_annotated_datum(AnnotatedDatum(jpg, boxes))
    return [_write(folder / name, record) for name, record in records.items()]


RECORDS = {"big": 12, "small": 700, "encoded": 40}  # of the databases


def databases(folder: Path, backend: str) -> list[Path]:
    """Databases of few big, of many small and of encoded records."""
    made = []
    big = [(b"%08d" % number, encode_datum(Datum.from_array(_pixels(60, 60).transpose(2, 0, 1), number % 4)))
           for number in range(RECORDS["big"])]  # fmt: skip
    small = [(b"%08d" % number, encode_datum(Datum.from_array(np.full((1, 3, 3), number % 200, np.uint8), number % 4)))
             for number in range(RECORDS["small"])]  # fmt: skip
    png = bytes(cv2.imencode(".png", _pixels(8, 8))[1])
    encoded = [
        (b"%08d_x.png" % n, encode_datum(Datum(data=png, label=n, encoded=True))) for n in range(RECORDS["encoded"])
    ]
    for name, records in (("big", big), ("small", small), ("encoded", encoded)):
        with open_database(folder / name, backend, "w") as writer:
            half = len(records) // 2
            writer.put(records[:half])
            writer.put(records[half:])
        made.append(folder / name)
    if backend == "leveldb":  # with tables besides the log
        import plyvel

        database = plyvel.DB(str(folder / "big"))
        database.compact_range()
        database.close()
    return made


def hdf5_files(folder: Path) -> list[Path]:
    """HDF5Data's files: plain, compressed in chunks, of an old and a new layout."""
    import h5py

    made = []
    for name, layout, options in (
        ("plain", "earliest", {}),
        ("packed", "earliest", {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}),
        ("new", "latest", {"chunks": True, "maxshape": (None, 2, 5, 5)}),
    ):
        with h5py.File(folder / f"{name}.h5", "w", libver=layout) as file:
            file.create_dataset("data", data=np.arange(500, dtype=np.float32).reshape(10, 2, 5, 5), **options)
            file["label"] = np.arange(10, dtype=np.int64)
            file["other"] = np.array([b"text", b"more"])
        made.append(folder / f"{name}.h5")
    return made


def arrays(folder: Path) -> list[Path]:
    """.npy files of several types."""
    for name, values in (
        ("floats", np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
        ("turned", np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        ("bytes", np.arange(10, dtype=np.uint8)),
    ):
        np.save(folder / f"{name}.npy", values)
    return sorted(folder.glob("*.npy"))


def states(folder: Path) -> list[Path]:
    """Weights by name: .npz, .pth of both kinds, .safetensors."""
    import torch
    from safetensors.numpy import save_file

    named = {"conv.0": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "conv.1": np.ones(2, np.float32)}
    np.savez(folder / "plain.npz", allow_pickle=False, **named)
    np.savez_compressed(folder / "packed.npz", allow_pickle=False, **named)
    save_file(named, folder / "x.safetensors")
    tensors = {key: torch.from_numpy(values) for key, values in named.items()}
    torch.save(tensors, folder / "new.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "old.pth", _use_new_zipfile_serialization=False)
    return sorted(path for path in folder.iterdir() if path.is_file())


_XML = """<annotation><filename>a.jpg</filename><size><width>31</width><height>24</height><depth>3</depth>
</size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax>
</bndbox></object><object><name>dog</name><difficult>1</difficult><bndbox><xmin>5.5</xmin><ymin>2</ymin><xmax>9</xmax>
<ymax>11</ymax></bndbox></object></annotation>
"""


def annotation_files(folder: Path) -> list[Path]:
    """Annotations of one picture in three formats, COCO's instances, results of detectors."""
    single = {
        "image": {"height": 24, "width": 31},
        "annotation": [
            {"category_id": 1, "bbox": [1, 2, 10.5, 9], "iscrowd": 0},
            {"category_id": 2, "bbox": [0, 0, 4, 4]},
        ],
    }
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 24, "width": 31}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    results = [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3.5, 4], "score": 0.25}]
    return [
        _write(folder / "one.xml", _XML.encode()),
        _write(folder / "one.json", json.dumps(single).encode()),
        _write(folder / "one.txt", b"1 2 3 10 12\n2 0 0 31.5 24\n"),
        _write(folder / "coco.json", json.dumps(coco).encode()),
        _write(folder / "results.json", json.dumps(results).encode()),
        _write(folder / "voc_cat.txt", b"a 0.5 1 2 3 4\nb 0.25 1 2 3.5 4\n"),
        _write(folder / "ilsvrc.txt", b"a 1 0.5 1 2 3 4\nb 2 0.25 1 2 3.5 4\n"),
    ]


def texts(folder: Path) -> list[Path]:
    """Lists of pictures, label map, window file, sizes; a mean file."""
    from caffecompat.formats.mean import write_mean

    write_mean(folder / "mean.binaryproto", np.arange(27, dtype=np.float32).reshape(3, 3, 3))
    item = 'item { name: "%s" label: %d display_name: "%s" }\n'
    return [
        folder / "mean.binaryproto",
        _write(folder / "images.txt", b"a.png 1\nsub dir/b.png 22\nc.png -3\n"),
        _write(folder / "pairs.txt", b'a.png b.png\n"with blank.png" c.png\n'),
        _write(folder / "labelmap.prototxt", (item % ("bg", 0, "bg") + item % ("cat", 1, "Cat")).encode()),
        _write(
            folder / "windows.txt", b"# 0\na.png\n3\n24\n31\n2\n1 0.9 1 2 10 12\n2 0.3 0 0 5 5\n# 1\nb.png\n3 24 31 0\n"
        ),
        _write(folder / "sizes.txt", b"a 24 31\nb 100 200\n"),
    ]


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
