"""The small SSD that SSD's Caffe trained, with its test pictures in every form a detection set can have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from caffecompat.evaluate.detection_sets import LabeledPicture, open_detection_set

_VOC = (
    """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"""
)
_OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
    "<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
)
CLASSES = {1: "aeroplane", 2: "bicycle", 3: "bird"}
PREPROCESS = ("--mean", "104,117,123", "--scale", "0.01")


class SsdWorld:
    """A folder with test.prototxt, deploy.prototxt, weights, db_test_lmdb, labelmap.prototxt and six pictures.

    Attributes:
        pictures: what db_test_lmdb holds.
    """

    def __init__(self, folder: Path, recorded: Path) -> None:
        self.folder = folder
        shutil.copytree(recorded, folder, dirs_exist_ok=True)
        self.weights, self.test, self.deploy = (
            folder / name for name in ("ssd_iter_70.caffemodel", "test.prototxt", "deploy.prototxt")
        )
        layers = [
            line
            for line in self.test.read_text().splitlines()
            if "AnnotatedData" not in line and "DetectionEvaluate" not in line
        ]
        shape = "shape { dim: 1 dim: 3 dim: 32 dim: 40 }"
        layers.insert(1, f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}')
        self.deploy.write_text("\n".join(layers))
        known = open_detection_set(database=str(folder / "db_test_lmdb"))
        self.pictures: list[LabeledPicture] = [known.load(index) for index in range(len(known))]

    def write_pictures(self) -> Path:
        """The pictures as PNG files in pictures/."""
        folder = self.folder / "pictures"
        folder.mkdir()
        for one in self.pictures:
            assert one.picture is not None
            cv2.imwrite(str(folder / f"{one.name}.png"), one.picture)
        return folder

    @staticmethod
    def _boxes(one: LabeledPicture) -> list[tuple[int, list[float], bool]]:
        height, width = one.size
        return [
            (int(row[0]), (row[2:6] * [width, height, width, height]).round(3).tolist(), bool(row[6]))
            for row in one.objects
        ]

    def write_list(self) -> Path:
        """list.txt with lines 'picture annotation.xml'."""
        self.write_pictures()
        lines = []
        for one in self.pictures:
            objects = "".join(
                _OBJECT.format(name=CLASSES[label], difficult=int(hard), x0=x0, y0=y0, x1=x1, y1=y1)
                for label, (x0, y0, x1, y1), hard in self._boxes(one)
            )
            xml = _VOC.format(height=one.size[0], width=one.size[1], objects=objects)
            (self.folder / f"pictures/{one.name}.xml").write_text(xml)
            lines.append(f"pictures/{one.name}.png pictures/{one.name}.xml\n")
        (self.folder / "list.txt").write_text("".join(lines))
        return self.folder / "list.txt"

    def write_coco(self) -> Path:
        """instances.json, whose pictures lie in pictures/; category ids are 11, 12, 13."""
        self.write_pictures()
        annotations = []
        for number, one in enumerate(self.pictures):
            for label, (x0, y0, x1, y1), hard in self._boxes(one):
                entry = {"id": len(annotations) + 1, "image_id": number + 100, "category_id": label + 10}
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": int(hard)}
                annotations.append({**entry, **box})
        content = {
            "images": [
                {"id": number + 100, "file_name": f"{one.name}.png", "height": one.size[0], "width": one.size[1]}
                for number, one in enumerate(self.pictures)
            ],
            "annotations": annotations,
            "categories": [{"id": label + 10, "name": name} for label, name in CLASSES.items()],
        }
        path = self.folder / "instances.json"
        path.write_text(json.dumps(content))
        return path

    def write_video(self) -> Path:
        """video.avi, each picture one frame, eight times as large."""
        path = self.folder / "video.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (320, 256))
        for one in self.pictures:
            assert one.picture is not None
            writer.write(np.repeat(np.repeat(one.picture, 8, 0), 8, 1))
        writer.release()
        return path
