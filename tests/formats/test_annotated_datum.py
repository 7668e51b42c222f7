from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats.annotated_datum import (
    AnnotatedDatum,
    decode_annotated_datum,
    encode_annotated_datum,
    is_annotated_datum,
)
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, DatumError, encode_datum
from caffecompat.schema import pb


def message(random: np.random.Generator, groups: int) -> pb.AnnotatedDatum:
    """A record as protobuf has it, with up to three objects a group."""
    record = pb.AnnotatedDatum(type=0)
    record.datum.data, record.datum.label, record.datum.encoded = random.bytes(20), -1, True
    for label in random.permutation(300)[:groups].tolist():
        group = record.annotation_group.add(group_label=label)
        for instance in range(int(random.integers(1, 4))):
            one = group.annotation.add(instance_id=instance)
            for name, value in zip(("xmin", "ymin", "xmax", "ymax"), random.random(4).tolist(), strict=True):
                setattr(one.bbox, name, value)
            one.bbox.difficult = bool(random.integers(2))
    return record


@pytest.mark.parametrize("groups", [0, 1, 5])
def test_as_protobuf_reads_and_writes(groups: int) -> None:
    theirs = message(np.random.default_rng(groups), groups)
    ours = decode_annotated_datum(theirs.SerializeToString())
    assert ours.type == 0 and ours.datum.label == -1 and bytes(ours.datum.data or b"") == theirs.datum.data
    rows = [
        [group.group_label, one.instance_id, one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax,
         one.bbox.difficult]
        for group in theirs.annotation_group
        for one in group.annotation
    ]  # fmt: skip
    np.testing.assert_array_equal(ours.objects, np.array(rows, np.float32).reshape(-1, 7))
    assert encode_annotated_datum(ours) == theirs.SerializeToString()


@pytest.mark.parametrize("name", ["db_anno_lmdb", "db_anno_raw_lmdb"])
def test_records_of_the_original_come_back_byte_for_byte(golden: Path, name: str) -> None:
    with open_database(golden / "annotated" / name) as database:
        for _, value in database:
            assert is_annotated_datum(value)
            assert encode_annotated_datum(decode_annotated_datum(value)) == value


def test_objects_of_a_class_are_put_together() -> None:
    rows = np.array([[2, 0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 1, 1, 0], [2, 1, 0, 0, 1, 1, 1]], np.float32)
    record = AnnotatedDatum(Datum(1, 1, 1, b"x"), rows)
    assert decode_annotated_datum(encode_annotated_datum(record)).objects[:, 0].tolist() == [2, 2, 1]


def test_a_record_without_type_is_for_classification() -> None:
    record = decode_annotated_datum(encode_annotated_datum(AnnotatedDatum(Datum(1, 1, 1, b"x", label=7), type=None)))
    assert record.type is None and record.datum.label == 7 and record.objects.shape == (0, 7)


def test_oriented_boxes_and_label_pictures_of_xilinx() -> None:
    theirs = message(np.random.default_rng(0), 1)
    theirs.label_ori = True
    theirs.seg_datum.height = 4
    box = theirs.annotation_group[0].annotation[0].bbox
    box.angle_cos, box.angle_sin = 0.5, -0.25
    ours = decode_annotated_datum(theirs.SerializeToString())
    assert ours.oriented and ours.objects[0, 7:].tolist() == [0.5, -0.25]
    assert ours.segmentation is not None and ours.segmentation.height == 4
    again = decode_annotated_datum(encode_annotated_datum(ours))
    np.testing.assert_array_equal(again.objects, ours.objects)


def test_a_label_behind_its_objects_and_unknown_fields() -> None:
    theirs = message(np.random.default_rng(1), 1)
    group = theirs.annotation_group[0]
    inner = group.annotation[0].SerializeToString()
    turned = bytes([0x12, len(inner)]) + inner + bytes([0x08, 9])
    record = bytes([0x1A, len(turned)]) + turned + bytes([0xF8, 0x07, 1])  # field 127
    assert decode_annotated_datum(record).objects[0, 0] == 9


def test_what_is_no_annotated_datum() -> None:
    plain = encode_datum(Datum(1, 1, 1, b"x", label=3))
    assert not is_annotated_datum(plain) and not is_annotated_datum(b"")
    with pytest.raises(DatumError, match="plain Datum, which the Data layer reads"):
        decode_annotated_datum(plain)
    whole = message(np.random.default_rng(0), 3).SerializeToString()
    for length in range(1, len(whole), 7):
        try:
            decode_annotated_datum(whole[:length])
        except DatumError as error:
            assert "is not a" in str(error)
