"""A label that is no class is named with the record it was read from, in training and in pycaffe."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import pycaffe
from caffecompat.data import make_source
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, encode_datum
from caffecompat.layers.layer import LabelError
from caffecompat.net import Net
from caffecompat.schema import pb

REST = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
LABELS = [0, 1, 2, 1, 0, 7, 2, 0]  # batches of 4: the sixth record is item 1 of the second batch
SOURCES = {
    "list": (
        'type: "ImageData" image_data_param { source: "list.txt" batch_size: 4 }',
        "list.txt:6: 5.png",
    ),
    "database": (
        'type: "Data" data_param { source: "db" batch_size: 4 backend: LMDB }',
        "db, record '00005'",
    ),
}


@pytest.fixture(params=SOURCES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with net.prototxt, whose data has a wrong label; what the error is to name."""
    monkeypatch.chdir(tmp_path)
    picture = np.zeros((2, 3, 3), np.uint8)
    for number in range(len(LABELS)):
        cv2.imwrite(f"{number}.png", picture)
    Path("list.txt").write_text("".join(f"{number}.png {label}\n" for number, label in enumerate(LABELS)))
    with open_database("db", "lmdb", "w") as database:
        database.put([
            (b"%05d" % number, encode_datum(Datum.from_array(picture.transpose(2, 0, 1), label)))
            for number, label in enumerate(LABELS)
        ])  # fmt: skip
    layer, name = SOURCES[request.param]
    Path("net.prototxt").write_text(f'layer {{ name: "data" top: "data" top: "label" {layer} }}' + REST)
    return name


def test_in_training(place: str) -> None:
    net = Net("net.prototxt", pb.TRAIN, sources=make_source, log=False)
    net.forward()
    with pytest.raises(LabelError) as found:
        net.forward()
    net.close()
    assert "label 7 in 'label'" in str(found.value) and "batch item 1" in str(found.value)
    assert str(found.value).endswith(f"the label was read from {place}")


def test_in_pycaffe(place: str) -> None:
    net = pycaffe.Net("net.prototxt", pycaffe.TRAIN)
    net.forward()
    with pytest.raises(LabelError, match=f"the label was read from {place}"):
        net.forward()


def test_labels_that_were_changed_are_named_by_their_blob_alone(tmp_path: Path, place: str) -> None:
    shifted = 'layer { name: "p" type: "Power" bottom: "label" top: "shifted" power_param { shift: 9 } }'
    text = Path("net.prototxt").read_text().replace('bottom: "label"', 'bottom: "shifted"')
    at = text.index('layer { name: "loss"')
    Path("net.prototxt").write_text(text[:at] + shifted + text[at:])
    net = Net("net.prototxt", pb.TRAIN, sources=make_source, log=False)
    with pytest.raises(LabelError) as found:
        net.forward()
    net.close()
    assert "label 9 in 'shifted'" in str(found.value) and "read from" not in str(found.value)
