"""``new``: its table, and that the commands which it prints train, score and export, run as they are printed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli.main import main
from caffecompat.data.streets import write_streets
from caffecompat.formats import open_caffemodel
from caffecompat.net import Net
from caffecompat.schema import pb, read_net, read_solver
from caffecompat.solver.snapshot_files import newest_snapshot
from caffecompat.zoo import NETWORKS
from tests.net.torchvision_resnet import ResNet

_COUNTS = {"train": 40, "val": 10}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Printed:
    """The commands that ``new`` printed, and what they say when they are run."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self._capsys = capsys
        self.text = self._run(["new", *words])
        lines = re.findall(r"^    caffecompat (.*)$", self.text, re.M)
        self.commands = [shlex.split(line) for line in lines]

    def _run(self, words: list[str]) -> str:
        status, output = main(words), self._capsys.readouterr()
        assert status == 0, f"{words}: {output.err[-800:]}"
        return output.out + output.err

    def run(self, *shorter: str) -> dict[str, list[str]]:
        """Run them all; `shorter` is added to trainings.

        Returns:
            By the verb what each printed.
        """
        said: dict[str, list[str]] = {}
        for words in self.commands:
            train = words[0] == "train"
            said.setdefault(words[0], []).append(self._run([*words, *shorter] if train else words))
            if train and shorter:
                _name_as_trained_to_the_end(words[words.index("--solver") + 1])
        return said


def _name_as_trained_to_the_end(solver: str) -> None:
    """Give the last snapshot of a shorter training the name that the printed commands go on with."""
    param = read_solver(solver)
    state = newest_snapshot(param.snapshot_prefix)
    assert state is not None
    shutil.copyfile(
        state.replace(".solverstate", ".caffemodel"), f"{param.snapshot_prefix}_iter_{param.max_iter}.caffemodel"
    )


def _tests(log: str, output: str) -> list[float]:
    """An output in each of a training's tests."""
    return [float(value) for value in re.findall(rf"Test net output .*#\d+: {output} = (\S+)", log)]


def _score(text: str, name: str) -> float:
    found = re.search(rf"^{name} +(\d\.\d+)", text, re.M)
    assert found, text
    return float(found[1])


def _shapes() -> None:
    """Pictures of 40x36 that are dark, gray or bright."""
    generator = np.random.default_rng(1)
    for part, count in _COUNTS.items():
        Path(part).mkdir()
        for at in range(count):
            picture = generator.integers(0, 60, (36, 40, 3)) + 90 * (at % 3)
            cv2.imwrite(f"{part}/{at}.png", picture.astype(np.uint8))
        Path(f"{part}.txt").write_text("".join(f"{part}/{at}.png {at % 3}\n" for at in range(count)))


def _squares() -> None:
    """Pictures of 64x32 with a blue and a green square, and their label pictures."""
    generator = np.random.default_rng(1)
    for part, count in _COUNTS.items():
        Path(part).mkdir()
        for at in range(count):
            picture = generator.integers(0, 60, (32, 64, 3), np.uint8)
            labels = np.zeros((32, 64), np.uint8)
            for label, color in ((1, (230, 40, 40)), (2, (40, 230, 40))):
                x, y = (int(value) for value in generator.integers(2, 14, 2))
                box = slice(y, y + 16), slice(x + 30 * (label - 1), x + 30 * (label - 1) + 15)
                picture[box], labels[box] = color, label
            cv2.imwrite(f"{part}/{at}.png", picture)
            cv2.imwrite(f"{part}/{at}_labels.png", labels)
        lines = [f"{part}/{at}.png {part}/{at}_labels.png\n" for at in range(count)]
        Path(f"{part}.txt").write_text("".join(lines))


def _boxes() -> None:
    """Pictures of 64x64 with a large blue or green square, and an annotation."""
    generator = np.random.default_rng(0)
    for part, count in _COUNTS.items():
        Path(part).mkdir()
        for at in range(count):
            picture = generator.integers(0, 60, (64, 64, 3), np.uint8)
            side = int(generator.integers(28, 36))
            x, y = (int(value) for value in generator.integers(2, 62 - side, 2))
            picture[y : y + side, x : x + side] = ((40, 230, 40), (230, 40, 40))[at % 2]
            cv2.imwrite(f"{part}/{at}.png", picture)
            Path(f"{part}/{at}.xml").write_text(
                "<annotation><size><width>64</width><height>64</height><depth>3</depth></size>"
                f"<object><name>{('green', 'blue')[at % 2]}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin>"
                f"<ymin>{y}</ymin><xmax>{x + side}</xmax><ymax>{y + side}</ymax></bndbox></object></annotation>"
            )
        Path(f"{part}.txt").write_text("".join(f"{part}/{at}.png {part}/{at}.xml\n" for at in range(count)))


def test_classification(capsys: pytest.CaptureFixture[str]) -> None:
    """As printed to the letter: seven iterations."""
    _shapes()
    printed = Printed(capsys, "lenet", "--train", "train.txt", "--val", "val.txt", "--measure-mean", "a net")
    assert [words[0] for words in printed.commands] == ["train", "eval", "export"]
    said = printed.run()
    accuracies = _tests(said["train"][0], "accuracy")
    assert accuracies[-1] > max(0.6, accuracies[0])
    assert re.search(r"top-1 +(0\.[6-9]|1\.0)", said["eval"][0]) and "class2" in said["eval"][0]
    assert Path("a net/lenet.onnx").is_file()


def test_segmentation(capsys: pytest.CaptureFixture[str]) -> None:
    _squares()
    printed = Printed(
        capsys, "unet_lite", "--train", "train.txt", "--val", "val.txt", "--size", "64x32", "--batch", "4", "net"
    )
    said = printed.run(
        "--set", "max_iter=12", "--set", "iter_size=1", "--set", "test_interval=6", "--set", "random_seed=1"
    )
    assert _score(said["eval"][0], "mIoU,? labeled") > 0.6 > 2 * _score(said["eval"][0], "guessing, mIoU")
    assert Path("net/unet_lite.onnx").is_file()


def test_segmentation_in_two_stages(capsys: pytest.CaptureFixture[str]) -> None:
    write_streets(Path("streets"), _COUNTS, width=64, height=32)
    printed = Printed(
        capsys, "espnet", "--train", "streets/train.txt", "--val", "streets/val.txt", "--size", "64x32",
        "--batch", "4", "--measure-mean", "net",
    )  # fmt: skip
    assert [words[0] for words in printed.commands] == ["train", "train", "eval", "export"]
    shorter = ["max_iter=40", "iter_size=1", "test_interval=20", "base_lr=0.01", "random_seed=1",
               "BatchNorm*.batch_norm_param.moving_average_fraction=0.9"]  # fmt: skip
    said = printed.run(*(word for setting in shorter for word in ("--set", setting)))
    for log in said["train"]:
        losses = _tests(log, "loss")
        assert losses[-1] < losses[0]
    assert _score(said["eval"][0], "mIoU") > 1.3 * _score(said["eval"][0], "guessing, mIoU")
    assert "sidewalk" in said["eval"][0]


def test_detection(capsys: pytest.CaptureFixture[str]) -> None:
    """Two databases are built first."""
    _boxes()
    printed = Printed(
        capsys, "jdetnet", "--train", "train.txt", "--val", "val.txt", "--size", "64x64", "--batch", "8", "net"
    )
    assert [words[0] for words in printed.commands] == ["lmdb", "lmdb", "train", "eval", "export"]
    said = printed.run(
        "--set", "max_iter=150", "--set", "iter_size=1", "--set", "test_interval=75", "--set", "snapshot=150",
        "--set", "random_seed=1",
    )  # fmt: skip
    precisions = _tests(said["train"][0], "detection_eval")
    assert precisions[-1] > max(0.1, precisions[0])
    assert _score(said["eval"][0], "mAP, Integral") > 0.1 and "green" in said["eval"][0]


def test_from_a_backbone_of_torch(capsys: pytest.CaptureFixture[str]) -> None:
    """All but the classifier lands, with the first inputs reversed; the training starts from it."""
    _shapes()
    torch.manual_seed(3)
    model = ResNet(34, classes=10)
    torch.save(model.state_dict(), "resnet34.pth")
    words = ("resnet34", "--train", "train.txt", "--size", "32x32", "--batch", "4")
    printed = Printed(capsys, *words, "--weights", "resnet34.pth", "net")
    assert "these start from their fillers: fc" in printed.text and "net/backbone.caffemodel has" in printed.text
    assert printed.commands[0][-2:] == ["--weights", "net/backbone.caffemodel"]
    net = Net(read_net("net/deploy.prototxt"), pb.TEST, log=False, weights="net/backbone.caffemodel")
    first = net.blobs_by_layer()["conv1"][0]
    np.testing.assert_array_equal(first, model.state_dict()["conv1.weight"].numpy()[:, ::-1])
    np.savez("resnet34.npz", **{name: values.numpy() for name, values in model.state_dict().items()})
    for weights, again in (("net/backbone.caffemodel", "of_a_net"), ("resnet34.npz", "of_arrays")):
        Printed(capsys, *words, "--weights", weights, again)
        copied = open_caffemodel(f"{again}/backbone.caffemodel").load()["conv1"][0]
        np.testing.assert_array_equal(copied, first)
    printed.run("--set", "max_iter=1", "--set", "iter_size=1")


def test_the_table_of_the_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["network", "task", "parameters", "MACs", "at", "source"]
    assert {line.split()[0] for line in lines[1:]} == set(NETWORKS)
    espnet = next(line for line in lines if line.startswith("espnet"))
    assert espnet.split()[1:6] == ["segmentation", "361,411", "4,613.562", "M", "1024x512"]
    assert main(["new", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["networks"]
    assert {(row["network"], row["parameters"], row["macs"]) for row in rows} == {
        (network.name, network.parameters, network.macs) for network in NETWORKS.values()
    }


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "lenet", "--classes", "3", "net", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["commands"][0] == "caffecompat train --solver net/solver.prototxt"
    assert sorted(made["files"]) == sorted(path.name for path in Path("net").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new"], "expected NETWORK and DIR"),
        (["new", "lenet"], "expected NETWORK and DIR"),
        (["new", "--list", "lenet"], "--list takes no network"),
        (["new", "lenet", "net", "--size", "x"], "--size x: expected WIDTHxHEIGHT"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
