"""Command lines as TI's and Xilinx' scripts have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffecompat.formats import save_caffemodel
from caffecompat.schema import open_net

_NET = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "b" type: "Convolution" bottom: "data" top: "b" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "a" type: "Convolution" bottom: "b" top: "a" convolution_param { num_output: 1 kernel_size: 2 } }
layer { name: "sum" type: "Reduction" bottom: "a" top: "sum" }
"""
_DETECTOR = """
layer {{ name: "boxes" type: "HDF5Data" top: "found" top: "there"
  hdf5_data_param {{ source: "boxes.txt" batch_size: 1 }} }}
layer {{ name: "detection_eval" type: "DetectionEvaluate" bottom: "found" bottom: "there" top: "detection_eval"
  detection_evaluate_param {{ num_classes: 3 {0} }} }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a net whose weights hold zeros, and a test net of a detector with its boxes."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(_NET)
    blobs = {
        "b": [np.float32([[1, 0], [0, 0], [2, 3], [0, 1]])[:, :, None, None], np.zeros(4, np.float32)],
        "a": [np.ones((1, 4, 2, 2), np.float32), np.zeros(1, np.float32)],
    }
    save_caffemodel("net.caffemodel", open_net("net.prototxt").message, blobs)
    Path("ssd.prototxt").write_text(_DETECTOR.format(""))
    box = [0.1, 0.1, 0.5, 0.5]
    with h5py.File("boxes.h5", "w") as file:
        found = np.float32([[0, 1, 0.9, *box], [0, 2, 0.8, *box]])
        there = np.float32([[0, 1, 0, *box, 0], [0, 2, 0, 0.6, 0.6, 0.9, 0.9, 0]])
        file["found"], file["there"] = found[None, None], there[None, None]
    Path("boxes.txt").write_text("boxes.h5\n")
    return tmp_path


@pytest.mark.parametrize("flag", ["--display_sparsity=1", "-display_sparsity=1", "--display-sparsity 1"])
def test_sparsity_of_the_test_net(command: Callable, folder: Path, flag: str) -> None:
    words = ["test", "--model=net.prototxt", "--weights=net.caffemodel", "--iterations=1", "--gpu=0", "--device=cpu"]
    result = command(*words, *flag.split())
    assert result.status == 0
    lines = [line.split("] ", 1)[1].rstrip() for line in result.err.splitlines() if "] " in line]
    assert lines[-6:] == [
        "Sparsity of the test net:",
        "Num Params(2), Sparsity (zero_weights/count):",
        "a_param_0(0)",
        "b_param_0(0.5)",
        "Total Sparsity (zero_weights/count) =  (4/24) 0.167",
        "=" * 25,
    ]
    assert "Sparsity" not in command(*words, "--display_sparsity=0").err


def test_test_detection(command: Callable, folder: Path) -> None:
    words = ["--model=ssd.prototxt", "--iterations=2", "--weights=net.caffemodel", "--gpu", "0", "--device", "cpu"]
    result = command("test_detection", *words)
    assert result.status == 0
    assert re.search(r"\] Test net output mAP #0: detection_eval = 0\.5$", result.err, re.M)
    assert re.search(r"\]     Test net output #0: detection_eval = 0\.5$", command("test", *words).err, re.M)


def test_iterations_by_another_name(command: Callable, folder: Path) -> None:
    result = command("test", "-model", "net.prototxt", "-weights", "net.caffemodel", "-test_iter", "3")
    assert result.status == 0 and "Running for 3 iterations." in result.err


_SOLVER = """
train_net: "net.prototxt" test_net: "ssd.prototxt" test_iter: 1 test_interval: 10 test_initialization: false
base_lr: 0 lr_policy: "fixed" max_iter: 1 eval_type: "detection" snapshot_prefix: "s"
"""


def test_a_missing_name_size_file_is_found_before_anything_is_computed(command: Callable, folder: Path) -> None:
    Path("solver.prototxt").write_text(_SOLVER)
    Path("ssd.prototxt").write_text(_DETECTOR.format('name_size_file: "sizes.txt"'))
    for words in (
        "test_detection --model=ssd.prototxt --weights=net.caffemodel",
        "train --solver solver.prototxt",
        "train --solver solver.prototxt --dry-run",
    ):
        result = command(*words.split())
        assert result.status == 2
        assert (
            "layer 'detection_eval' (DetectionEvaluate): name_size_file: sizes.txt: there is no such file" in result.err
        )
        assert "Running for" not in result.err and "Solving" not in result.err
    Path("mine.txt").write_text("a 100 100\n")
    setting = "detection_eval.detection_evaluate_param.name_size_file=mine.txt"
    assert command("train", "--solver", "solver.prototxt", "--set", setting).status == 0


def test_settings_of_layers_that_only_the_test_net_has(command: Callable, folder: Path) -> None:
    Path("solver.prototxt").write_text(_SOLVER)
    words = ("train", "--solver", "solver.prototxt", "--dry-run", "--set")
    assert command(*words, "detection_eval.detection_evaluate_param.overlap_threshold=0.7").status == 0
    assert command(*words, "b.convolution_param.kernel_size=3", "--set", "b.convolution_param.pad=1").status == 0
    nowhere = command(*words, "detection_evil.detection_evaluate_param.overlap_threshold=0.7")
    assert nowhere.status == 2
    assert "net.prototxt and ssd.prototxt has no layer of that name; did you mean detection_eval?" in nowhere.err


def test_label_ids_of_cityscapes_are_recognized(command: Callable, folder: Path, shared: Path) -> None:
    """The tutorial's test net measures label ids, which its tool turned into train ids by itself."""
    text = (shared / "real/vitis-tutorial-05-seg/VAI/enet/float_test.prototxt").read_text()
    measure = text[text.index('layer {\n  name: "accuracy"') :].replace('bottom: "score"', 'bottom: "scores"')
    Path("measure.prototxt").write_text(f"""
layer {{ name: "s" type: "DummyData" top: "scores" dummy_data_param {{ shape {{ dim: 1 dim: 19 dim: 2 dim: 2 }} }} }}
layer {{ name: "l" type: "DummyData" top: "label" dummy_data_param {{ shape {{ dim: 1 dim: 1 dim: 2 dim: 2 }}
  data_filler {{ type: "constant" value: 26 }} }} }}
{measure}""")
    result = command("test", "--model", "measure.prototxt", "--weights", "net.caffemodel", "--iterations", "2")
    assert result.status == 0
    assert result.err.count("they look like Cityscapes' label ids, the net wants train ids") == 1


def test_resume_auto_under_a_folder_as_prefix(command: Callable, folder: Path) -> None:
    Path("solver.prototxt").write_text(_SOLVER)
    Path("runs").mkdir()
    words = ("train", "--solver", "solver.prototxt", "--resume", "auto", "--set", "snapshot_prefix=runs/")
    assert "starting from the beginning" in command(*words).err
    assert Path("runs/solver_iter_1.solverstate").exists()
    assert "Resuming from runs/solver_iter_1.solverstate" in command(*words, "--set", "max_iter=2").err
