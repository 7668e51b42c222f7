"""A slice of tools/fuzz, always the same 20,000 inputs: nothing dies, hangs, or raises what is no error for people."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from caffecompat.formats.resume_file import ResumeFileError, encode_resume, read_resume

pytest.importorskip("plyvel")
ROOT = Path(__file__).parents[2]
INPUTS, SEED, PARTS = 20_000, 1, 8

sys.path.insert(0, str(ROOT / "tools/fuzz"))
from prototxt import PROTOTXT  # noqa: E402
from targets import TARGETS, shared_out  # noqa: E402
from wire import resume_content, safetensors_header  # noqa: E402


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/fuzz/fuzz.py"), *words]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=900
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where sound files are made, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "fuzz"
    made.mkdir(exist_ok=True)
    return made


def test_there_are_readers_of_every_format_and_30_verbs() -> None:
    names = [name.split()[1:] for name in TARGETS if name.startswith("verb ")]
    verbs = {" ".join(words[: 1 + (words[0] in ("lmdb", "eval", "weights", "export"))]) for words in names}
    assert len(verbs) >= 30
    assert len(TARGETS) - len(names) >= 20
    assert sum(shared_out(list(TARGETS), INPUTS).values()) == INPUTS
    assert min(shared_out(list(TARGETS), INPUTS).values()) > 0


@pytest.mark.parametrize("part", range(PARTS))
def test_no_reader_fails_on_damaged_files(part: int, folder: Path) -> None:
    names = list(TARGETS)[part::PARTS]
    counts = shared_out(list(TARGETS), INPUTS)
    wanted = sum(counts[name] for name in names)
    done = run("--inputs", str(wanted), "--seed", str(SEED), "--folder", str(folder),
               *(word for name in names for word in ("--reader", name)))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(names) + 1  # no findings between them
    assert sum(int(re.search(r"(\d+) inputs", line)[1]) for line in lines[:-1]) == wanted


def test_a_number_always_means_the_same_damage(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        assert run("--reader", "annotations", "--only", "5", "--keep", str(tmp_path / folder)).returncode == 0
        made += (tmp_path / folder).iterdir()
    assert made[0].name == made[1].name
    assert made[0].read_bytes() == made[1].read_bytes()


def test_damage_leaves_digests_and_lengths_right(tmp_path: Path) -> None:
    data, _ = encode_resume({"iter": 3, "random": np.arange(40), "order": [1, 2]})
    said = Counter[str]()
    for seed in range(60):
        path = tmp_path / "x.resume"
        path.write_bytes(resume_content(data, random.Random(seed)))
        try:
            read_resume(path)
        except ResumeFileError as problem:
            said[str(problem).partition(": ")[2].partition(" (")[0]] += 1
    assert set(said) == {"does not make sense"}
    assert said.total() > 20
    named = safetensors.numpy.save({"conv.0": np.ones((2, 3), np.float32)})
    for seed in range(60):
        damaged = safetensors_header(named, random.Random(seed))
        size = int.from_bytes(damaged[:8], "little")
        assert damaged[8 + size :] == named[8 + int.from_bytes(named[:8], "little") :]


def test_prototxts_are_damaged_in_many_ways() -> None:
    text = (ROOT / "tests/golden/detection/train.prototxt").read_bytes()
    for mutator in set(PROTOTXT):
        made = {mutator(text, random.Random(seed)) for seed in range(30)}
        assert len(made - {text}) > 3, mutator.__name__
        assert mutator(b"", random.Random(1)) is not None
