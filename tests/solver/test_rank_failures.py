"""Several processes that train one net end together: by a signal, an error, the death of one of them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.solver.rank_runs import children, long_run, start, wait_for, weights


def killed(folder: Path, prefix: str, victim: int) -> int:
    """Kill one of two processes in the middle of training; the iteration of the newest snapshot that the log names."""
    endless = start(folder, *long_run(folder, prefix, 10**6))
    wait_for(folder, endless, f"{prefix}_iter_50.solverstate")
    since = time.monotonic()
    os.kill(children(endless)[victim], signal.SIGKILL)
    _, log = endless.communicate(timeout=60)
    assert time.monotonic() - since < 30
    assert endless.returncode == 1
    assert f"process {victim} of 2 was killed by SIGKILL" in log
    assert log.count("error: ") == 2  # the other one's, too
    return max(int(number) for number in re.findall(rf"{prefix}_iter_(\d+)\.solverstate", log))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_ends_the_others_and_the_run_goes_on(rank_files: Path) -> None:
    done = killed(rank_files, "killed", 1)
    assert len(list(rank_files.glob("killed_iter_*.solverstate"))) == done // 50  # none after the failure
    goal = done + 60
    for flags in ([*long_run(rank_files, "killed", goal), "--resume", "auto"], long_run(rank_files, "whole", goal)):
        process = start(rank_files, *flags)
        _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log[-2000:]
    again, whole = (weights(rank_files / f"{name}_iter_{goal}.caffemodel") for name in ("killed", "whole"))
    assert all(np.array_equal(one, other) for one, other in zip(again, whole, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_the_first_process_killed_ends_the_others(rank_files: Path) -> None:
    killed(rank_files, "headless", 0)


def test_ctrl_c_ends_all_with_a_snapshot(rank_files: Path) -> None:
    process = start(rank_files, *long_run(rank_files, "stopped", 10**6), processes=3)
    wait_for(rank_files, process, "stopped_iter_50.solverstate")
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log[-2000:]
    assert log.count("Stop requested") == log.count("Optimization stopped early") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_launcher_killed_at_the_start_leaves_no_process(rank_files: Path) -> None:
    process = start(rank_files, *long_run(rank_files, "orphans", 10**6))
    deadline = time.monotonic() + 60
    while len(children(process)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ranks = children(process)
    process.kill()
    _, log = process.communicate(timeout=30)  # until nobody can write to the log any more
    for pid in ranks:
        assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert f"the process that started this one (number {process.pid}) has ended" in log


def test_hang_up_writes_a_snapshot_and_training_goes_on(rank_files: Path) -> None:
    settings = ["--set=snapshot=0", "--set=snapshot_after_train=true", "--set=display=1"]
    process = start(rank_files, *long_run(rank_files, "hung_up", 10**6), *settings)
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if "Iteration 20 " in line:
            process.send_signal(signal.SIGHUP)
            break
    wait_for(rank_files, process, "hung_up_iter_*.solverstate")
    written = list(rank_files.glob("hung_up_iter_*.solverstate"))
    for pid in children(process)[1:]:  # a batch system may ask one process alone to stop
        os.kill(pid, signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    log = "".join(lines) + rest
    assert process.returncode == 0, log[-2000:]
    assert len(written) == 1 and log.count("Optimization stopped early") == 1
    first, last = sorted(int(number) for number in re.findall(r"hung_up_iter_(\d+)\.solverstate", log))
    assert 20 < first < last


def test_an_error_of_one_process_is_everyones(rank_files: Path) -> None:
    text = (rank_files / "list.txt").read_text().splitlines()
    text[15] = "missing.png 0"  # of the second process
    (rank_files / "broken.txt").write_text("\n".join(text) + "\n")
    flags = long_run(rank_files, "broken", 10**6)
    process = start(rank_files, *flags, "--set=data.image_data_param.source=broken.txt",
                    "--set=data.image_data_param.shuffle=false")  # fmt: skip
    _, log = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "error: process 1 of 2 has ended" in log and log.count("missing.png") >= 2
    assert not list(rank_files.glob("broken_iter_*"))


@pytest.mark.parametrize("wrong", ["base_lrx=1", "data.image_data_param.source=nowhere.txt"])
def test_an_error_of_all_is_said_once(rank_files: Path, wrong: str) -> None:
    process = start(rank_files, "--solver", "images_solver.prototxt", "--set", wrong)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert log.count("error: ") == 1 and log.rstrip().rpartition("\n")[2].startswith("error: ")
