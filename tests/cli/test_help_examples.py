"""The examples that --help shows: each is a command that the verb's flags take, and most are run here."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import walk_packages

import cv2
import numpy as np
import pytest

from caffecompat.cli import commands
from caffecompat.cli.main import main
from caffecompat.cli.verbs import parser_of, split_verb
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb
from tests import data_set_trees

_ELSEWHERE = {  # examples that need sets or nets which their verbs' own tests make
    "demo": "minutes",
    "detect": "an SSD",
    "eval detection": "an SSD",
    "test_detection": "an SSD",
    "detect_windows": "pycaffe's windows",
    "convert_annoset": "VOC",
    "get_image_size": "VOC",
    "lmdb build VOCdevkit/": "VOC",
    "lmdb build instances_val2017.json": "COCO",
    "weights convert resnet50.pth": "torchvision's weights",
    "new ssd300_resnet34": "VOC and torchvision's weights",
}


def _examples() -> Iterator[list[str]]:
    """The commands in the modules' docstrings, once each; blanks and signs of optional parts taken out."""
    seen = set()
    for module in walk_packages(commands.__path__, "caffecompat.cli.commands."):
        text = importlib.import_module(module.name).__doc__ or ""
        for block in re.findall(r"^ *caffecompat ((?:[^\\\n]|\\\n)*)$", text, re.M):
            words = shlex.split(block.replace("\\\n", " "), comments=True)
            words = words[: words.index(">")] if ">" in words else words  # the shell's part
            words = [word.strip("[]") for word in words if word != "..."]
            if tuple(words) not in seen and not words[0].isupper():
                seen.add(tuple(words))
                yield words


ALL = list(_examples())


def _is_elsewhere(words: list[str]) -> bool:
    return any(" ".join(words).startswith(f"{start} ") for start in _ELSEWHERE)


def test_there_are_examples() -> None:
    assert len(ALL) > 50
    assert sum(map(_is_elsewhere, ALL)) < 16
    assert all(any(" ".join(words).startswith(f"{start} ") for words in ALL) for start in _ELSEWHERE)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_flags_take_it(words: list[str]) -> None:
    verb, rest = split_verb(words)
    parser_of(verb).parse_args(rest[:1] if verb == "run" else rest)


# ---------------------------------------------------------------- a folder in which they run

_CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}"
  convolution_param {{ num_output: {2} kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
"""
_BODY = (
    _CONV.format("conv", "data", 4)
    + 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }\n'
    + 'layer { name: "sc" type: "Scale" bottom: "bn" top: "sc" scale_param { bias_term: true filler { value: 1 } } }\n'
    + _CONV.format("fc", "sc", 10)
)
_POOL = (
    'layer { name: "pool" type: "Pooling" bottom: "fc" top: "fc7" pooling_param { pool: AVE global_pooling: true } }\n'
)
_DATA = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "train.txt" batch_size: 2 new_height: 16 new_width: 16 } }
"""
_LOSS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc7" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc7" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
_INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }\n'
_SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "fc7" top: "prob" }\n'


def _write_nets() -> None:
    nets = {
        "train_val": _DATA + _BODY + _POOL + _LOSS,
        "train_val_encoder": _DATA
        + _BODY.replace('"fc"', '"fc_encoder"')
        + _POOL.replace('"fc"', '"fc_encoder"')
        + _LOSS,
        "net_with_data": _DATA + _BODY + _POOL + _SOFTMAX,
        "deploy": _INPUT + _BODY + _POOL + _SOFTMAX,
        "net": _INPUT + _BODY,
        "segmenting": _INPUT.replace("16", "8") + _BODY.replace("10", "19"),
    }
    for name, text in nets.items():
        Path(f"{name}.prototxt").write_text(text)
    for folder in ("old", "new"):
        Path(folder).mkdir()
        shutil.copyfile("deploy.prototxt", f"{folder}/deploy.prototxt")
    for folder, name in (("a/", "deploy"), ("b/", "deploy"), ("", "small"), ("", "large")):
        Path(folder).mkdir(exist_ok=True)
        shutil.copyfile("net.prototxt", f"{folder}{name}.prototxt")
    for name in "AB":
        shutil.copyfile("deploy.prototxt", name)
    for name in ("net", "segmenting"):
        net = Net(open_net(f"{name}.prototxt"), pb.TEST, log=False)
        for blob, value in zip(net.blobs_by_layer()["bn"], (0, 1, 1), strict=True):
            blob[...] = value
        save_caffemodel(f"{name}.caffemodel", net.message, net.blobs_by_layer())
    for copy in ("pretrained", "old", "new", "snapshot_iter_1000", "snapshot_iter_2000"):
        shutil.copyfile("net.caffemodel", f"{copy}.caffemodel")
    text = 'net: "train_val.prototxt" base_lr: 0.01 lr_policy: "fixed" display: 1 test_iter: 1 test_interval: 1000 '
    Path("solver.prototxt").write_text(text + 'max_iter: 1 snapshot_prefix: "net"')


def _write_pictures() -> None:
    generator = np.random.default_rng(0)
    names = ["photos/a.png", "photos/b.png", "folder/c.png", "photo.jpg", "street.png", "images/a.png", "images/b.png"]
    for name in [*names, *(f"flowers/{kind}/{i}.png" for kind in ("rose", "lily") for i in range(6))]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, generator.integers(0, 255, (16, 16, 3), np.uint8))
    cv2.imwrite("label.png", generator.integers(0, 19, (16, 16), np.uint8))
    for name in ("train.txt", "pairs.txt", "val.txt"):
        label = "0" if name == "train.txt" else "label.png"
        Path(name).write_text(f"photos/a.png {label}\nphotos/b.png {label}\n")
    Path("images/list.txt").write_text("a.png 0\n")
    Path("labels.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    shutil.copyfile("labels.txt", "synset_words.txt")
    Path("names.txt").write_text("cat\ndog\n")
    np.save("mean.npy", np.zeros((3, 16, 16), np.float32))
    np.save("in.npy", np.zeros((1, 16, 16, 3), np.float32))


def _prepare(words: list[str], run: Callable[..., None]) -> None:
    """What an example supposes that was done before it."""
    text = " ".join(words)
    if words[0] in ("segment", "eval") and words[:2] != ["eval", "classification"]:
        for end in ("prototxt", "caffemodel"):
            shutil.copyfile(f"segmenting.{end}", f"{'deploy' if end == 'prototxt' else 'net'}.{end}")
    if words[0] == "video":
        data_set_trees.video(Path("drive.avi"), 40)
    if words[0] == "list":
        here = Path()
        for make in (data_set_trees.voc2012, data_set_trees.cityscapes, data_set_trees.coco, data_set_trees.imagenet):
            make(here)
        if words[1] in ("sbd", "imagenet"):
            pytest.importorskip("scipy")
            data_set_trees.sbd(here)
            data_set_trees.devkit(here)
    if "convert_imageset" in text:
        Path("train.txt").write_text("a.png 0\nb.png 1\n")
    if re.search(r"(info|show|verify|compute_image_mean) train_lmdb", text):
        run("lmdb", "build", "train.txt", "train_lmdb")
    if "val_lmdb --mean" in text:
        run("lmdb", "build", "train.txt", "val_lmdb")
    if "split flowers_lmdb" in text:
        run("lmdb", "build", "flowers/", "flowers_lmdb")
    if "net_iter_5000" in text:
        run("train", "--solver", "solver.prototxt")
        shutil.copyfile("net_iter_1.solverstate", "net_iter_5000.solverstate")
    if "mean.binaryproto labels.txt" in text:
        run("lmdb", "build", "train.txt", "db")
        run("compute_image_mean", "db", "mean.binaryproto")
    if "merged/" in text or "compare-blobs" in text:
        for name in ("prototxt", "caffemodel"):
            shutil.copyfile(f"{'deploy' if name == 'prototxt' else 'net'}.{name}", f"merged.{name}")
        for folder in ("desktop", "board"):
            run("dump-blobs", "deploy.prototxt", "net.caffemodel", folder, "--random", "7")
    for form in ("safetensors", "npz"):
        if words[:2] in (["weights", "stats"], ["weights", "convert"]) and words[2] == f"net.{form}":
            run("weights", "convert", "net.caffemodel", f"net.{form}")
    if "snapshots/espnet" in text:
        Path("snapshots").mkdir()
        shutil.copyfile("net.caffemodel", "snapshots/espnet_iter_10.caffemodel")
    if words[0] == "vai_q_caffe":
        shutil.copyfile("train_val.prototxt", "float.prototxt")
        shutil.copyfile("net.caffemodel", "float.caffemodel")
        if "quantize_train_test" in text:
            run("vai_q_caffe", "quantize", "-model", "float.prototxt", "-weights", "float.caffemodel",
                "-calib_iter", "2", "-output_dir", ".")  # fmt: skip
            shutil.copyfile("quantize_train_test.caffemodel", "finetuned.caffemodel")
    Path("my_training.py").write_text("import sys, caffe\nassert sys.argv[1:] == ['--the-scripts', 'own', 'flags']\n")


def _write_logs(golden: Path) -> None:
    for name in ("train", "espnet", "enet"):
        shutil.copyfile(golden / "cli/train.log", f"{name}.log")


@pytest.mark.parametrize("words", [words for words in ALL if not _is_elsewhere(words)], ids=" ".join)
def test_it_runs(
    words: list[str],
    tmp_path: Path,
    golden: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_nets()
    _write_pictures()
    _write_logs(golden)

    def run(*line: str) -> None:
        assert main(list(line)) == 0, f"{line}: {capsys.readouterr().err[-600:]}"

    _prepare(words, run)
    status = main(words)
    output = capsys.readouterr()
    # 1 is what the data say: nets that differ, a target that has no such operator.
    assert status == 0 or (status == 1 and words[0] in ("diff", "check")), output.err[-600:]
