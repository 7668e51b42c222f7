"""--fork and CAFFECOMPAT_FORK on the verbs that read nets."""

from __future__ import annotations

import pytest

from caffecompat.cli.main import VERBS
from caffecompat.forks import named_fork

NET = """
name: "plain"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
layer { name: "conv" type: "Convolution" bottom: "bn" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
"""
V1 = """
input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "relu" type: RELU bottom: "data" top: "relu" }
"""
TRAIN = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { type: "constant" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "ip" top: "bn" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "bn" bottom: "label" top: "loss"
  loss_param { normalization: NONE } }
"""
SOLVER = 'net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 snapshot: 2 snapshot_prefix: "s"'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFECOMPAT_FORK", raising=False)
    for name, text in (("net", NET), ("v1", V1), ("train", TRAIN), ("solver", SOLVER)):
        (tmp_path / f"{name}.prototxt").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "summary net.prototxt",
        "summary v1.prototxt",
        "diff net.prototxt v1.prototxt",
        "draw net.prototxt net.dot",
        "check net.prototxt --target dpu",
        "upgrade_net_proto_text v1.prototxt v2.prototxt",
        "export deploy --model net.prototxt out.prototxt",
        "export onnx --model net.prototxt net.onnx",
        "export torch --model net.prototxt net.py",
        "merge-bn net.prototxt net.caffemodel out.prototxt out.caffemodel",
        "time --model net.prototxt --iterations 1",
        "dump-blobs net.prototxt net.caffemodel out --random 7",
    ],
)
def test_verbs_obey(folder, command, words):
    from caffecompat.net import Net
    from caffecompat.schema import open_net, pb

    Net(open_net("net.prototxt", fork="xilinx"), pb.TEST, log=False).save("net.caffemodel")
    for extra in ("--fork xilinx", "-fork=Xilinx"):
        result = command(*words.split(), *extra.split())
        assert "the rules of Xilinx Caffe hold, named by --fork" in result.err
        assert "no effect" not in result.err
    assert named_fork() is None


def test_the_blobs_are_the_forks(folder, command):
    assert " 7 " in command("summary", "net.prototxt").out
    assert " 13 " in command("--fork", "xilinx", "summary", "net.prototxt").out


def test_deployed_weights_keep_a_named_fork(folder, command):
    from caffecompat.forks import Fork
    from caffecompat.formats import open_caffemodel
    from caffecompat.net import Net
    from caffecompat.schema import open_net, pb

    Net(open_net("net.prototxt"), pb.TEST, log=False).save("net.caffemodel")
    assert open_caffemodel("net.caffemodel").trained_as is None
    for words in (
        "merge-bn net.prototxt net.caffemodel out.prototxt out.caffemodel",
        "export deploy --model net.prototxt --weights net.caffemodel out",
    ):
        result = command(*words.split(), "--fork", "xilinx")
        assert result.status == 0, result.err
        assert open_caffemodel("out.caffemodel").trained_as is Fork.XILINX


def test_the_environment(folder, command, monkeypatch):
    monkeypatch.setenv("CAFFECOMPAT_FORK", "xilinx")
    result = command("summary", "net.prototxt")
    assert "hold, named by CAFFECOMPAT_FORK" in result.err and " 13 " in result.out
    assert "hold, named by --fork" in command("summary", "net.prototxt", "--fork", "bvlc").err
    monkeypatch.setenv("CAFFECOMPAT_FORK", "xilinks")
    result = command("summary", "net.prototxt")
    assert result.status == 2
    assert "CAFFECOMPAT_FORK: there is no fork 'xilinks'; did you mean xilinx?" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fork jacinta", "--fork: there is no fork 'jacinta'; did you mean jacinto?"),
        ("--fork", "--fork needs a name"),
        ("--fork=", "--fork needs a name"),
        ("--fork enet --fork jacinto", "--fork names enet and jacinto; a command follows the rules of one fork"),
    ],
)
def test_wrong_names(folder, command, words, message):
    result = command("summary", "net.prototxt", *words.split())
    assert result.status == 2 and message in result.err


def test_the_same_name_twice_is_one(folder, command):
    assert command("summary", "net.prototxt", "--fork", "enet", "--fork", "ENet").status == 0


def test_where_no_net_is_read_it_is_said(folder, command):
    result = command("upgrade_solver_proto_text", "solver.prototxt", "out.prototxt", "--fork", "enet")
    assert result.status == 0 and "--fork had no effect" in result.err


@pytest.mark.parametrize("verb", [name for names in VERBS.values() for name in names])
def test_every_help_names_it(verb, command, capsys):
    with pytest.raises(SystemExit):
        command(verb, "--help")
    text = capsys.readouterr().out
    assert "--fork NAME" in text and "segnet, pspnet, deeplab" in text


def test_scripts_keep_their_own_flags(folder, command, scripts_in_process):
    (folder / "script.py").write_text(
        "import sys, caffe\nprint(sys.argv[1:])\n"
        "print([blob.data.size for blob in caffe.Net('net.prototxt', caffe.TEST).params['bn']])\n"
    )
    for words in (("--fork", "xilinx", "run", "script.py"), ("run", "--fork", "xilinx", "script.py")):
        result = command(*words, "--fork", "mine")
        assert "['--fork', 'mine']" in result.out and "[3, 3, 3, 3, 1]" in result.out


def test_training_goes_on_under_the_named_fork(folder, command):
    first = command("train", "--solver", "solver.prototxt", "--fork", "nvcaffe")
    assert first.status == 0
    for words in (("--snapshot", "s_iter_2.solverstate"), ("--resume", "auto")):
        resumed = command("train", "--solver", "solver.prototxt", *words)
        assert "the rules of NVCaffe hold, as named for the run that wrote s_iter_" in resumed.err
    other = command("train", "--solver", "solver.prototxt", "--snapshot", "s_iter_2.solverstate", "--fork", "enet")
    assert "trained under the rules of NVCaffe, named by the user" in other.err
    assert "rules of ENet Caffe hold, named by --fork" in other.err


def test_a_training_log_says_whose_rules_hold_where_nothing_shows_it(folder, command):
    result = command("train", "--solver", "solver.prototxt", "--set", "snapshot_after_train=false")
    assert (
        "train.prototxt: the rules of BVLC Caffe hold, as nothing shows another fork (--fork names one)" in result.err
    )


@pytest.mark.parametrize(("fork", "factor"), [("bvlc", 1), ("enet", 1 / 4), ("segnet", 1 / 4)])
def test_enets_loss_ignores_normalization(folder, fork, factor, command):
    """4 samples, all scores 0: NONE sums log(3) over them, ENet's rule divides by the count of labels."""
    (folder / "train.prototxt").write_text(TRAIN.replace('type: "xavier"', 'type: "constant"'))
    result = command("train", "--solver", "solver.prototxt", "--set", "display=1", "--fork", fork)
    loss = float(result.err.split("Train net output #0: loss = ")[1].split()[0])
    assert loss == pytest.approx(4 * 1.0986123 * factor, rel=1e-4)
