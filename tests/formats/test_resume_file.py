"""The .resume file: what goes in comes out, and what is not one says so."""

from __future__ import annotations

import hashlib
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffecompat.formats.resume_file import ResumeFileError, encode_resume, read_resume, resume_name

CONTENT: dict[str, Any] = {
    "none": None,
    "numbers": [True, 3, -0.1, 1e308, math.inf, 2**70, "text \udcff\n\x00 \u00e4"],
    "float32": np.float32(0.1),
    "order": random.Random(3).sample(range(1000), 1000),
    "generator": random.Random(4).getstate()[1],
    "negative": [-5, *range(60)],
    "huge": [2**64 + k for k in range(60)],
    "truths": [True] * 50,
    "empty": [[], {}, "", np.zeros((0, 3), np.float32)],
    "array": np.arange(24, dtype=">i2").reshape(2, 3, 4)[:, ::-1],
    "bits": np.array([[True, False, True], [True, True, False], [False, False, True]]),
    "nothing": np.zeros((2, 0), bool),
    "doubles": np.array([math.pi, math.nan]),
    "deep": {"a": {"b": [{"c": np.uint8([1, 2])}]}},
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            one.shape == other.shape
            and one.dtype.kind == other.dtype.kind
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other if not isinstance(one, np.generic) else one.item() == other


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    data, digest = encode_resume(CONTENT)
    assert encode_resume(CONTENT) == (data, digest)
    (tmp_path / "a.resume").write_bytes(data)
    content, read = read_resume(tmp_path / "a.resume")
    assert read == digest and same(CONTENT, content)
    assert len(data) < 8000  # an order of 1000 takes two bytes each
    content["array"][...] = 0  # arrays may be written to


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"b": [1, {2}]}}, r"a\.b\[1\] is a set"),
        ({"a": np.array(["x"])}, "a is a ndarray"),
        ({"a": np.array([None])}, "a is a ndarray"),
        ({"a": {3: 4}}, "a has the key 3"),
        ({"$array": 4}, r"content has the key '\$array'"),
    ],
)
def test_what_it_cannot_hold(content: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode_resume(content)


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ResumeFileError) as problem:
        read_resume(path)
    assert str(problem.value).startswith(f"{path}: ")
    return str(problem.value).removeprefix(f"{path}: ")


def signed(body: bytes) -> bytes:
    return b"caffecompat resume 1 " + hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body


def test_damage_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.resume"
    data, _ = encode_resume(CONTENT)
    with pytest.raises(ResumeFileError, match="No such file"):
        read_resume(path)
    assert refused(path, b"") == "is empty"
    assert refused(path, b"PK\x03\x04" * 99) == "is no .resume file"
    assert refused(path, data.replace(b"resume 1", b"resume 7", 1)) == "has version 7; this caffecompat reads version 1"
    long = data.replace(b"resume 1", b"resume " + b"9" * 5000, 1)
    assert refused(path, long) == f"has version {'9' * 20}; this caffecompat reads version 1"
    generator = random.Random(1)
    for _ in range(300):
        at = generator.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ (1 << generator.randrange(8))]) + data[at + 1 :]
        refused(path, flipped)
        refused(path, data[:at])
        refused(path, data + b"\0")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]\n",
        b"{\n",
        b"\xff\n",
        b'{"a":{"$array":["<f4",[4]]}}\n123',
        b'{"a":{"$array":["<f4",[99999999999999]]}}\n',
        b'{"a":{"$array":["|O",[1]]}}\n12345678',
        b'{"a":{"$array":["<f4",[-1]]}}\n',
        *(b'{"a":{"$array":["%s",[1]]}}\n12345678' % name for name in (b"9" * 5000, b"(", b"f4,f4", b"<f3", b"<M8[s]")),
        b'{"a":{"$array":[[["x","<f4"]],[1]]}}\n12345678',
        b'{"a":{"$array":7}}\n',
        b'{"a":{"$ints":["<i8"]}}\n',
        b'{"a":{"$bits":[[9]]}}\n',
        b'{"a":{"$bits":[99999999999]}}\n',
        b'{"a":' + b"[" * 100000,
    ],
)
def test_files_with_a_right_digest_that_make_no_sense(tmp_path: Path, body: bytes) -> None:
    assert refused(tmp_path / "a.resume", signed(body)).startswith("does not make sense")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.resume")
    with pytest.raises(ResumeFileError, match="is a pipe"):
        read_resume(tmp_path / "a.resume")


def test_names() -> None:
    assert (
        resume_name("x/net_iter_5.solverstate") == resume_name("x/net_iter_5.solverstate.h5") == "x/net_iter_5.resume"
    )
    assert resume_name("odd.h5") == "odd.resume" and resume_name("odd") == "odd.resume"
