"""Files cut off and with bits turned anywhere: they load or they are refused, and nothing else happens."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import open_weights
from caffecompat.formats.inventory import inventory
from caffecompat.formats.solverstate import read_solverstate
from caffecompat.wire import string_field, varint_field
from tests.formats.protobytes import legacy, message, net, packed, unpacked
from tests.formats.test_caffemodel import SIX

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [
    GOLDEN / "solvers/sgd_bn/_iter_5.caffemodel",
    GOLDEN / "solvers_jacinto/sgd/_iter_5.caffemodel",
    GOLDEN / "solvers/adam/_iter_5.solverstate",
]
OLD = message(2, string_field(4, "ip"), varint_field(5, 14), message(6, legacy(1, 1, 2, 3), unpacked(5, SIX)))
CONTENTS = [path.read_bytes() for path in FILES] + [OLD + net(packed(8, SIX.astype(float)) + packed(10, SIX))]


def read(path: Path) -> None:
    for reader in (lambda: inventory(open_weights(path), stats=True), lambda: read_solverstate(path)):
        try:
            reader()
        except CaffeCompatError as problem:
            assert str(path) in str(problem)


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_damaged_binary_files(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(CONTENTS)))
    for at in data.draw(st.lists(st.integers(0, len(content) * 8 - 1), max_size=8)):
        content[at // 8] ^= 1 << at % 8
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(content[: cut or None])
        file.flush()
        read(Path(file.name))


@pytest.mark.parametrize("content", CONTENTS[:3], ids=lambda content: str(len(content)))
def test_every_cut_of_a_header(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w"
    for cut in range(1, 400):
        path.write_bytes(content[:cut])
        read(path)


@settings(max_examples=200, deadline=2000)
@given(st.binary(min_size=1, max_size=300))
def test_noise(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        read(Path(file.name))
