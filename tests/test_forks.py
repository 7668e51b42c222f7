"""Naming a fork: names, families, what holds for the process and what for one call."""

from __future__ import annotations

import pytest

from caffecompat import CaffeCompatError, Solver, load_net, read_net
from caffecompat.forks import NAMES, Fork, ForkChoice, choice_of, environment_fork, name_fork
from caffecompat.schema import NetDocument, open_net, parse_text, pb

PLAIN = """
name: "plain"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" param { } param { } param { } }
"""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.delenv("CAFFECOMPAT_FORK", raising=False)
    yield
    name_fork(None)


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(PLAIN)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_known_in_any_case(name):
    assert choice_of(f" {name.upper()} ").fork is Fork[name.upper()]


@pytest.mark.parametrize(("name", "near"), [("jacinta", "jacinto"), ("nvcafe", "nvcaffe"), ("Xilnx", "xilinx")])
def test_a_wrong_name_is_an_error_with_the_nearest(name, near):
    with pytest.raises(
        CaffeCompatError, match=f"--fork: there is no fork '{name}'; did you mean {near}.*known are bvlc, ssd"
    ):
        choice_of(name, "--fork")


def test_a_call_wins_over_the_process_and_the_process_over_the_text(net):
    text = PLAIN + 'layer { name: "i" type: "Interp" bottom: "bn" top: "i" interp_param { } }'
    net.write_text(text)
    assert open_net(net).fork is Fork.PSPNET
    name_fork(choice_of("xilinx", "here"))
    document = open_net(net)
    assert document.fork is Fork.XILINX and "named by here" in document.fork_choice.why
    assert open_net(net, fork="enet").fork is Fork.ENET
    assert open_net(net, fork=Fork.BVLC).fork is Fork.BVLC
    assert NetDocument.from_message(parse_text(text, pb.NetParameter())).fork is Fork.XILINX


def test_a_copy_goes_by_its_original(net):
    document = open_net(net, fork="nvcaffe")
    name_fork(choice_of("xilinx"))
    assert NetDocument.from_message(document.message, like=document.fork_choice).fork is Fork.NVCAFFE


def test_what_holds_where_nothing_says_anything(net):
    hint = ForkChoice(Fork.NVCAFFE, "as the solver shows")
    assert open_net(net, otherwise=hint).fork_choice == hint
    assert open_net(net, fork="bvlc", otherwise=hint).fork is Fork.BVLC


def test_upgrades_follow_the_named_fork(net):
    frozen = [param.lr_mult for param in read_net(net).layer[1].param]
    assert frozen == [0, 0, 0]
    assert [param.lr_mult for param in read_net(net, fork="nvcaffe").layer[1].param] == [1, 1, 1]


@pytest.mark.parametrize(("fork", "blobs"), [("bvlc", 3), ("nvcaffe", 3), ("xilinx", 5)])
def test_load_net(net, fork, blobs):
    assert sum(value.numel() for value in load_net(net, fork=fork).state_dict().values()) >= blobs
    with pytest.raises(CaffeCompatError, match="fork=: there is no fork"):
        load_net(net, fork="none")


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_environment_names_nothing(value, monkeypatch):
    monkeypatch.setenv("CAFFECOMPAT_FORK", value)
    assert environment_fork() is None


def test_a_v1_net_and_its_place(tmp_path, capsys):
    path = tmp_path / "old.prototxt"
    path.write_text(
        'layers { name: "a" type: RELU bottom: "x" top: "x" }\nlayers {\n  name: "d"\n  fixed_param { } }\n'
    )
    assert open_net(path).fork is Fork.XILINX
    assert f"fixed_param of layer 'd' ({path}:4:3) shows" in capsys.readouterr().err


def test_a_name_against_the_text_is_said(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "up"\n  upsample_param { scale: 2 } }')
    assert open_net(path, fork="bvlc").fork is Fork.BVLC
    assert (
        f"named by fork=, although upsample_param of layer 'up' ({path}:2:3) is of another fork"
        in capsys.readouterr().err
    )
    path.write_text("layer { annotated_data_param { } }")  # which Jacinto's Caffe took over from SSD's
    open_net(path, fork="jacinto")
    assert "although" not in capsys.readouterr().err


TRAINED = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { type: "constant" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = (
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "s" test_iter: 1 test_interval: 9'
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TRAINED)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def test_a_solvers_fields_hold_for_its_nets(folder, capsys):
    (folder / "solver.prototxt").write_text(SOLVER + " larc: true")
    solver = Solver("solver.prototxt")
    assert {solver.fork, solver.net.fork, solver.test_nets[0].fork} == {Fork.NVCAFFE}
    assert "net.prototxt: the rules of NVCaffe hold, as larc in solver.prototxt shows" in capsys.readouterr().err
    named = Solver("solver.prototxt", fork="bvlc")
    assert {named.fork, named.net.fork} == {Fork.BVLC}


def test_intels_solver_leaves_the_weights_where_updates_are_disabled(folder):
    (folder / "solver.prototxt").write_text(SOLVER + " disabled_update: true engine: 'MKLDNN'")
    solver = Solver("solver.prototxt")
    before = solver.net.blobs_by_layer()["ip"][0].copy()
    solver.step(2)
    assert solver.fork is Fork.INTEL and solver.iter == 2
    assert (solver.net.blobs_by_layer()["ip"][0] == before).all()


def test_a_test_net_in_a_file_of_its_own_follows_the_train_net(folder):
    (folder / "train.prototxt").write_text(
        TRAINED + 'layer { name: "x" type: "TanH" bottom: "ip" top: "x" forward_type: FLOAT }'
    )
    text = SOLVER.replace('net: "net.prototxt"', 'train_net: "train.prototxt" test_net: "net.prototxt"')
    (folder / "solver.prototxt").write_text(text)
    solver = Solver("solver.prototxt")
    assert solver.net.fork is Fork.NVCAFFE and solver.test_nets[0].fork is Fork.NVCAFFE


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_snapshots_keep_a_named_fork_and_a_run_under_another_says_so(folder, suffix, capsys):
    more = " snapshot_format: HDF5" if suffix else ""
    (folder / "solver.prototxt").write_text(SOLVER + more)
    solver = Solver("solver.prototxt", fork="enet")
    state = solver.snapshot()
    capsys.readouterr()
    solver.restore(state)
    assert "trained under" not in capsys.readouterr().err
    Solver("solver.prototxt").restore(state)
    said = f"s_iter_0.caffemodel{suffix}: trained under the rules of ENet Caffe, named by the user; this run follows"
    assert said in capsys.readouterr().err


def test_a_run_resumed_under_a_name_that_it_had_not_says_so(folder, capsys):
    state = Solver("solver.prototxt").snapshot()
    Solver("solver.prototxt", fork="enet").restore(state)
    assert (
        f"{state}: written under the rules of BVLC Caffe; resumed under those of ENet Caffe" in capsys.readouterr().err
    )


def test_snapshots_are_caffes_own_messages_still(folder):
    state = Solver("solver.prototxt", fork="enet").snapshot()
    message = pb.SolverState.FromString((folder / state).read_bytes())
    assert message.learned_net == "s_iter_0.caffemodel" and len(message.history) == 2
    net = pb.NetParameter.FromString((folder / message.learned_net).read_bytes())
    assert [layer.name for layer in net.layer] == ["data", "ip", "loss"]
    state = Solver("solver.prototxt").snapshot()
    plain = (folder / "s_iter_0.caffemodel").read_bytes()
    assert b"ENET" not in plain and pb.NetParameter.FromString(plain).SerializeToString() == plain
