"""Checkpoints of torch: parameters as they are, and damaged files as errors by name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.net.torch_weights import read_state


def test_parameters_that_require_gradients_are_read(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    torch.save(model.state_dict(keep_vars=True), tmp_path / "x.pth")
    read = read_state(tmp_path / "x.pth")
    assert read["weight"].tolist() == model.weight.tolist()


@pytest.mark.parametrize("new", [True, False])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, new: bool) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    content = (tmp_path / "x.pth").read_bytes()
    for kept in (0, 1, 5, 100, len(content) // 2, len(content) - 30):
        (tmp_path / "x.pth").write_bytes(content[:kept])
        with pytest.raises(CaffeCompatError, match=r"x\.pth: cannot be read as a state_dict"):
            read_state(tmp_path / "x.pth")


class Greedy:
    """A pickle of it calls os.mkdir where it is loaded as pickles are."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("content", [Greedy(), {"state_dict": {"w": torch.ones(2)}, "args": Greedy()}])
def test_objects_in_a_checkpoint_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "x.pth", pickle_protocol=protocol)
    Path("y.pth").write_bytes(pickle.dumps(Greedy(), protocol))
    for name in ("x.pth", "y.pth"):
        found = r"holds Python objects \(\w+\.mkdir\)" if protocol == 2 else "holds Python objects"
        with pytest.raises(CaffeCompatError, match=rf"{name}: .*{found}, which are not loaded: .*torch\.save"):
            read_state(name)
    assert not Path("made").exists()
    torch.save(torch.nn.Linear(2, 3), "x.pth")
    with pytest.raises(CaffeCompatError, match=r"x\.pth: holds Python objects \(torch\.nn\.modules\.linear\.Linear\)"):
        read_state("x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no tensors, expected a state_dict; found nothing"),
        ({"epoch": 3, "arch": "x"}, "holds no tensors, expected a state_dict; found only epoch, arch"),
        ({"state_dict": {}}, "holds no tensors, expected a state_dict; found nothing"),
        ([1], "holds a list, expected a state_dict"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "w: complex numbers"),
    ],
)
def test_checkpoints_without_weights_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CaffeCompatError, match=f"x.pth: {message}"):
        read_state(tmp_path / "x.pth")


def test_archives_of_complex_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", w=np.ones(2, np.complex64))
    with pytest.raises(CaffeCompatError, match=r"x\.npz: .*complex"):
        read_state(tmp_path / "x.npz")


def test_tensors_without_plain_values_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.eye(3).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(CaffeCompatError, match=r"x\.pth: "):
        read_state(tmp_path / "x.pth")
