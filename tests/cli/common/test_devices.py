"""Devices that flags name and torch does not know, or that compute nothing; values that argparse would lose."""

from __future__ import annotations

import pytest
import torch

from caffecompat.cli.common.devices import cards_of, choose_device, own_card
from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.verbs import parser_of
from caffecompat.schema import pb


@pytest.mark.parametrize("device", ["meta", "xla", "mps", "-1", "9" * 30, "\u00b2", "gpu"])
def test_a_device_that_is_none(device: str) -> None:
    with pytest.raises(UsageError, match="expected cpu, cuda, cuda:N or N"):
        choose_device(None, device)


@pytest.mark.parametrize("gpu", ["9" * 5000, "1,2,x", "\u0663", "-1,0"])
def test_a_number_of_a_gpu_that_is_none(gpu: str) -> None:
    with pytest.raises(UsageError, match=r"^--gpu "):
        choose_device(gpu, None)


@pytest.mark.parametrize("flag", ["level", "stage", "size"])
def test_two_dashes_are_no_value(flag: str) -> None:
    with pytest.raises(UsageError, match=f"argument --{flag}: '--' is no value"):
        parser_of("summary").parse_args([f"--{flag}=--", "net.prototxt"])


@pytest.mark.parametrize(
    ("gpu", "device", "mode", "local", "own"),
    [
        (None, None, "GPU", 2, "2"),
        (None, None, "CPU", 2, None),
        ("all", None, "CPU", 3, "3"),
        ("5,7", None, "GPU", 1, "7"),
        ("all", "cpu", "GPU", 1, "all"),
    ],
)
def test_each_process_of_a_group_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, gpu: str | None, device: str | None, mode: str, local: int, own: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    solver = pb.SolverParameter()
    solver.solver_mode = pb.SolverParameter.SolverMode.Value(mode)
    assert own_card(gpu, device, solver, local) == own
    with pytest.raises(UsageError, match="has no GPU of its own"):
        own_card("all", None, solver, 8)


def test_several_gpus_that_are_there_have_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cards_of("0,1", None) == []  # none is there
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert cards_of("all", None) == cards_of("0,1", None) == [0, 1]
    assert cards_of("0,2", None) == cards_of("1", None) == cards_of("all", "cpu") == []
