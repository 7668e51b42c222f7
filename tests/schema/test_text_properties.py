"""Any message survives being printed and read; no text makes the reader fall over."""

from __future__ import annotations

import math

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffecompat import glog
from caffecompat.schema import PrototxtError, parse_text, pb, write_text
from caffecompat.schema.fields import BOOL, BYTES, ENUM, FLOAT, INT, MESSAGE, table_of
from caffecompat.schema.problems import Text
from caffecompat.schema.text_reader import read_text

SETTINGS = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def silent():
    glog.set_sink(lambda line: None)
    yield
    glog.set_sink(None)


def _scalar(draw, field):
    if field.kind == INT:
        return draw(st.integers(field.low, field.high))
    if field.kind == FLOAT:
        return draw(st.floats(width=64 if field.double else 32, allow_nan=False))
    if field.kind == BOOL:
        return draw(st.booleans())
    if field.kind == ENUM:
        return draw(st.sampled_from([value.number for value in field.enum.values]))
    if field.kind == BYTES:
        return draw(st.binary(max_size=8))
    return draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


def _fill(draw, message, depth):
    fields = draw(
        st.lists(st.sampled_from(table_of(message.DESCRIPTOR).ordered), max_size=4, unique_by=lambda f: f.name)
    )
    for field in fields:
        count = draw(st.integers(1, 3)) if field.repeated else 1
        for _ in range(count):
            holder = getattr(message, field.name)
            if field.kind == MESSAGE:
                child = holder.add() if field.repeated else holder
                if not field.repeated:
                    child.SetInParent()
                if depth < 4:
                    _fill(draw, child, depth + 1)
            elif field.repeated:
                holder.append(_scalar(draw, field))
            else:
                setattr(message, field.name, _scalar(draw, field))


@st.composite
def messages(draw):
    message = draw(st.sampled_from([pb.NetParameter, pb.SolverParameter, pb.LayerParameter, pb.BlobProto]))()
    _fill(draw, message, 0)
    return message


@SETTINGS
@given(messages())
def test_round_trip(message):
    text = write_text(message)
    assert parse_text(text, type(message)()) == message
    assert all(math.isfinite(len(line)) and line.isascii() for line in text.split("\n"))


_WORDS = st.sampled_from(
    [
        "layer",
        "name",
        "layers",
        "input",
        "top",
        "pooling_param",
        "pool",
        "MAX",
        "kernel_size",
        "param",
        "lr_mult",
        "foo",
    ]
    + [
        "{",
        "}",
        "<",
        ">",
        "[",
        "]",
        ":",
        ";",
        ",",
        "-",
        "#",
        "\n",
        '"',
        "'",
        "\\",
        "1",
        "1.5",
        "0x",
        "true",
        '"a"',
        "é",
        "\0",
    ]
)


@SETTINGS
@given(
    st.one_of(
        st.text(max_size=60), st.lists(_WORDS, max_size=40).map(" ".join), st.lists(_WORDS, max_size=40).map("".join)
    )
)
def test_garbage_is_an_error_or_a_message(text):
    message = pb.NetParameter()
    try:
        parse_text(text, message)
    except PrototxtError as error:
        assert error.problems
        lines = text.count("\n") + 1
        assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in error.problems)
        assert str(error)
    else:
        assert parse_text(write_text(message), pb.NetParameter()) == message


@SETTINGS
@given(st.data())
def test_a_net_cut_or_broken_anywhere_is_told_of(data):
    text = 'name: "x"\nlayer {\n  type: "Pooling"\n  pooling_param { pool: MAX kernel_size: [3] }\n}\n'.replace(
        "[3]", "3"
    )
    at = data.draw(st.integers(0, len(text) - 1))
    replacement = data.draw(st.sampled_from(["", "{", "}", '"', ":", "x", " "]))
    found = read_text(Text("t", text[:at] + replacement + text[at + 1 :]), pb.NetParameter())
    for problem in found.problems:
        assert problem.message and 1 <= problem.line <= 6


def test_the_schema_has_no_field_the_reader_cannot_read():
    known = {value for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    waiting = list(pb.NetParameter.DESCRIPTOR.file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_types)
        for field in message.fields:
            assert field.type in known - {FieldDescriptor.TYPE_GROUP}
