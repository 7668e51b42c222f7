"""Checkpoints of torch: parameters as they are, and damaged files as errors by name."""

from __future__ import annotations

from pathlib import Path

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
        with pytest.raises(CaffeCompatError, match=r"x\.pth: cannot be read as a state_dict \(.+\)"):
            read_state(tmp_path / "x.pth")


def test_tensors_without_plain_values_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.eye(3).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(CaffeCompatError, match=r"x\.pth: "):
        read_state(tmp_path / "x.pth")
