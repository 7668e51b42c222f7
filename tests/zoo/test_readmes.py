"""The commands of the networks' READMEs, run word for word in a folder with small data and shorter trainings."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.cli.main import main
from caffecompat.schema import read_solver
from caffecompat.solver.snapshot_files import newest_snapshot

_MODELS = Path(__file__).parents[2] / "models"
_SMALLER = [  # in the copies of the prototxts
    (r"max_iter: \d+", "max_iter: 1"),
    (r"iter_size: \d+", "iter_size: 1"),
    (r"test_iter: \d+", "test_iter: 1"),
    (r"batch_size: \d+", "batch_size: 1"),
    (r"crop_size: \d+", "crop_size: 64"),
    (r"dim: 512\b", "dim: 64"),
    (r"dim: 1024\b", "dim: 128"),
]

_FOLDERS_OF_CLASSES = {"lenet": ("mnist", (28, 28)), "cifar10_full": ("cifar10", (32, 32, 3))}


def _commands(text: str) -> Iterator[list[str]]:
    """The indented lines that begin with the command, with those that they go on to."""
    for block in re.findall(r"^    caffecompat ((?:[^\\\n]|\\\n)*)", text, re.M):
        yield shlex.split(block.replace("\\\n", " "), comments=True)


def _folder(network: str) -> None:
    """Into the current directory: the network's folder, and what its README supposes to be there."""
    shutil.copytree(_MODELS / network, f"models/{network}")
    for file in Path(f"models/{network}").glob("*.prototxt"):
        text = file.read_text()
        for pattern, smaller in _SMALLER:
            text = re.sub(pattern, smaller, text)
        file.write_text(text)
    generator = np.random.default_rng(0)
    cv2.imwrite("picture.png", generator.integers(0, 255, (64, 128, 3), np.uint8))
    if network in _FOLDERS_OF_CLASSES:
        root, shape = _FOLDERS_OF_CLASSES[network]
        for part in ("train", "test"):
            for name in range(10):
                Path(f"{root}/{part}/{name}").mkdir(parents=True)
                cv2.imwrite(f"{root}/{part}/{name}/a.png", generator.integers(0, 255, shape, np.uint8))
        return
    Path("data").mkdir()
    cv2.imwrite("label.png", generator.integers(0, 19, (64, 128), np.uint8))
    for part in ("train", "val"):
        Path(f"data/{part}.txt").write_text("picture.png label.png\n")


def _name_as_trained_to_the_end(solver: str, used: str) -> None:
    """Give the snapshot of the short training the name that the README goes on with."""
    state = newest_snapshot(read_solver(solver).snapshot_prefix)
    assert state is not None
    weights = state.replace(".solverstate", ".caffemodel")
    name = re.search(rf"{re.escape(weights.split('_iter_')[0])}_iter_\d+\.caffemodel", used)
    assert name is not None
    shutil.copyfile(weights, name[0])


@pytest.mark.parametrize("network", ["lenet", "cifar10_full", "espnet", "enet", "fpn"])
def test_commands_of_the_readme(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _folder(network)
    text = (_MODELS / network / "README.md").read_text()
    commands = list(_commands(text))
    assert [words[0] for words in commands].count("train") >= 1 and len(commands) >= 3
    for words in commands:
        assert main(words) == 0, f"{words}: {capsys.readouterr().err[-500:]}"
        if words[0] == "train":
            _name_as_trained_to_the_end(words[words.index("--solver") + 1], text)
