"""The nets and solvers of BVLC's examples train as they are: from the folder that has `examples/`, data where they say.

The prototxts are the published ones; only the numbers of iterations and the sizes of batches are made small. MNIST is
real, what stands for CIFAR-10 and for the pairs and vectors of other examples is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import Datum, decode_datum, encode_datum
from caffecompat.formats.mean import write_mean
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe import params as P
from caffecompat.solver import Solver
from tests.layers.python_loss import EUCLIDEAN, IMPORTS

Records = Sequence[tuple[np.ndarray, int]]


@pytest.fixture(scope="module")
def digits(shared: Path) -> Records:
    """The first 240 digits of MNIST: (1, 28, 28) and label."""
    pytest.importorskip("plyvel")
    with open_database(shared / "real/mnist-leveldb-train", "LEVELDB") as database:
        data = [decode_datum(value) for _, (_, value) in zip(range(240), database, strict=False)]
    return [(datum.array(), int(datum.label or 0)) for datum in data]


@pytest.fixture
def root(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like Caffe's own, with the published prototxts below `examples`; it is the current directory."""
    published = shared / "real/bvlc"
    for path in published.glob("examples/**/*.prototxt"):
        place = tmp_path / path.relative_to(published)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_database(path: str, records: Records, backend: str = "lmdb") -> None:
    with open_database(path, backend, "w") as database:
        database.put(
            [
                (f"{index:08d}".encode(), encode_datum(Datum.from_array(array, label)))
                for index, (array, label) in enumerate(records)
            ]
        )


def pictures(count: int) -> Records:
    """Noisy pictures (3, 32, 32), each with a bright patch whose place tells the class."""
    generator = np.random.default_rng(count)
    made = []
    for index in range(count):
        label = index % 10
        picture = generator.integers(0, 160, (3, 32, 32), dtype=np.uint8)
        y, x = divmod(label, 4)
        picture[label % 3, 10 * y : 10 * y + 12, 8 * x : 8 * x + 8] += 90
        made.append((picture, label))
    return made


def write_cifar(count: int = 80) -> None:
    records = pictures(count)
    write_database("examples/cifar10/cifar10_train_lmdb", records)
    write_database("examples/cifar10/cifar10_test_lmdb", records[:40])
    write_mean("examples/cifar10/mean.binaryproto", np.stack([array for array, _ in records]).mean(0, dtype=np.float32))


def write_mnist(digits: Records, folder: str = "examples/mnist") -> None:
    write_database(f"{folder}/mnist_train_lmdb", digits)
    write_database(f"{folder}/mnist_test_lmdb", digits[:40])


def learns_and_resumes(
    make: Callable[[], Solver], half: int, factor: float, outputs: Sequence[str]
) -> tuple[Solver, Solver]:
    """Train twice `half` iterations with a snapshot between them; the loss must fall to `factor` of the first ones'.

    `half` batches are the data set some times over, so that a run resumed from the snapshot sees what the first one
    saw: both must end with the same numbers.
    """
    whole = make()
    losses: list[float] = []
    whole.observers.append(lambda solver: losses.append(solver.smoothed_loss))
    whole.step(half)
    state = whole.snapshot()
    middle = {name: [blob.copy() for blob in blobs] for name, blobs in whole.net.blobs_by_layer().items()}
    whole.step(half)
    assert np.isfinite(losses).all()
    few = max(2, half // 8)
    assert np.mean(losses[-few:]) < factor * np.mean(losses[:few]), losses

    resumed = make()
    resumed.restore(state)
    assert resumed.iter == half
    for name, blobs in resumed.net.blobs_by_layer().items():
        for mine, theirs in zip(blobs, middle[name], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    resumed.step(half)
    for name, blobs in resumed.net.blobs_by_layer().items():
        for mine, theirs in zip(blobs, whole.net.blobs_by_layer()[name], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6, err_msg=name)
    for index in range(len(whole.test_nets)):
        scores = whole.test(index)
        assert scores is not None and list(scores) == list(outputs)
        assert all(np.isfinite(values).all() for values in scores.values())
    return whole, resumed


def test_cifar10_quick_with_its_second_solver(root: Path) -> None:
    """What train_quick.sh does: a second solver goes on from the first one's snapshot, and writes HDF5."""
    write_cifar()
    small = ["cifar.data_param.batch_size=20", "solver_mode=CPU", "test_iter=2", "random_seed=2"]
    # From filters of 0.0001 the published rate needs hundreds of iterations to leave the start.
    small += ["conv1.convolution_param.weight_filler.std=0.01", "test_initialization=false"]
    run, _ = learns_and_resumes(
        lambda: Solver("examples/cifar10/cifar10_quick_solver.prototxt", overrides=small),
        40,
        0.85,
        ["accuracy", "loss"],
    )
    state = run.snapshot()
    assert state == "examples/cifar10/cifar10_quick_iter_80.solverstate"
    options = [word for setting in [*small, "max_iter=84"] for word in ("--set", setting)]
    second = "examples/cifar10/cifar10_quick_solver_lr1.prototxt"
    assert main(["train", f"--solver={second}", f"--snapshot={state}", *options]) == 0
    weights = root / "examples/cifar10/cifar10_quick_iter_84.caffemodel.h5"
    assert h5py.is_hdf5(weights) and h5py.is_hdf5(str(weights).replace("caffemodel", "solverstate"))
    resumed = Solver(second, overrides=small)
    resumed.restore(str(weights).replace("caffemodel", "solverstate"))
    assert resumed.iter == 84


def test_cifar10_full_sigmoid_bn(root: Path) -> None:
    """Statistics gathered in training serve the test net; they are in the snapshots."""
    write_cifar()
    small = ["cifar.data_param.batch_size=20", "solver_mode=CPU", "test_iter=2", "random_seed=2", "display=0"]
    run, _ = learns_and_resumes(
        lambda: Solver("examples/cifar10/cifar10_full_sigmoid_solver_bn.prototxt", overrides=small),
        16, 0.9, ["accuracy", "loss"],
    )  # fmt: skip
    mean, variance, factor = run.net.blobs_by_layer()["bn1"]
    assert factor[0] > 1 and np.abs(mean).max() > 0 and variance.min() > 0


@pytest.mark.parametrize("name", ["", "_adagrad", "_adadelta", "_nesterov"])
def test_mnist_autoencoder(name: str, root: Path, digits: Records) -> None:
    """Two test nets by stages, over the training set and the test set."""
    write_mnist(digits)
    small = ["data.data_param.batch_size=40", "solver_mode=CPU", "test_iter=2,1", "random_seed=1", "display=0"]
    run, _ = learns_and_resumes(
        lambda: Solver(f"examples/mnist/mnist_autoencoder_solver{name}.prototxt", overrides=small),
        12, 0.9, ["cross_entropy_loss", "l2_error"],
    )  # fmt: skip
    assert len(run.test_nets) == 2


@pytest.mark.parametrize(
    "name",
    ["lenet_solver", "lenet_solver_adam", "lenet_solver_rmsprop", "lenet_adadelta_solver", "lenet_multistep_solver"],
)
def test_lenet(name: str, root: Path, digits: Records) -> None:
    write_mnist(digits)
    small = ["mnist.data_param.batch_size=24", "solver_mode=CPU", "test_iter=1", "random_seed=1", "display=0"]
    learns_and_resumes(
        lambda: Solver(f"examples/mnist/{name}.prototxt", overrides=small), 20, 0.85, ["accuracy", "loss"]
    )


def test_lenet_consolidated(root: Path, digits: Records) -> None:
    """Train and test nets written inside the solver."""
    write_mnist(digits)
    small = ["mnist.data_param.batch_size=24", "solver_mode=CPU", "test_iter=1,1", "random_seed=1", "display=0"]
    run = Solver("examples/mnist/lenet_consolidated_solver.prototxt", overrides=small)
    losses: list[float] = []
    run.observers.append(lambda solver: losses.append(solver.smoothed_loss))
    run.step(30)
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


def test_mnist_siamese(root: Path, digits: Records) -> None:
    """Both branches share their weights by name; pairs are two channels of a picture."""
    generator = np.random.default_rng(3)
    pairs = []
    for (left, label), other in zip(digits, generator.permutation(len(digits)), strict=True):
        if generator.random() < 0.4:  # chance alone makes a tenth of the pairs alike
            other = generator.choice([i for i, (_, digit) in enumerate(digits) if digit == label])
        pairs.append((np.concatenate([left, digits[other][0]]), int(digits[other][1] == label)))
    write_database("examples/siamese/mnist_siamese_train_leveldb", pairs, "leveldb")
    write_database("examples/siamese/mnist_siamese_test_leveldb", pairs[:48], "leveldb")
    small = ["pair_data.data_param.batch_size=24", "solver_mode=CPU", "test_iter=2", "random_seed=1", "display=0"]
    run, _ = learns_and_resumes(
        lambda: Solver("examples/siamese/mnist_siamese_solver.prototxt", overrides=small), 20, 0.8, ["loss"]
    )
    blobs = run.net.blobs_by_layer()
    for name in ("conv1", "conv2", "ip1", "ip2", "feat"):
        for mine, theirs in zip(blobs[name], blobs[name + "_p"], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def write_vectors() -> None:
    """What the notebook of hdf5_classification makes: two files listed for training, one (compressed) for testing."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 160)
    vectors = generator.standard_normal((160, 4)) + 1.5 * (2 * labels[:, None] - 1) * np.array([1, -1, 0, 0.3])
    folder = Path("examples/hdf5_classification/data")
    folder.mkdir()
    for name, rows in (("train", slice(0, 120)), ("test", slice(120, 160))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for key, values in (("data", vectors), ("label", labels)):
                file.create_dataset(key, data=values[rows].astype("f4"), compression="gzip" if name == "test" else None)
    (folder / "train.txt").write_text(f"{folder}/train.h5\n" * 2)
    (folder / "test.txt").write_text(f"{folder}/test.h5\n")


LOGISTIC_REGRESSION = """
net: "examples/hdf5_classification/{}" test_iter: 4 test_interval: 1000 base_lr: 0.01 lr_policy: "step" gamma: 0.1
stepsize: 5000 momentum: 0.9 weight_decay: 0.0005 max_iter: 10000 random_seed: 1
snapshot_prefix: "examples/hdf5_classification/data/train"
"""


@pytest.mark.parametrize("net", ["train_val.prototxt", "nonlinear_train_val.prototxt"])
def test_hdf5_classification(net: str, root: Path) -> None:
    write_vectors()
    Path("solver.prototxt").write_text(LOGISTIC_REGRESSION.format(net))
    run, _ = learns_and_resumes(lambda: Solver("solver.prototxt"), 48, 0.7, ["accuracy", "loss"])
    scores = run.test(0)
    assert scores is not None and scores["accuracy"][0] > 0.9


def test_hdf5_classification_as_its_net_spec_writes_it(root: Path) -> None:
    """The nonlinear_auto nets are stored as NetSpec printed them: a data layer each, no phases."""
    write_vectors()
    Path("solver.prototxt").write_text(
        LOGISTIC_REGRESSION.format("").replace("net:", "#").replace("test_iter", "\ntest_iter", 1)
        + "".join(f'{n}_net: "examples/hdf5_classification/nonlinear_auto_{n}.prototxt"\n' for n in ("train", "test"))
    )
    run, _ = learns_and_resumes(lambda: Solver("solver.prototxt"), 48, 0.7, ["accuracy", "loss"])
    assert run.test_nets[0].message.layer[0].hdf5_data_param.source.endswith("test.txt")


def lenet(source: str, batch_size: int) -> str:
    """The net of BVLC's lenet notebook."""
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch_size, backend=P.Data.LMDB, source=source, transform_param={"scale": 1.0 / 255}, ntop=2
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler={"type": "xavier"})
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=5, num_output=50, weight_filler={"type": "xavier"})
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool2, num_output=500, weight_filler={"type": "xavier"})
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=10, weight_filler={"type": "xavier"})
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return str(n.to_proto())


def test_lenet_auto(root: Path, digits: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook writes the nets that the published solver names, trained with the command or step by step."""
    monkeypatch.chdir("examples")
    write_mnist(digits, "mnist")
    for phase, count in (("train", 24), ("test", 40)):
        Path(f"mnist/lenet_auto_{phase}.prototxt").write_text(lenet(f"mnist/mnist_{phase}_lmdb", count))
    small = ["test_iter=1", "random_seed=1", "display=0", "solver_mode=CPU"]
    solver = "mnist/lenet_auto_solver.prototxt"
    learns_and_resumes(lambda: Solver(solver, overrides=small), 20, 0.6, ["loss"])

    options = [word for setting in [*small, "max_iter=3"] for word in ("--set", setting)]
    assert main(["train", "-solver", solver, *options]) == 0
    stepped = caffe.SGDSolver(solver)
    stepped.restore("mnist/lenet_iter_3.solverstate")
    losses = []
    for _ in range(10):
        stepped.step(1)
        losses.append(float(stepped.net.blobs["loss"].data))
    assert stepped.iter == 13 and losses[-1] < losses[0]


def test_linear_regression_with_a_python_loss(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/pycaffe/linreg.prototxt: the loss is the user's own layer, both inputs are noise."""
    (root / "pyloss.py").write_text(PYLOSS)
    monkeypatch.syspath_prepend(root)
    Path("solver.prototxt").write_text(
        'net: "examples/pycaffe/linreg.prototxt" base_lr: 0.05 lr_policy: "fixed" random_seed: 1 '
        'snapshot_prefix: "linreg"'
    )
    run = Solver("solver.prototxt")
    losses: list[float] = []
    run.observers.append(lambda solver: losses.append(solver.smoothed_loss))
    run.step(60)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    state = run.snapshot()
    resumed = Solver("solver.prototxt")
    resumed.restore(state)
    assert resumed.iter == 60


PYLOSS = IMPORTS + EUCLIDEAN.replace("class Euclidean(", "class EuclideanLossLayer(")
