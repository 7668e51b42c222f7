"""Datum bytes: against protobuf's own, against recorded records, and against noise."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, DatumError, decode_datum, encode_datum
from caffecompat.schema import pb

int32 = st.integers(-(1 << 31), (1 << 31) - 1)
floats = st.lists(st.floats(width=32, allow_nan=False), max_size=9)
messages = st.fixed_dictionaries(
    {},
    optional={
        "channels": int32,
        "height": int32,
        "width": int32,
        "data": st.binary(max_size=300),
        "label": int32,
        "float_data": floats,
        "encoded": st.booleans(),
    },
)


@given(messages)
def test_agrees_with_protobuf_both_ways(fields):
    message = pb.Datum(**fields)
    record = message.SerializeToString(deterministic=True)
    datum = decode_datum(record)
    for name in ("channels", "height", "width", "label", "encoded"):
        assert getattr(datum, name) == (getattr(message, name) if message.HasField(name) else None)
    assert (None if datum.data is None else bytes(datum.data)) == (message.data if message.HasField("data") else None)
    values = [] if datum.float_data is None else datum.float_data.tolist()
    assert values == list(message.float_data)
    assert encode_datum(datum) == record


@given(st.binary(max_size=60))
def test_any_bytes_are_a_datum_or_a_datum_error(noise):
    with contextlib.suppress(DatumError):
        decode_datum(noise)


@given(messages, st.data())
def test_a_cut_record_never_reads_beyond_its_end(fields, data):
    record = pb.Datum(**fields).SerializeToString()
    cut = record[: data.draw(st.integers(0, len(record)))]
    try:
        datum = decode_datum(cut)
    except DatumError:
        return
    assert len(datum.data or b"") <= len(cut)


def test_the_last_of_a_field_wins_and_packed_floats_join_unpacked_ones():
    record = (
        b"\x28\x03\x28\x05" + b"\x32\x08" + np.array([1, 2], "<f4").tobytes() + b"\x35" + np.array(3, "<f4").tobytes()
    )
    datum = decode_datum(record)
    assert datum.label == 5
    assert datum.float_data.tolist() == [1, 2, 3]


def test_unknown_fields_are_passed_over():
    # Jacinto's record_id (8), a field of eight bytes, a field with a number of two bytes.
    record = b"\x40\x07" + b"\x49" + bytes(8) + b"\xa2\x06\x02hi" + b"\xa5\x06abcd" + b"\x28\x01"
    assert decode_datum(record) == Datum(label=1)


def test_an_annotated_datum_is_recognized():
    record = pb.Datum(data=b"abc", label=-1).SerializeToString()
    with pytest.raises(DatumError, match="AnnotatedDatum"):
        decode_datum(b"\x0a" + bytes([len(record)]) + record)


def test_the_pixels_are_a_view_of_the_record():
    record = encode_datum(Datum.from_array(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), 7))
    array = decode_datum(record).array()
    assert array.tolist() == np.arange(24).reshape(2, 3, 4).tolist()
    assert np.shares_memory(array, np.frombuffer(record, np.uint8))


def test_features_become_float_data():
    values = np.linspace(-1, 1, 12).reshape(3, 2, 2)
    datum = decode_datum(encode_datum(Datum.from_array(values)))
    assert datum.data is None
    np.testing.assert_array_equal(datum.array(), values.astype(np.float32))


def test_a_wrong_size_is_named():
    with pytest.raises(DatumError, match=r"1x2x2.*needs 4 values, and holds 3"):
        Datum(1, 2, 2, b"abc").array()


def test_an_encoded_picture_that_cannot_be_decoded_is_named():
    with pytest.raises(DatumError, match="cannot be decoded"):
        Datum(data=b"\x89PNG nothing", encoded=True).image()


@pytest.mark.parametrize("name", ["db_raw_lmdb", "db_gray_lmdb", "db_encpng_lmdb", "db_encorig_lmdb", "db_raw_leveldb"])
def test_recorded_records_come_back_byte_for_byte(golden, name):
    if "leveldb" in name:
        pytest.importorskip("plyvel")
    with open_database(golden / "data" / name) as database:
        records = list(database)
    assert len(records) == 10
    for _, record in records:
        assert encode_datum(decode_datum(record)) == record


def test_raw_and_png_records_hold_the_same_pixels(golden):
    with open_database(golden / "data/db_raw_lmdb") as raw, open_database(golden / "data/db_encpng_lmdb") as png:
        for (key, one), (other_key, other) in zip(raw, png, strict=True):
            assert key == other_key
            np.testing.assert_array_equal(decode_datum(one).image(), decode_datum(other).image())


def test_gray_is_forced_on_encoded_pictures_only(golden):
    with open_database(golden / "data/db_encpng_lmdb") as database:
        datum = decode_datum(next(iter(database))[1])
    assert datum.image(False).shape == (32, 36, 1)
    assert datum.image(True).shape == datum.image().shape == (32, 36, 3)


def test_a_tag_of_more_bytes_than_it_needs_is_read():
    whole = encode_datum(Datum(1, 1, 3, float_data=np.array([1, 2, 3], np.float32)))
    long = whole.replace(b"\x35\0\0\0\x40", b"\xb5\0\0\0\0\x40")  # 2.0
    assert pb.Datum.FromString(long).float_data[:] == [1, 2, 3]
    assert decode_datum(long).float_data.tolist() == [1, 2, 3]
