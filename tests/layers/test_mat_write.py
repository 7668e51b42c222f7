"""MatWrite: files for MATLAB, read back byte by byte as the format's documentation has them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer


def read_mat(path: Path) -> tuple[str, np.ndarray]:
    """Name and values of the only variable of a level 5 file of this machine's byte order, in MATLAB's axes."""
    data = path.read_bytes()
    assert data[124:128] == struct.pack("<H", 0x0100) + b"IM"
    kind, size = struct.unpack_from("<II", data, 128)
    assert (kind, 136 + size) == (14, len(data))
    parts, at = [], 136
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        parts.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + -size % 8
    (flags, flag_bytes), (_, dims), (_, name), (values, numbers) = parts
    assert (flags, flag_bytes[0], values) == (6, 7, 7), "an array of class single, its values float32"
    shape = np.frombuffer(dims, "<i4")
    return name.decode(), np.frombuffer(numbers, "<f4").reshape(shape, order="F")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


def test_files_of_passes() -> None:
    layer = make_layer('type: "MatWrite" mat_write_param { prefix: "out/a_" period: 2 }', (2, 3, 4, 5), (2, 1))
    rng = np.random.default_rng(0)
    batches = [(rng.random((2, 3, 4, 5), np.float32), rng.random((2, 1), np.float32)) for _ in range(3)]
    assert not list(Path("out").iterdir()), "building a net writes nothing"
    for batch in batches:
        layer(*map(torch.from_numpy, batch))
    assert sorted(path.name for path in Path("out").iterdir()) == [
        f"a_iter_{number}_blob_{index}.mat" for number in (0, 2) for index in (0, 1)
    ]
    name, values = read_mat(Path("out/a_iter_2_blob_0.mat"))
    assert name == "data" and values.shape == (5, 4, 3, 2)
    np.testing.assert_array_equal(values.transpose(3, 2, 1, 0), batches[2][0])
    np.testing.assert_array_equal(read_mat(Path("out/a_iter_0_blob_1.mat"))[1].T, batches[0][1])


def test_names_of_a_list() -> None:
    Path("list.txt").write_text("one.jpg 3\ntwo.jpg 4\n")
    settings = 'prefix: "out/" source: "list.txt" strip: 4'
    layer = make_layer(f'type: "MatWrite" mat_write_param {{ {settings} }}', (1, 2))
    for _ in range(2):
        layer(torch.zeros(1, 2))
    assert sorted(path.name for path in Path("out").iterdir()) == ["one_blob_0.mat", "two_blob_0.mat"]
    with pytest.raises(LayerError, match=r"this is pass 3, the list list\.txt names 2 files"):
        layer(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('prefix: "nowhere/a"', "there is no folder 'nowhere'"),
        ("period: 0", "period 0 must be at least 1"),
        ('source: "absent.txt"', "mat_write_param.source.*absent.txt"),
        ('source: "list.txt" strip: 9', "list.txt:1: strip 9 leaves nothing of 'one.jpg'"),
        ('source: "list.txt" strip: -1', "must not be negative"),
    ],
)
def test_mistakes(settings: str, message: str) -> None:
    Path("list.txt").write_text("one.jpg\n")
    with pytest.raises(LayerError, match=message):
        make_layer(f'type: "MatWrite" mat_write_param {{ {settings} }}', (1, 2))
