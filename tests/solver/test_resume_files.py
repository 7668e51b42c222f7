"""The .resume file: where it is looked for, and what is said where it is unusable or of another run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.resume_file import encode_resume, read_resume
from caffecompat.formats.solverstate import read_solverstate, write_solverstate
from tests.solver.recorded_runs import NETS, PLACED, Run


def warnings(log: list[str]) -> list[str]:
    return [line for line in log if ".resume" in line and "go on where they were" not in line]


@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "flipped", "foreign", "later", "of another run", "senseless"]
)
def test_a_file_that_cannot_be_used_is_reported_and_all_is_as_in_caffe(
    run_folder: Path, log: list[str], damage: str
) -> None:
    net = NETS["list-chance"]
    Run(net, "random_seed: 3 ").solver.train()
    like_caffe = Run(net, "random_seed: 3 ")
    like_caffe.solver.restore("s_iter_5.solverstate", like_caffe=True)
    like_caffe.solver.step(3)
    path = Path("s_iter_5.resume")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[: len(content) // 2],
                "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
                "foreign": b"\x89PNG" + content,
                "later": content.replace(b"resume 1", b"resume 2", 1),
                "of another run": Path("s_iter_6.resume").read_bytes(),
                "senseless": encode_resume({"parts": 3})[0],
            }[damage]
        )
    if damage == "senseless":  # as no version writes it
        state = read_solverstate("s_iter_5.solverstate")
        state.resume = read_resume(path).digest
        write_solverstate("other.solverstate", state)
        os.replace("other.solverstate", "s_iter_5.solverstate")
    del log[:]
    resumed = Run(net, "random_seed: 3 ")
    resumed.solver.restore("s_iter_5.solverstate")
    (said, *others) = warnings(log)
    expected = {
        "gone": "cannot be read: No such file",
        "empty": "is empty",
        "cut": "cut short or damaged",
        "flipped": "cut short or damaged",
        "foreign": "is no .resume file",
        "later": "has version 2; this caffecompat reads version 1",
        "of another run": "belongs to another snapshot",
        "senseless": "the run had None processes",
    }[damage]
    assert said.startswith(f"s_iter_5.resume: {expected}") and len(others) == (damage == "senseless")
    assert damage == "senseless" or "stay as they are (in a new process: from the beginning), as in Caffe" in said
    resumed.solver.step(3)
    assert resumed.seen == like_caffe.seen
    resumed.close()
    like_caffe.close()


def test_a_state_of_original_caffe(run_folder: Path, log: list[str]) -> None:
    """Without the file that is no cause for a warning; one that a run of ours left there is not its own."""
    Run(NETS["lmdb"]).solver.train()
    state = read_solverstate("s_iter_5.solverstate")
    state.resume = ""
    write_solverstate("theirs_iter_5.solverstate", state)
    resumed = Run(NETS["lmdb"])
    resumed.solver.restore("theirs_iter_5.solverstate")
    assert "There is no theirs_iter_5.resume, as original Caffe writes none" in warnings(log)[0]
    shutil.copy("s_iter_5.resume", "theirs_iter_5.resume")
    del log[:]
    resumed.solver.restore("theirs_iter_5.solverstate")
    assert "belongs to another snapshot" in warnings(log)[0]
    resumed.close()


def test_the_state_finds_its_file_where_both_were_moved(run_folder: Path, log: list[str]) -> None:
    Run(NETS["lmdb"]).solver.train()
    Path("kept").mkdir()
    for ending in ("caffemodel", "solverstate", "resume"):
        os.replace(f"s_iter_5.{ending}", f"kept/other.{ending}")
    os.replace("kept/other.caffemodel", "kept/s_iter_5.caffemodel")
    resumed = Run(NETS["lmdb"])
    resumed.solver.restore("kept/other.solverstate")
    assert any("kept/other.resume: data and random numbers go on" in line for line in log)
    resumed.close()


def test_another_net_is_reported_part_by_part(run_folder: Path, log: list[str]) -> None:
    Run(NETS["two-sources"]).solver.train()
    other = NETS["two-sources"].replace('name: "e" type: "HDF5Data"', 'name: "new" type: "HDF5Data"')
    resumed = Run(other.replace("batch_size: 3", "batch_size: 2"), "iter_size: 2 ")
    resumed.solver.restore("s_iter_5.solverstate")
    resumed.close()
    assert [line.removeprefix("s_iter_5.resume: ") for line in warnings(log)] == [
        "train net, layer 'd' (HDF5Data): batch_size was 3, it is 2; no record is left out",
        "train net, layer 'new' (HDF5Data): is not in it, and starts from the beginning",
        "settings of the solver: iter_size was 1, it is 2; no record is left out",
        "train net, layer 'e' (HDF5Data): is in it, and not in this run",
    ]


def test_another_number_of_processes_and_parts_that_make_no_sense(run_folder: Path, log: list[str]) -> None:
    Run(NETS["dropout"]).solver.train()
    content, _ = read_resume("s_iter_5.resume")
    content["processes"] = 4
    content["parts"]["generators of torch"]["cpu"] = np.zeros(3, np.uint8)
    del content["parts"]["train net, layer 'd' (HDF5Data)"]["walk"]
    body, digest = encode_resume(content)
    with atomic_write("s_iter_5.resume") as file:
        file.write(body)
    state = read_solverstate("s_iter_5.solverstate")
    state.resume, state.history = digest, [array.copy() for array in state.history]
    write_solverstate("s_iter_5.solverstate", state)
    resumed = Run(NETS["dropout"])
    resumed.solver.restore("s_iter_5.solverstate")
    resumed.close()
    said = warnings(log)
    assert len(said) == 3
    assert "the run had 4 processes, it has 1" in said[0]
    assert "layer 'd' (HDF5Data): cannot take over what is in it (KeyError: 'walk')" in said[1]
    assert "generators of torch: cannot take over what is in it (" in said[2]


def test_a_python_layer_whose_state_fails_costs_no_snapshot(run_folder: Path, log: list[str]) -> None:
    Path("failing_data.py").write_text(PLACED.replace('return {"at": self.at}', "return self.nowhere"))
    sys.path.insert(0, os.getcwd())
    try:
        Run(NETS["python"].replace("placed_data", "failing_data")).solver.train()
    finally:
        sys.path.remove(os.getcwd())
    assert Path("s_iter_12.solverstate").exists() and Path("s_iter_12.resume").exists()
    assert sum("its state cannot be saved" in line for line in log) == 1


def test_like_caffe_on_the_command_line(run_folder: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Run(NETS["list-chance"], "random_seed: 3 ").solver.train()
    flags = ["train", "--solver", "solver.prototxt", "--set", "max_iter=14"]
    assert main([*flags, "--resume", "auto", "--resume-like-caffe"]) == 0
    assert main([*flags, "--resume-like-caffe"]) == 2
    assert "--snapshot FILE or --resume auto" in capsys.readouterr().err
    assert main([*flags, "--snapshot", "s_iter_12.resume"]) == 2
    assert "this is the .resume file of a solver state" in capsys.readouterr().err
