"""torchrun with two nodes, each with an agent of its own, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from caffecompat.cli.common.processes import _free_port
from tests.solver.rank_runs import ROOT, children, long_run, wait_for, weights

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")]

Node = subprocess.Popen[str]


@contextmanager
def two_nodes(folder: Path, *flags: str, restarts: int = 0) -> Iterator[list[Node]]:
    """The agents, with one process each; their logs are node0.log and node1.log."""
    group = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--max-restarts={restarts}",
             f"--rdzv-endpoint=127.0.0.1:{_free_port()}", "--local-addr=127.0.0.1"]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", *group, "-m", "caffecompat", "train", *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with ExitStack() as stack:
        nodes = []
        for number in range(2):
            log = stack.enter_context(open(folder / f"node{number}.log", "w"))
            nodes.append(subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, text=True))
        try:
            yield nodes
        finally:
            for node in nodes:
                if node.poll() is None:
                    node.terminate()
                node.wait(60)


def logs(folder: Path) -> list[str]:
    return [(folder / f"node{number}.log").read_text() for number in range(2)]


def same_weights(folder: Path, one: str, other: str) -> bool:
    pair = (weights(folder / f"{name}.caffemodel") for name in (one, other))
    return all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))


def undisturbed(folder: Path, prefix: str, iterations: int) -> None:
    with two_nodes(folder, *long_run(folder, prefix, iterations)) as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0], logs(folder)


def test_one_killed_ends_both_nodes_and_resume_goes_on(rank_files: Path) -> None:
    with two_nodes(rank_files, *long_run(rank_files, "node", 10**6)) as nodes:
        wait_for(rank_files, nodes[0], "node_iter_50.solverstate")
        since = time.monotonic()
        os.kill(children(nodes[1])[0], signal.SIGKILL)
        assert all(node.wait(60) for node in nodes)
        assert time.monotonic() - since < 30
    assert any("error: process" in log and "has died" in log for log in logs(rank_files))
    newest = max(int(path.stem.rpartition("_")[2]) for path in rank_files.glob("node_iter_*.solverstate"))
    goal = newest + 60
    with two_nodes(rank_files, *long_run(rank_files, "node", goal), "--resume", "auto") as nodes:
        assert [node.wait(120) for node in nodes] == [0, 0], logs(rank_files)
    undisturbed(rank_files, "whole", goal)
    assert same_weights(rank_files, f"node_iter_{goal}", f"whole_iter_{goal}")


@pytest.mark.parametrize("victim", [0, 1])
def test_elastic_restart_goes_on(rank_files: Path, victim: int) -> None:
    prefix, goal = f"elastic{victim}", 1000
    flags = [*long_run(rank_files, prefix, goal), "--resume", "auto"]
    with two_nodes(rank_files, *flags, restarts=2) as nodes:
        wait_for(rank_files, nodes[0], f"{prefix}_iter_50.solverstate")
        os.kill(children(nodes[victim])[0], signal.SIGKILL)
        assert [node.wait(180) for node in nodes] == [0, 0], logs(rank_files)
    assert any(f"Resuming from {prefix}_iter_" in log for log in logs(rank_files))
    undisturbed(rank_files, f"whole{victim}", goal)
    assert same_weights(rank_files, f"{prefix}_iter_{goal}", f"whole{victim}_iter_{goal}")


def test_an_agent_killed_ends_its_own_and_the_other_node(rank_files: Path) -> None:
    with two_nodes(rank_files, *long_run(rank_files, "agent", 10**6)) as nodes:
        wait_for(rank_files, nodes[0], "agent_iter_50.solverstate")
        orphans = children(nodes[1])
        nodes[1].kill()
        since = time.monotonic()
        assert nodes[0].wait(60)
        assert time.monotonic() - since < 30
        while any(
            Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in orphans
        ):
            assert time.monotonic() - since < 30
            time.sleep(0.1)
