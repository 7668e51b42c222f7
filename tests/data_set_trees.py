"""Data sets of a few pictures, laid out as the published ones are after unpacking."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

__all__ = ["cityscapes", "coco", "devkit", "imagenet", "palette_png", "picture", "sbd", "video", "voc2012", "voc_xml"]


def picture(path: Path, height: int = 6, width: int = 8) -> None:
    """A picture file of any kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower().replace("jpeg", "jpg")
    path.write_bytes(cv2.imencode(kind, np.full((height, width, 3), len(path.name), np.uint8))[1].tobytes())


def palette_png(path: Path, indices: np.ndarray) -> None:
    """A PNG with a palette whose colors have nothing to do with the indices (H, W) uint8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices.astype(np.uint8))
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", palette)
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def voc_xml(path: Path, *names: str) -> None:
    things = "".join(
        f"<object><name>{name}</name><part><name>head</name></part>"
        "<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>6</xmax><ymax>5</ymax></bndbox></object>"
        for name in names
    )
    size = "<size><width>8</width><height>6</height><depth>3</depth></size>"
    text(path, f"<annotation>{size}{things}</annotation>")


def voc2012(folder: Path) -> Path:
    """VOCdevkit/VOC2012: five pictures for detection, three of them also for segmentation (2 train, 1 val)."""
    year = folder / "VOCdevkit/VOC2012"
    for name in ("2008_000001", "2008_000002", "2007_000001", "2007_000002", "2007_000003"):
        picture(year / f"JPEGImages/{name}.jpg")
        voc_xml(year / f"Annotations/{name}.xml", "dog", "person")
    main, segmentation = year / "ImageSets/Main", year / "ImageSets/Segmentation"
    text(main / "train.txt", "2008_000001", "2007_000001", "2007_000002")
    text(main / "val.txt", "2008_000002", "2007_000003")
    text(main / "trainval.txt", "2007_000001", "2007_000002", "2007_000003", "2008_000001", "2008_000002")
    text(main / "dog_train.txt", "2008_000001  1", "2007_000001 -1")
    text(segmentation / "train.txt", "2007_000001", "2007_000002")
    text(segmentation / "val.txt", "2007_000003")
    text(segmentation / "trainval.txt", "2007_000001", "2007_000002", "2007_000003")
    for number, name in enumerate(("2007_000001", "2007_000002", "2007_000003"), 1):
        indices = np.full((6, 8), number, np.uint8)
        indices[0], indices[-1] = 0, 255
        palette_png(year / f"SegmentationClass/{name}.png", indices)
    return year


def sbd(folder: Path) -> Path:
    """benchmark_RELEASE/dataset: pictures of VOC2012, one of them in VOC's train and one in its val."""
    from scipy.io import savemat

    base = folder / "benchmark_RELEASE/dataset"
    names = ("2008_000001", "2008_000002", "2007_000001", "2007_000003")
    for number, name in enumerate(names, 5):
        picture(base / f"img/{name}.jpg")
        (base / "cls").mkdir(exist_ok=True)
        classes = np.full((6, 8), number, np.uint8)
        classes[0] = 0
        categories = {"Boundaries": np.zeros((20, 1), object), "Segmentation": classes, "CategoriesPresent": number}
        savemat(base / f"cls/{name}.mat", {"GTcls": categories}, do_compression=True)
    text(base / "train.txt", "2008_000002", "2007_000003")
    text(base / "val.txt", "2008_000001", "2007_000001")
    return base


def cityscapes(folder: Path) -> Path:
    """cityscapes: two pictures of train and one of val, with fine labels."""
    base = folder / "cityscapes"
    for split, frames in (
        ("train", ("aachen_000000_000019", "ulm_000001_000019")),
        ("val", ("bonn_000000_000019",)),
    ):
        for frame in frames:
            city = frame.split("_")[0]
            picture(base / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png")
            place = base / f"gtFine/{split}/{city}/{frame}"
            place.parent.mkdir(parents=True, exist_ok=True)
            ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % 34
            cv2.imwrite(f"{place}_gtFine_labelIds.png", ids)
            cv2.imwrite(f"{place}_gtFine_color.png", np.zeros((6, 8, 3), np.uint8))
            text(Path(f"{place}_gtFine_polygons.json"), "{}")
    return base


_COCO_NAMES = {1: "person", 3: "car", 13: "stop sign", 90: "toothbrush"}


def coco(folder: Path, names: dict[int, str] | None = None) -> Path:
    """coco: two pictures of train2017 (the file's order is not that of the ids, one has no objects), one of val2017."""
    base = folder / "coco"
    categories = [{"id": key, "name": name} for key, name in (names or _COCO_NAMES).items()]
    for split, numbers in (("train2017", (7, 2)), ("val2017", (3,))):
        images, annotations = [], []
        for number in numbers:
            picture(base / f"{split}/{number:012}.jpg")
            images.append({"id": number, "file_name": f"{number:012}.jpg", "height": 6, "width": 8})
        for key, category in enumerate(categories, 1):
            annotations.append({
                "id": key, "image_id": numbers[-1], "category_id": category["id"], "bbox": [1.5, 1, 4.25, 3],
                "iscrowd": int(key == 2), "area": 12.75, "segmentation": [[1, 1, 2, 2, 3, 3]],
            })  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": categories}
        text(base / f"annotations/instances_{split}.json", json.dumps(content))
    return base


WNIDS = ("n01440764", "n01443537", "n02119789")


def imagenet(folder: Path, flat: bool = False) -> Path:
    """imagenet: four pictures of three classes, and two of val, in folders of classes or in one."""
    base = folder / "imagenet"
    for wnid, numbers in zip(WNIDS, ((10026, 9), (2,), (5,)), strict=True):
        for number in numbers:
            picture(base / f"train/{wnid}/{wnid}_{number}.JPEG")
    for number, wnid in ((1, WNIDS[2]), (2, WNIDS[0])):
        picture(base / f"val/{'' if flat else wnid + '/'}ILSVRC2012_val_{number:08}.JPEG")
    return base


def devkit(folder: Path) -> Path:
    """ILSVRC2012_devkit_t12: its numbers of classes are not in the order of the WordNet ids."""
    from scipy.io import savemat

    base = folder / "ILSVRC2012_devkit_t12"
    rows = [(1, WNIDS[2], "kit fox"), (2, WNIDS[0], "tench, Tinca tinca"), (3, WNIDS[1], "goldfish"), (1001, "n1", "x")]
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    (base / "data").mkdir(parents=True, exist_ok=True)
    savemat(base / "data/meta.mat", {"synsets": np.array(rows, kind).reshape(-1, 1)})
    text(base / "data/ILSVRC2012_validation_ground_truth.txt", "1", "2")
    return base


def video(path: Path, count: int) -> None:
    """A video of frames that grow brighter, 20 gray levels each."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 16))
    for number in range(count):
        writer.write(np.full((16, 32, 3), 20 * number % 256, np.uint8))
    writer.release()
