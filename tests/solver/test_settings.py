"""Settings out of range: each is a message with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.solver import Solver

REALS = ("base_lr", "min_lr", "warmup_start_lr", "momentum", "weight_decay", "gamma", "power", "delta", "stagelr")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iter_size: 0", "iter_size must be at least 1, it is 0"),
        ("iter_size: -7", "iter_size must be at least 1, it is -7"),
        ("average_loss: 0", "average_loss must be at least 1, it is 0"),
        ("max_iter: -1", "max_iter must be at least 0, it is -1"),
        ("test_interval: -5", "test_interval must be at least 0, it is -5"),
        ("warmup_iter: -3", "warmup_iter must be at least 0, it is -3"),
        ("rampup_interval: -1", "rampup_interval must be at least 0, it is -1"),
        *((f"{field}: nan", f"{field} must be a number, it is nan") for field in REALS),
        *((f"{field}: -inf", f"{field} must be a number, it is -inf") for field in REALS),
        ("clip_gradients: nan", "clip_gradients must be a number, it is nan"),
        ('lr_policy: "stp"', "lr_policy 'stp' is not one of"),
        ('type: "AdamW"', "type 'AdamW' is not one of SGD, Nesterov,"),
        ('eval_type: "x"', "eval_type 'x': expected"),
        ('larc_policy: "x"', "larc_policy 'x' is not one of"),
    ],
)
def test_a_number_out_of_range_has_a_place(workdir: Path, log: list[str], text: str, message: str) -> None:
    field = text.split(":")[0]
    kept = [part for part in Path("solver.prototxt").read_text().split("\n") if part]
    tokens = " ".join(kept).split()
    if f"{field}:" in tokens:  # once only
        at = tokens.index(f"{field}:")
        del tokens[at : at + 2]
    Path("solver.prototxt").write_text(" ".join(tokens) + f"\n\n  {text}\n")
    with pytest.raises(CaffeCompatError) as raised:
        Solver("solver.prototxt")
    assert str(raised.value).startswith(f"solver.prototxt:3:3: {message}")
    assert len(str(raised.value).splitlines()) == 1
    Path("solver.prototxt").write_text(" ".join(tokens))
    setting = text.replace(": ", "=").replace('"', "")
    with pytest.raises(CaffeCompatError) as raised:
        Solver("solver.prototxt", overrides=[setting])
    assert str(raised.value).startswith(f"--set {setting}: {message}")


def test_all_problems_at_once_and_entries_by_place(workdir: Path, log: list[str]) -> None:
    with open("solver.prototxt", "a") as file:
        file.write("iter_size: 0\ntest_iter: 3 test_iter: -2\n")
    with pytest.raises(CaffeCompatError) as raised:
        Solver("solver.prototxt")
    assert str(raised.value).splitlines() == [
        "solver.prototxt:4:1: iter_size must be at least 1, it is 0",
        "solver.prototxt:5:14: test_iter must be at least 0, it is -2",
    ]


def test_a_test_of_no_batches_and_a_negative_display_are_as_in_caffe(workdir: Path, log: list[str]) -> None:
    Solver("solver.prototxt", overrides=["test_iter=0", "test_compute_loss=true", "display=-5"]).train()
    assert sum("Testing net (#0)" in line for line in log) == 3
    assert not any("Test net output" in line for line in log)
    assert sum(line.startswith("Iteration 5 (") for line in log) == 1


def test_a_cosine_does_not_end_above_its_start(workdir: Path) -> None:
    text = Path("solver.prototxt").read_text().replace('"fixed"', '"cosine"') + "\n  min_lr: 0.5\n"
    Path("solver.prototxt").write_text(text)
    with pytest.raises(
        CaffeCompatError, match=r"solver\.prototxt:5:3: min_lr 0\.5, where lr_policy 'cosine' ends, is "
    ):
        Solver("solver.prototxt")


@pytest.mark.parametrize(("written", "warns"), [("base_lr: 0", False), ("", True)])
def test_a_missing_base_lr_is_a_warning(workdir: Path, log: list[str], written: str, warns: bool) -> None:
    text = Path("solver.prototxt").read_text()
    Path("solver.prototxt").write_text(text.replace("base_lr: 0.1", written))
    Solver("solver.prototxt")
    assert ("base_lr is not set: it is 0, as in Caffe" in log) == warns
