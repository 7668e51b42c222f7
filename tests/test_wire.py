import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffecompat import wire


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_varints_survive_the_round_trip(value: int) -> None:
    data = wire.varint(value)
    assert wire.read_varint(data, 0, len(data)) == (value % (1 << 64), len(data))
    if value < 1 << 63:
        assert wire.signed(value % (1 << 64)) == value


def test_fields_are_located_not_read() -> None:
    data = wire.varint_field(4, 300) + wire.string_field(100, "abc") + wire.float_field(5, 1.0) + b"\x31" + bytes(8)
    at, seen = 0, []
    while at < len(data):
        number, kind, value, at = wire.read_field(data, at, len(data))
        seen.append((number, kind, value, at))
    assert seen == [
        (4, wire.VARINT, 300, 3),
        (100, wire.BYTES, 6, 9),
        (5, wire.FIXED32, 10, 14),
        (6, wire.FIXED64, 15, 23),
    ]


def test_groups_are_passed_over_whole() -> None:
    inner = b"\x0b" + wire.varint_field(3, 7) + b"\x0c"  # group 1
    data = b"\x13" + inner + wire.string_field(9, "x") + b"\x14"  # group 2
    assert wire.read_field(data, 0, len(data))[3] == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0e",  # wire type 6
        b"\x0c",  # the end of no group
        b"\x00",  # field 0
        b"\x0b\x14",  # group 1 ended as group 2
        b"\x0b" * 200,  # groups without end
        b"\x08" + b"\xff" * 11,  # a varint of eleven bytes
    ],
)
def test_what_is_no_field_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_field(data, 0, len(data))


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0d\0\0", b"\x09\0\0", b"\x08\x80", b"\x0a", b"\x0b\x08"])
def test_a_field_that_runs_past_its_end_says_by_how_much(data: bytes) -> None:
    with pytest.raises(wire.Overrun) as caught:
        wire.read_field(data, 0, len(data))
    assert caught.value.at + caught.value.left == len(data)
    assert caught.value.size > caught.value.left
