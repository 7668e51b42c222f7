"""``--amp``, and what verbs make of nets that ask for 16 bits themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffecompat.pycaffe as caffe
from caffecompat import CaffeCompatError, evaluate_net, time_net
from caffecompat.data import make_source
from caffecompat.formats import load_caffemodel, save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import read_net

TEXT = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 16 dim: 16 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "sc" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } OWN }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
OWN = "default_forward_type: BFLOAT16 global_grad_scale_dynamic: true"
SOLVER = """net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 max_iter: 6 display: 2 snapshot: 3
  snapshot_prefix: "s" random_seed: 1 test_iter: 2 test_interval: 3 """
SAYS = "4 of 9 layers compute in bfloat16"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.prototxt").write_text(TEXT.replace("OWN", ""))
    (tmp_path / "own.prototxt").write_text(OWN + TEXT.replace("OWN", "forward_type: BFLOAT16"))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    net = Net("net.prototxt", "TRAIN", log=False, sources=make_source)
    net.close()
    save_caffemodel("w.caffemodel", net.message, net.blobs_by_layer())
    return tmp_path


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_train_and_go_on(folder: Path, command: Any, amp: str) -> None:
    result = command("train", "--solver", "solver.prototxt", "--amp", amp)
    assert result.status == 0
    assert ("4 of 8 layers compute in bfloat16" in result.err) and (SAYS not in result.err)
    assert ("Loss scale = 65536" in result.err) == (amp == "fp16")
    assert ("as a CPU's float16 is slower than its float32" in result.err) == (amp == "fp16")
    whole = load_caffemodel("s_iter_6.caffemodel")
    resumed = command("train", "--solver", "solver.prototxt", "--amp", amp, "--snapshot", "s_iter_3.solverstate")
    assert "data and random numbers go on where they were" in resumed.err
    for name, blobs in load_caffemodel("s_iter_6.caffemodel").items():
        for ours, theirs in zip(blobs, whole[name], strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs)


def test_the_plan_says_how_it_computes(folder: Path, command: Any) -> None:
    words = ["train", "--solver", "solver.prototxt", "--dry-run"]
    assert "precision" not in command(*words).out
    line = "precision    4 of 8 layers compute in bfloat16; loss scale 1\n"
    assert line in command(*words, "--amp", "bf16").out
    own = command(*words, "--set", "net=own.prototxt").out
    assert line.replace("scale 1", "scale 65536, then as needed") in own


def test_other_words_are_refused(folder: Path, command: Any) -> None:
    for verb in (("train", "--solver", "solver.prototxt"), ("time", "--model", "net.prototxt")):
        result = command(*verb, "--amp", "fp8")
        assert result.status == 2
        assert "'fp8'" in result.err and "bf16" in result.err


def test_test_and_time(folder: Path, command: Any) -> None:
    words = ["test", "--model", "net.prototxt", "--weights", "w.caffemodel", "--iterations", "2"]
    assert SAYS not in command(*words).err
    tested = command(*words, "--amp", "bf16")
    assert tested.status == 0 and SAYS in tested.err
    timed = command("time", "--model", "net.prototxt", "--iterations", "1", "--amp", "bf16")
    assert timed.status == 0 and "4 of 8 layers compute in bfloat16" in timed.err


def test_eval_takes_it(folder: Path, command: Any) -> None:
    words = ["eval", "classification", "--model", "net.prototxt", "--weights", "w.caffemodel", "--iterations", "1"]
    assert "bfloat16" not in command(*words).err
    result = command(*words, "--amp", "bf16")
    assert result.status == 0, result.err
    assert "4 of 7 layers compute in bfloat16" in result.err


def test_python_takes_it_for_nets_that_are_to_be_made(folder: Path) -> None:
    plain = evaluate_net("net.prototxt", "w.caffemodel", iterations=1).loss
    mixed = evaluate_net("net.prototxt", "w.caffemodel", iterations=1, amp="bf16").loss
    assert np.isfinite([plain, mixed]).all()
    assert time_net("net.prototxt", iterations=1, amp="bf16").total > 0
    net = Net("net.prototxt", "TEST", log=False, sources=make_source)
    for function in (evaluate_net, time_net):
        with pytest.raises(CaffeCompatError, match="amp 'bf16': the net is made already"):
            function(net, iterations=1, amp="bf16")
    net.close()


def test_a_layer_is_kept_in_float_by_set(folder: Path, command: Any) -> None:
    result = command("train", "--solver", "solver.prototxt", "--amp", "bf16", "--set", "ip.forward_type=FLOAT")
    assert result.status == 0 and "3 of 8 layers compute in bfloat16" in result.err


def test_exports_compute_in_32_bits(folder: Path, command: Any) -> None:
    pytest.importorskip("onnxruntime")
    words = ("--model", "own.prototxt", "--weights", "w.caffemodel")
    for verb, out in (("onnx", "n.onnx"), ("torch", "n.py"), ("deploy", "d")):
        result = command("export", verb, *words, out)
        assert result.status == 0, result.err
        assert "computes in 32 bits" in result.out
    assert "BFLOAT16" not in Path("d.prototxt").read_text()
    assert "BFLOAT16" in Path("own.prototxt").read_text()
    deployed = Net("d.prototxt", "TEST", log=False, weights="d.caffemodel")
    assert not deployed.half_precision
    assert command("summary", "own.prototxt", "--json").status == 0


def test_pycaffe(folder: Path) -> None:
    net = caffe.Net("own.prototxt", "w.caffemodel", caffe.TEST)
    net.forward()
    assert {blob.data.dtype for blob in net.blobs.values()} == {np.dtype(np.float32)}
    again = torch.from_numpy(net.blobs["ip"].data.copy())
    assert torch.equal(again, again.bfloat16().float()), "made in 16 bits"
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(2)
    assert solver.iter == 2


def test_a_text_with_bfloat16_is_written_and_read_again(folder: Path, command: Any) -> None:
    message = read_net("own.prototxt")
    assert message.layer[5].forward_type == message.default_forward_type == 80001
    result = command("diff", "net.prototxt", "own.prototxt", "--json")
    assert result.status in (0, 1)
    assert "BFLOAT16" in json.dumps(json.loads(result.out))
