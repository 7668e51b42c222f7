"""Devices that flags name and torch does not know, or that compute nothing; values that argparse would lose."""

from __future__ import annotations

import pytest

from caffecompat.cli.common.devices import choose_device
from caffecompat.cli.common.flags import UsageError
from caffecompat.cli.verbs import parser_of


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
