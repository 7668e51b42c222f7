"""A run that was stopped and resumed is the run that was not: every loss and weight bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main
from caffecompat.formats.annotated_datum import AnnotatedDatum, encode_annotated_datum
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum
from caffecompat.formats.resume_file import encode_resume, read_resume
from caffecompat.formats.solverstate import read_solverstate, write_solverstate
from caffecompat.solver import Solver
from tests.data.batches import make_database, picture, write_picture

COUNT = 10  # records, of which batches of 3 straddle the end

HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
TOPS = 'top: "data" top: "label"'
LMDB = f'layer {{ name: "d" type: "Data" {TOPS} data_param {{ source: "db" backend: LMDB batch_size: 3 MORE }} EXTRA }}'
LIST = (
    f'layer {{ name: "d" type: "ImageData" {TOPS} image_data_param {{ source: "list.txt" batch_size: 3 MORE }} EXTRA }}'
)
HDF5 = f'layer {{ name: "d" type: "HDF5Data" {TOPS} hdf5_data_param {{ source: "h5.txt" batch_size: 3 MORE }} EXTRA }}'
CHANCE = "transform_param { crop_size: 6 mirror: true scale: 0.01 }"
SCALE = "transform_param { scale: 0.01 }"


def data(text: str, more: str = "", extra: str = "") -> str:
    return text.replace("MORE", more).replace("EXTRA", extra)


def among(layers: str) -> str:
    """The head with other layers before it."""
    return layers + HEAD.replace('bottom: "data"', 'bottom: "last"')


# One net for each source, each layer that draws and each that remembers; and a test net where it says TEST.
NETS = {
    "lmdb": data(LMDB, extra=SCALE) + HEAD,
    "lmdb-chance": data(LMDB, extra=CHANCE) + HEAD,
    "lmdb-shuffled": data(LMDB, "cache: true shuffle: true threads: 3", CHANCE) + HEAD,
    "leveldb": data(LMDB, extra=SCALE).replace('"db" backend: LMDB', '"leveldb"') + HEAD,
    "list": data(LIST, extra=SCALE) + HEAD,
    "list-chance": data(LIST, "shuffle: true rand_skip: 3", CHANCE) + HEAD,
    "list-resized": data(
        LIST,
        "shuffle: true",
        "transform_param { crop_size: 6 mirror: true std_value: 58 random_resized_crop_param { min_area: 0.3 } "
        "distort_param { brightness_prob: 0.5 brightness_delta: 32 } }",
    )
    + HEAD,
    "lmdb-jitter": data(
        LMDB, extra="transform_param { crop_size: 6 mirror: true scale_min: 0.4 scale_max: 2 scale: 0.01 }"
    )
    + HEAD,
    "hdf5": data(HDF5) + HEAD,
    "hdf5-shuffled": data(HDF5, "shuffle: true") + HEAD,
    "windows": """layer { name: "d" type: "WindowData" top: "data" top: "label"
        transform_param { crop_size: 5 mirror: true } window_data_param { source: "windows.txt" batch_size: 3
        bg_threshold: 0.3 fg_fraction: 0.4 scale: 0.01 } }"""
    + HEAD,
    "annotated": """layer { name: "d" type: "AnnotatedData" top: "data" top: "label"
        data_param { source: "boxes" backend: LMDB batch_size: 3 }
        annotated_data_param { batch_sampler { max_sample: 1 max_trials: 9 sampler { min_scale: 0.3 }
            sample_constraint { min_jaccard_overlap: 0.1 } } }
        transform_param { mirror: true scale: 0.01 resize_param { prob: 1 height: 6 width: 6 interp_mode: LINEAR }
            expand_param { prob: 0.5 max_expand_ratio: 3 }
            distort_param { brightness_prob: 0.5 brightness_delta: 32 random_order_prob: 0.5 } } }
      layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
      layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" reduction_param { operation: SUMSQ }
        loss_weight: 1 }
      layer { name: "unused" type: "Silence" bottom: "label" }""",
    "dummy": """layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 3 dim: 5 }
        shape { dim: 3 } data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 2 } } }"""
    + HEAD,
    "dropout": data(HDF5)
    + among('layer { name: "drop" type: "Dropout" bottom: "data" top: "last" dropout_param { dropout_ratio: 0.4 } }'),
    "drop-path": data(HDF5)
    + among('layer { name: "drop" type: "DropPath" bottom: "data" top: "last" drop_path_param { drop_prob: 0.4 } }'),
    "mixup": data(LMDB, extra=SCALE)
    + among(
        'layer { name: "mix" type: "Mixup" bottom: "data" bottom: "label" top: "last" top: "soft" mixup_param { '
        "cutmix_alpha: 1 prob: 0.8 mode: ELEM off_iter: 10 num_classes: 10 } }"
    ).replace('bottom: "ip" bottom: "label"', 'bottom: "ip" bottom: "soft"'),
    "stochastic": data(LMDB, extra=SCALE)
    + among(
        'layer { name: "p" type: "Pooling" bottom: "data" top: "last" pooling_param { pool: STOCHASTIC '
        "kernel_size: 3 stride: 2 } }"
    ),
    "batch-norm": data(LMDB, extra=CHANCE) + among('layer { name: "bn" type: "BatchNorm" bottom: "data" top: "last" }'),
    "python": 'layer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "placed_data" '
    'layer: "Placed" } }' + HEAD,
    "two-sources": data(HDF5)
    + data(HDF5, "shuffle: true")
    .replace('name: "d"', 'name: "e"')
    .replace('"data"', '"b"')
    .replace('"label"', '"l"')
    .replace("h5.txt", "other.txt")
    + among('layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "b" top: "last" }'),
    "lstm": """layer { name: "d" type: "HDF5Data" top: "data" top: "label" top: "cont"
        hdf5_data_param { source: "steps.txt" batch_size: 3 } }
      layer { name: "lstm" type: "LSTM" bottom: "data" bottom: "cont" top: "lstm" recurrent_param { num_output: 4
        weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
      layer { name: "loss" type: "SoftmaxWithLoss" bottom: "lstm" bottom: "label" top: "loss"
        softmax_param { axis: 2 } }""",
    "tests": data(LIST, "shuffle: true", CHANCE + " include { phase: TRAIN }")
    + data(LMDB, extra=SCALE.replace("scale", "crop_size: 6 scale") + " include { phase: TEST }").replace(
        "batch_size: 3", "batch_size: 4"
    )
    + among("""layer { name: "drop" type: "Dropout" bottom: "data" top: "last" }
      layer { name: "extra" type: "InnerProduct" bottom: "data" top: "extra" include { phase: TEST }
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }"""),
}

PLACED = """
import random
import numpy as np
import caffe

class Placed(caffe.Layer):
    def setup(self, bottom, top):
        self.at = 0
    def reshape(self, bottom, top):
        top[0].reshape(3, 5)
        top[1].reshape(3)
    def forward(self, bottom, top):
        self.at += 1
        top[0].data[...] = np.random.rand(3, 5) + random.random() + self.at
        top[1].data[...] = self.at % 4
    def backward(self, top, propagate_down, bottom):
        pass
    def state(self):
        return {"at": self.at}
    def restore(self, state):
        self.at = state["at"]
"""

SOLVER = 'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 weight_decay: 0.001 max_iter: 12 snapshot_prefix: "s" '


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data for all of these nets."""
    at = tmp_path_factory.mktemp("data")
    pictures = [picture(8, 8, seed=k) for k in range(COUNT)]
    for name, backend in (("db", "lmdb"), ("leveldb", "leveldb")):
        make_database(at / name, pictures, backend)
    found = np.array([[1, 0, 0.1, 0.1, 0.6, 0.7, 0]], np.float32)
    with open_database(at / "boxes", "lmdb", "w") as database:
        for k, pixels in enumerate(pictures):
            plain = Datum.from_array(np.ascontiguousarray(pixels.transpose(2, 0, 1)), -1)
            database.put([(b"%08d" % k, encode_annotated_datum(AnnotatedDatum(plain, found[: k % 2])))])
    generator = np.random.default_rng(1)
    for k, pixels in enumerate(pictures):
        write_picture(at / f"{k}.png", pixels)
    (at / "list.txt").write_text("".join(f"{k}.png {k % 4}\n" for k in range(COUNT)))
    for name, rows in (("a", 4), ("b", 3), ("c", 5)):
        with h5py.File(at / f"{name}.h5", "w") as file:
            file["data"] = file["b"] = generator.standard_normal((rows, 5)).astype("f4")
            file["label"] = file["l"] = generator.integers(0, 4, rows).astype("f4")
    (at / "h5.txt").write_text("a.h5\nb.h5\n")
    (at / "other.txt").write_text("c.h5\nb.h5\n")
    with h5py.File(at / "steps.h5", "w") as file:
        file["data"] = generator.standard_normal((7, 2, 5)).astype("f4")
        file["label"] = generator.integers(0, 4, (7, 2)).astype("f4")
        file["cont"] = np.ones((7, 2), "f4")
    (at / "steps.txt").write_text("steps.h5\n")
    windows = "2\n3 0.9 1 1 6 7\n9 0.1 0 0 6 6\n"
    (at / "windows.txt").write_text("".join(f"# {k}\n{at}/{k}.png\n3\n8\n8\n{windows}" for k in range(COUNT)))
    (at / "placed_data.py").write_text(PLACED)
    return at


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """These files in an empty folder, which is the current one."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(files)
    return tmp_path


class Run:
    """A solver whose losses, weights and test scores are recorded."""

    def __init__(self, net: str, solver: str = "") -> None:
        Path("net.prototxt").write_text(net)
        tests = " test_iter: 3 test_interval: 2 test_initialization: false" if "phase: TEST" in net else ""
        policy = "" if "lr_policy" in solver else ' lr_policy: "fixed"'
        policy += "" if "snapshot: " in solver else " snapshot: 1"
        Path("solver.prototxt").write_text(SOLVER + solver + policy + tests)
        self.solver = Solver("solver.prototxt")
        self.seen: dict[int, Any] = {}
        self.scores: dict[int, Any] = {}
        self.solver.observers.append(self._record)
        test = self.solver.test
        self.solver.test = lambda index: self.scores.setdefault(self.solver.iter, test(index))  # type: ignore[method-assign]

    def _record(self, solver: Solver) -> None:
        weights = b"".join(blob.tobytes() for blobs in solver.net.blobs_by_layer().values() for blob in blobs)
        losses = [float(loss).hex() for loss in solver.display.losses]
        self.seen[solver.iter] = losses, solver.smoothed_loss.hex(), hash(weights)

    def close(self) -> None:
        for net in (self.solver.net, *self.solver.test_nets):
            net.close()


def somewhere_else() -> None:
    """Generators as another process has them."""
    import random

    torch.manual_seed(12345)
    np.random.seed(999)
    random.seed(888)


def check_exact(net: str, solver: str = "", at: Sequence[int] = (1, 5, 8), seed: str = "random_seed: 3 ") -> None:
    """Resumed after any of these iterations, a run goes on as if it had not been stopped."""
    straight = Run(net, seed + solver)
    straight.solver.train()
    straight.close()
    ending = ".h5" if "HDF5" in solver.split() else ""
    for iteration in at:
        somewhere_else()
        resumed = Run(net, seed + solver)
        resumed.solver.train(f"s_iter_{iteration}.solverstate{ending}")
        resumed.close()
        assert resumed.seen == {k: v for k, v in straight.seen.items() if k > iteration}
        assert resumed.scores == {k: v for k, v in straight.scores.items() if k >= iteration}


@pytest.mark.parametrize("name", NETS)
def test_every_source_and_every_layer_that_draws_or_remembers(folder: Path, name: str, log: list[str]) -> None:
    check_exact(NETS[name])
    assert sum("data and random numbers go on where they were" in line for line in log) == 3
    assert not any(".resume: " in line and "go on" not in line for line in log)


@pytest.mark.parametrize("name", ["list-chance", "dropout", "tests"])
def test_runs_without_a_seed(folder: Path, name: str) -> None:
    check_exact(NETS[name], seed="")


RULES = {
    "adam": 'type: "Adam" momentum2: 0.999',
    "nesterov": 'type: "Nesterov"',
    "adadelta": 'type: "AdaDelta" delta: 1e-6',
    "hdf5": "snapshot_format: HDF5 average_loss: 4",
    "average": "average_loss: 5",
    "iter_size": "iter_size: 3 average_loss: 2",
    "multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 4 stepvalue: 9',
    "plateau": 'lr_policy: "plateau" gamma: 0.5 plateau_winsize: 2 plateau_winsize: 1 average_loss: 3',
    "display": "display: 3 average_loss: 3",
}


@pytest.mark.parametrize("rule", RULES)
def test_every_kind_of_rule_and_policy(folder: Path, rule: str) -> None:
    check_exact(NETS["list-chance"], RULES[rule])


def test_sparse_training(folder: Path) -> None:
    net = data(LMDB, extra=SCALE) + among(
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "last" convolution_param { num_output: 32 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }'
    )
    check_exact(
        net,
        "sparse_mode: SPARSE_UPDATE sparsity_target: 0.9 sparsity_start_iter: 2 sparsity_step_iter: 3 "
        "sparsity_start_factor: 0.2 sparsity_step_factor: 0.1 sparsity_threshold_maxratio: 0.9 "
        "sparsity_threshold_value_max: 0.9",
        at=(1, 4, 9),
    )


def interrupted(net: str, when: Callable[[Solver], None], then: Callable[[], None] = lambda: None) -> None:
    """A run whose snapshots `when` arranges for, ended by an error or not, and resumed from its newest one."""
    straight = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    straight.solver.train()
    straight.close()
    for path in Path().glob("s_iter*"):
        path.unlink()
    stopped = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    when(stopped.solver)
    try:
        stopped.solver.train()
    except Exception:
        then()
    stopped.close()
    state = min(Path().glob("s_iter_*.solverstate"), key=lambda path: read_solverstate(path).iter)
    iteration = read_solverstate(state).iter
    assert 0 < iteration < 12
    somewhere_else()
    resumed = Run(net, "random_seed: 3 average_loss: 4 snapshot: 0 ")
    resumed.solver.train(str(state))
    resumed.close()
    assert resumed.seen == {k: v for k, v in straight.seen.items() if k > iteration}
    assert resumed.scores == {k: v for k, v in straight.scores.items() if k >= iteration}


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_snapshot_in_the_middle_of_a_test(folder: Path, batch: int) -> None:
    """SIGHUP comes while the third test runs: the run that goes on does the whole test."""

    def when(solver: Solver) -> None:
        net, calls = solver.test_nets[0], []
        forward = net.next_batch

        def next_batch() -> Any:
            calls.append(1)
            if len(calls) == 7 + batch:
                solver.snapshot()
            return forward()

        net.next_batch = next_batch  # type: ignore[method-assign]

    interrupted(NETS["tests"], when)


@pytest.mark.parametrize("place", [0, 1])
def test_a_snapshot_in_the_middle_of_an_iteration(folder: Path, place: int) -> None:
    """Of a callback, before the forward pass or before the update."""

    def when(solver: Solver) -> None:
        def snapshot() -> None:
            if solver.iter == 6:
                solver.snapshot()

        callbacks = [lambda: None, lambda: None]
        callbacks[place] = snapshot
        solver.callbacks.append((callbacks[0], callbacks[1]))

    interrupted(NETS["two-sources"].replace("batch_size: 3", "batch_size: 2"), when)


def test_a_snapshot_before_an_error(folder: Path) -> None:
    """The second of two sources fails; the one before it has been read already, and dropout has drawn."""
    net = (
        NETS["dropout"]
        + data(LIST, "shuffle: true", CHANCE).replace('"data"', '"p"').replace('"label"', '"q"').replace('"d"', '"f"')
        + 'layer { name: "unused" type: "Silence" bottom: "p" bottom: "q" }'
    )
    source = Path("5.png").resolve()

    def when(solver: Solver) -> None:
        def damage() -> None:
            if solver.iter == 3:  # beyond what is read ahead, of a list that is read round and round
                Path("5.png").unlink()
                Path("5.png").write_bytes(b"damaged")

        solver.callbacks.append((damage, lambda: None))

    def then() -> None:
        Path("5.png").unlink()
        Path("5.png").symlink_to(source)

    interrupted(net, when, then)


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one(folder: Path) -> None:
    """Its last display and test come after its last snapshot."""
    net, solver = NETS["tests"], "random_seed: 3 average_loss: 4 display: 2 snapshot: 0 "
    straight = Run(net, solver)
    straight.solver.train()
    straight.close()
    short = Run(net, solver)
    short.solver.param.max_iter = 6
    short.solver.train()
    short.close()
    resumed = Run(net, solver)
    resumed.solver.train("s_iter_6.solverstate")
    resumed.close()
    assert resumed.seen == {k: v for k, v in straight.seen.items() if k > 6}


def test_steps_of_a_script(folder: Path) -> None:
    """Each step() averages losses of its own; a snapshot within one goes on with those, one between two does not."""
    net, solver = NETS["dropout"], "random_seed: 3 average_loss: 4 snapshot: 3 "
    straight = Run(net, solver)
    straight.solver.step(5)
    between = straight.solver.snapshot()
    straight.solver.step(4)
    straight.close()
    for state, first in (("s_iter_3.solverstate", 2), (between, 4)):
        somewhere_else()
        resumed = Run(net, solver)
        resumed.solver.restore(state)
        resumed.solver.step(first)
        if first == 2:
            resumed.solver.step(4)
        resumed.close()
        assert resumed.seen == {k: v for k, v in straight.seen.items() if k in resumed.seen}
        assert len(resumed.seen) == (6 if first == 2 else 4)
    back = Run(net, solver)  # and the same object goes back
    back.solver.step(9)
    back.solver.restore("s_iter_3.solverstate")
    back.solver.step(2)
    assert back.seen[5] == straight.seen[5]
    back.close()


@pytest.mark.parametrize("first", ["arrays", "restore"])
def test_pycaffe_and_its_arrays(folder: Path, first: str) -> None:
    """A script gives MemoryData its arrays before or after it restores a state."""
    Path("net.prototxt").write_text(
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 2 channels: 1 '
        "height: 1 width: 5 } }" + HEAD
    )
    Path("solver.prototxt").write_text(SOLVER + 'lr_policy: "fixed" random_seed: 3')
    numbers = np.random.default_rng(2)
    arrays = numbers.standard_normal((6, 1, 1, 5)).astype("f4"), np.arange(6, dtype="f4")

    def solver() -> caffe.SGDSolver:
        return caffe.SGDSolver("solver.prototxt")

    straight = solver()
    straight.net.set_input_arrays(*arrays)
    straight.step(4)
    straight.snapshot()
    straight.step(4)
    resumed, like_caffe = solver(), solver()
    for each, way in ((resumed, {}), (like_caffe, {"like_caffe": True})):
        if first == "arrays":
            each.net.set_input_arrays(*arrays)
        each.restore("s_iter_4.solverstate", **way)
        if first == "restore":
            each.net.set_input_arrays(*arrays)
        each.step(4)
    expected = straight.net.params["ip"][0].data
    np.testing.assert_array_equal(resumed.net.params["ip"][0].data, expected)
    assert not np.array_equal(like_caffe.net.params["ip"][0].data, expected)


def test_in_another_process(folder: Path) -> None:
    """By the command: a run, killed, goes on by --resume auto."""
    Run(NETS["list-chance"], "random_seed: 3 display: 1 average_loss: 3 ").close()
    command = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def losses(*flags: str) -> list[str]:
        done = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True, check=True)
        lines = [line.split("] ")[1] for line in done.stderr.splitlines() if "loss = " in line]
        return [line.split(" (")[0] + line.split(",")[-1] for line in lines if line.startswith("Iteration")]

    whole = losses()
    for path in Path().glob("s_iter_*"):
        if int(path.name.split("_")[2].split(".")[0]) > 7:
            path.unlink()
    assert losses("--resume", "auto") == whole[7:]


def warnings(log: list[str]) -> list[str]:
    return [line for line in log if ".resume" in line and "go on where they were" not in line]


@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "flipped", "foreign", "later", "of another run", "senseless"]
)
def test_a_file_that_cannot_be_used_is_reported_and_all_is_as_in_caffe(
    folder: Path, log: list[str], damage: str
) -> None:
    net = NETS["list-chance"]
    Run(net, "random_seed: 3 ").solver.train()
    like_caffe = Run(net, "random_seed: 3 ")
    like_caffe.solver.restore("s_iter_5.solverstate", like_caffe=True)
    like_caffe.solver.step(3)
    path = Path("s_iter_5.resume")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[: len(content) // 2],
                "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
                "foreign": b"\x89PNG" + content,
                "later": content.replace(b"resume 1", b"resume 2", 1),
                "of another run": Path("s_iter_6.resume").read_bytes(),
                "senseless": encode_resume({"parts": 3})[0],
            }[damage]
        )
    if damage == "senseless":  # as no version writes it
        state = read_solverstate("s_iter_5.solverstate")
        state.resume = read_resume(path).digest
        write_solverstate("other.solverstate", state)
        os.replace("other.solverstate", "s_iter_5.solverstate")
    del log[:]
    resumed = Run(net, "random_seed: 3 ")
    resumed.solver.restore("s_iter_5.solverstate")
    (said, *others) = warnings(log)
    expected = {
        "gone": "cannot be read: No such file",
        "empty": "is empty",
        "cut": "cut short or damaged",
        "flipped": "cut short or damaged",
        "foreign": "is no .resume file",
        "later": "has version 2; this caffecompat reads version 1",
        "of another run": "belongs to another snapshot",
        "senseless": "the run had None processes",
    }[damage]
    assert said.startswith(f"s_iter_5.resume: {expected}") and len(others) == (damage == "senseless")
    assert damage == "senseless" or "stay as they are (in a new process: from the beginning), as in Caffe" in said
    resumed.solver.step(3)
    assert resumed.seen == like_caffe.seen
    resumed.close()
    like_caffe.close()


def test_a_state_of_original_caffe(folder: Path, log: list[str]) -> None:
    """Without the file that is no cause for a warning; one that a run of ours left there is not its own."""
    Run(NETS["lmdb"]).solver.train()
    state = read_solverstate("s_iter_5.solverstate")
    state.resume = ""
    write_solverstate("theirs_iter_5.solverstate", state)
    resumed = Run(NETS["lmdb"])
    resumed.solver.restore("theirs_iter_5.solverstate")
    assert "There is no theirs_iter_5.resume, as original Caffe writes none" in warnings(log)[0]
    shutil.copy("s_iter_5.resume", "theirs_iter_5.resume")
    del log[:]
    resumed.solver.restore("theirs_iter_5.solverstate")
    assert "belongs to another snapshot" in warnings(log)[0]
    resumed.close()


def test_the_state_finds_its_file_where_both_were_moved(folder: Path, log: list[str]) -> None:
    Run(NETS["lmdb"]).solver.train()
    Path("kept").mkdir()
    for ending in ("caffemodel", "solverstate", "resume"):
        os.replace(f"s_iter_5.{ending}", f"kept/other.{ending}")
    os.replace("kept/other.caffemodel", "kept/s_iter_5.caffemodel")
    resumed = Run(NETS["lmdb"])
    resumed.solver.restore("kept/other.solverstate")
    assert any("kept/other.resume: data and random numbers go on" in line for line in log)
    resumed.close()


def test_another_net_is_reported_part_by_part(folder: Path, log: list[str]) -> None:
    Run(NETS["two-sources"]).solver.train()
    other = NETS["two-sources"].replace('name: "e" type: "HDF5Data"', 'name: "new" type: "HDF5Data"')
    resumed = Run(other.replace("batch_size: 3", "batch_size: 2"), "iter_size: 2 ")
    resumed.solver.restore("s_iter_5.solverstate")
    resumed.close()
    assert [line.removeprefix("s_iter_5.resume: ") for line in warnings(log)] == [
        "train net, layer 'd' (HDF5Data): batch_size was 3, it is 2; no record is left out",
        "train net, layer 'new' (HDF5Data): is not in it, and starts from the beginning",
        "settings of the solver: iter_size was 1, it is 2; no record is left out",
        "train net, layer 'e' (HDF5Data): is in it, and not in this run",
    ]


def test_another_number_of_processes_and_parts_that_make_no_sense(folder: Path, log: list[str]) -> None:
    Run(NETS["dropout"]).solver.train()
    content, _ = read_resume("s_iter_5.resume")
    content["processes"] = 4
    content["parts"]["generators of torch"]["cpu"] = np.zeros(3, np.uint8)
    del content["parts"]["train net, layer 'd' (HDF5Data)"]["walk"]
    body, digest = encode_resume(content)
    with atomic_write("s_iter_5.resume") as file:
        file.write(body)
    state = read_solverstate("s_iter_5.solverstate")
    state.resume, state.history = digest, [array.copy() for array in state.history]
    write_solverstate("s_iter_5.solverstate", state)
    resumed = Run(NETS["dropout"])
    resumed.solver.restore("s_iter_5.solverstate")
    resumed.close()
    said = warnings(log)
    assert len(said) == 3
    assert "the run had 4 processes, it has 1" in said[0]
    assert "layer 'd' (HDF5Data): cannot take over what is in it (KeyError: 'walk')" in said[1]
    assert "generators of torch: cannot take over what is in it (" in said[2]


def test_a_python_layer_whose_state_fails_costs_no_snapshot(folder: Path, log: list[str]) -> None:
    Path("failing_data.py").write_text(PLACED.replace('return {"at": self.at}', "return self.nowhere"))
    sys.path.insert(0, os.getcwd())
    try:
        Run(NETS["python"].replace("placed_data", "failing_data")).solver.train()
    finally:
        sys.path.remove(os.getcwd())
    assert Path("s_iter_12.solverstate").exists() and Path("s_iter_12.resume").exists()
    assert sum("its state cannot be saved" in line for line in log) == 1


def test_like_caffe_on_the_command_line(folder: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Run(NETS["list-chance"], "random_seed: 3 ").solver.train()
    flags = ["train", "--solver", "solver.prototxt", "--set", "max_iter=14"]
    assert main([*flags, "--resume", "auto", "--resume-like-caffe"]) == 0
    assert main([*flags, "--resume-like-caffe"]) == 2
    assert "--snapshot FILE or --resume auto" in capsys.readouterr().err
    assert main([*flags, "--snapshot", "s_iter_12.resume"]) == 2
    assert "this is the .resume file of a solver state" in capsys.readouterr().err
