"""What BVLC's public notebooks do with pycaffe, done with small nets: classify, edit weights, train step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.formats.database import open_database
from caffecompat.pycaffe import layers as L
from caffecompat.pycaffe import params as P
from caffecompat.pycaffe.proto import caffe_pb2


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    caffe.set_mode_cpu()
    caffe.set_random_seed(1)
    return tmp_path


class TestClassification:
    def test_a_picture_through_the_transformer(self, shared: Path) -> None:
        bvlc, weights = shared / "real/bvlc/examples", shared / "real/everpeace-v1/cifar10"
        net = caffe.Net(
            str(bvlc / "cifar10/cifar10_quick.prototxt"),
            str(weights / "cifar10_quick_iter_5000.caffemodel"),
            caffe.TEST,
        )
        mean = np.load(bvlc.parent / "python/caffe/imagenet/ilsvrc_2012_mean.npy").mean(1).mean(1)
        transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
        transformer.set_transpose("data", (2, 0, 1))
        transformer.set_mean("data", mean)
        transformer.set_raw_scale("data", 255)
        transformer.set_channel_swap("data", (2, 1, 0))

        net.blobs["data"].reshape(5, 3, 32, 32)
        image = caffe.io.load_image(str(bvlc / "images/cat.jpg"))
        net.blobs["data"].data[...] = transformer.preprocess("data", image)
        output = net.forward()
        prob = output["prob"][0]
        assert output["prob"].shape == (5, 10) and prob.sum() == pytest.approx(1, abs=1e-5)
        assert prob.argmax() == 4  # a deer, as these weights also say of OpenCV's version of the picture
        assert np.ptp(output["prob"], axis=0).max() < 1e-5

        shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
        assert (shapes["conv1"], shapes["pool3"]) == ((5, 32, 32, 32), (5, 64, 4, 4))
        filters = net.params["conv1"][0].data
        assert filters.transpose(0, 2, 3, 1).shape == (32, 5, 5, 3) and net.params["conv1"][1].data.shape == (32,)
        again = transformer.deprocess("data", net.blobs["data"].data[0])
        np.testing.assert_allclose(again, caffe.io.resize_image(image, (32, 32)), atol=1e-5)

    def test_digits_from_a_database(self, shared: Path) -> None:
        pytest.importorskip("plyvel")
        real = shared / "real"
        net = caffe.Net(
            str(real / "bvlc/examples/mnist/lenet.prototxt"),
            caffe.TEST,
            weights=str(real / "everpeace-v1/mnist/lenet_iter_10000.caffemodel"),
        )
        right = 0
        with open_database(str(real / "mnist-leveldb-test"), "LEVELDB") as database:
            for _, (_, record) in zip(range(50), database, strict=False):
                datum = caffe_pb2.Datum.FromString(bytes(record))
                digit = caffe.io.datum_to_array(datum) / 256.0
                net.blobs["data"].reshape(1, *digit.shape)
                right += net.forward_all(data=digit[np.newaxis])["prob"].argmax() == datum.label
        assert right >= 48


class TestNetSurgery:
    CONV = """name: "convolution"
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 40 dim: 40 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 5
      weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0 } } }"""
    HEAD = """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
      convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
    layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }"""
    INPUT = 'input: "data" input_shape {{ dim: 1 dim: 2 dim: {0} dim: {0} }}\n'

    def test_writing_filters(self, folder: Path) -> None:
        (folder / "conv.prototxt").write_text(self.CONV)
        net = caffe.Net("conv.prototxt", caffe.TEST)
        image = np.random.rand(40, 40)
        net.blobs["data"].data[...] = image[np.newaxis, np.newaxis]
        net.forward()
        before = net.blobs["conv"].data[0, 0].copy()
        net.params["conv"][1].data[0] = 1.0
        net.forward()
        np.testing.assert_allclose(net.blobs["conv"].data[0, 0], before + 1, atol=1e-5)
        net.params["conv"][1].data[0] = 0
        sobel = np.array((-1, -2, 0, 2, 1))
        weights = net.params["conv"][0].data
        weights[1, 0, :, :] = 0
        weights[1, 0, 1:-1, :] = sobel
        net.params["conv"][0].data[2].flat = 1 / 25
        net.forward()
        made = net.blobs["conv"].data[0]
        patch = image[10:15, 20:25]
        assert made[1, 10, 20] == pytest.approx((patch[1:-1] * sobel).sum(), rel=1e-3, abs=1e-4)
        assert made[2, 10, 20] == pytest.approx(patch.mean(), rel=1e-3)

    def test_inner_products_become_convolutions(self, folder: Path) -> None:
        """The weights of an inner product are those of a convolution as large as its bottom."""
        (folder / "ip.prototxt").write_text(
            self.INPUT.format(14) + self.HEAD + 'layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" '
            'inner_product_param { num_output: 5 weight_filler { type: "xavier" } bias_filler { value: 0.3 } } }'
        )
        (folder / "full_conv.prototxt").write_text(
            self.INPUT.format(26) + self.HEAD + 'layer { name: "fc-conv" type: "Convolution" bottom: "pool1" '
            'top: "fc-conv" convolution_param { num_output: 5 kernel_size: 6 } }'
        )
        net = caffe.Net("ip.prototxt", caffe.TEST)
        net.save("ip.caffemodel")
        full = caffe.Net("full_conv.prototxt", "ip.caffemodel", caffe.TEST)
        assert net.params["fc"][0].data.shape == (5, 144) and full.params["fc-conv"][0].data.shape == (5, 4, 6, 6)
        full.params["fc-conv"][0].data.flat = net.params["fc"][0].data.flat
        full.params["fc-conv"][1].data[...] = net.params["fc"][1].data
        full.save("full_conv.caffemodel")

        image = np.random.rand(1, 2, 26, 26).astype(np.float32)
        scores = full.forward_all(data=image)["fc-conv"]
        assert scores.shape == (1, 5, 7, 7)
        for y, x in ((0, 0), (3, 5), (6, 6)):
            window = image[:, :, 2 * y : 2 * y + 14, 2 * x : 2 * x + 14]
            np.testing.assert_allclose(net.forward(data=window)["fc"][0], scores[0, :, y, x], atol=1e-5)
        full.blobs["data"].reshape(1, 2, 30, 26)
        full.reshape()
        assert full.blobs["fc-conv"].data.shape == (1, 5, 9, 7)


def write_stripes(path: Path, count: int) -> None:
    """An LMDB of pictures with bright bars; the label says which way they run."""
    rng = np.random.RandomState(count)
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as txn:
        for index in range(count):
            label = index % 2
            picture = rng.randint(0, 80, (1, 12, 12), dtype=np.uint8)
            place = rng.randint(2, 10)
            picture[0, :, place : place + 2] += 150
            picture = picture.transpose(0, 2, 1).copy() if label else picture
            txn.put(f"{index:08}".encode(), caffe.io.array_to_datum(picture, label).SerializeToString())


def small_lenet(source: str, batch_size: int) -> Any:
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch_size, backend=P.Data.LMDB, source=source, transform_param=dict(scale=1.0 / 255), ntop=2
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=8, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool1, num_output=16, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=2, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


def write_solver(**settings: Any) -> str:
    solver = caffe_pb2.SolverParameter(
        train_net="train.prototxt", max_iter=100, base_lr=0.05, momentum=0.9, weight_decay=5e-4,
        lr_policy="inv", gamma=1e-4, power=0.75, display=50, snapshot_prefix="lenet", random_seed=7,
    )  # fmt: skip
    solver.test_net.append("test.prototxt")
    solver.test_iter.append(5)
    solver.test_interval = 1000
    solver.solver_mode = caffe_pb2.SolverParameter.CPU
    for name, value in settings.items():
        setattr(solver, name, value)
    Path("solver.prototxt").write_text(str(solver))
    return "solver.prototxt"


class TestLearningLenet:
    @pytest.fixture
    def solver(self, folder: Path) -> Any:
        for name, count, batch in (("train", 64, 16), ("test", 40, 8)):
            write_stripes(folder / f"{name}_lmdb", count)
            (folder / f"{name}.prototxt").write_text(str(small_lenet(f"{name}_lmdb", batch)))
        return caffe.get_solver(write_solver())

    def test_looking_before_training(self, solver: Any) -> None:
        shapes = [(name, blob.data.shape) for name, blob in solver.net.blobs.items()]
        assert shapes[:3] == [("data", (16, 1, 12, 12)), ("label", (16,)), ("conv1", (16, 8, 8, 8))]
        assert next((k, v[0].data.shape) for k, v in solver.net.params.items()) == ("conv1", (8, 1, 5, 5))
        loss = solver.net.forward()
        assert set(loss) == {"loss"} and 0.3 < loss["loss"] < 2
        tests = solver.test_nets[0].forward()
        assert set(tests) == {"loss"}
        sheet = solver.net.blobs["data"].data[:8, 0].transpose(1, 0, 2).reshape(12, 8 * 12)
        assert 0.8 < sheet.max() <= 1
        assert solver.net.blobs["label"].data[:8].tolist() == [0, 1] * 4

    def test_one_step_moves_the_first_layer(self, solver: Any) -> None:
        before = solver.net.params["conv1"][0].data.copy()
        solver.step(1)
        tiles = solver.net.params["conv1"][0].diff[:, 0].reshape(2, 4, 5, 5).transpose(0, 2, 1, 3).reshape(10, 20)
        assert np.abs(tiles).max() > 0
        np.testing.assert_allclose(
            before - solver.net.params["conv1"][0].data, solver.net.params["conv1"][0].diff, atol=1e-6
        )

    def test_the_loop_of_the_notebook(self, solver: Any) -> None:
        steps = 40
        train_loss, test_acc, output = np.zeros(steps), [], np.zeros((steps, 8, 2))
        for it in range(steps):
            solver.step(1)
            train_loss[it] = solver.net.blobs["loss"].data
            solver.test_nets[0].forward(start="conv1")
            output[it] = solver.test_nets[0].blobs["score"].data[:8]
            if it % 13 == 0:
                correct = 0
                for _ in range(5):
                    solver.test_nets[0].forward()
                    guessed = solver.test_nets[0].blobs["score"].data.argmax(1)
                    correct += (guessed == solver.test_nets[0].blobs["label"].data).sum()
                test_acc.append(correct / 40)
        assert solver.iter == steps
        assert train_loss[-5:].mean() < 0.3 * train_loss[:5].mean()
        assert test_acc[-1] >= 0.9
        assert np.ptp(output, axis=0).max() > 0.5

    def test_by_hand_and_by_the_solver(self, solver: Any) -> None:
        """forward, backward and apply_update are what step does."""
        other = caffe.get_solver("solver.prototxt")
        for mine, theirs in zip(solver.net.params.values(), other.net.params.values(), strict=True):
            for a, b in zip(mine, theirs, strict=True):
                b.data[...] = a.data
        solver.step(1)
        other.net.clear_param_diffs()
        other.net.forward()
        other.net.backward()
        other.apply_update()
        for name, blobs in solver.net.params.items():
            for a, b in zip(blobs, other.net.params[name], strict=True):
                np.testing.assert_allclose(a.data, b.data, atol=1e-6)

    def test_snapshots_resume(self, solver: Any) -> None:
        solver.step(3)
        solver.snapshot()
        again = caffe.SGDSolver("solver.prototxt")
        again.restore("lenet_iter_3.solverstate")
        assert again.iter == 3
        fresh = caffe.Net("test.prototxt", "lenet_iter_3.caffemodel", caffe.TEST)
        for name in fresh.params:
            np.testing.assert_array_equal(fresh.params[name][0].data, solver.net.params[name][0].data)


class TestFineTuning:
    """A net of parameters that only partly learn, started from weights of another net."""

    def net(self, train: bool = True, classes: int = 3, learn_all: bool = False, name: str = "fc8_new") -> str:
        learned = [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]
        n = caffe.NetSpec()
        n.data, n.label = L.DummyData(
            shape=[dict(dim=[4, 6]), dict(dim=[4])], data_filler=[dict(type="gaussian"), dict(value=1)], ntop=2
        )
        n.fc7 = L.InnerProduct(
            n.data, num_output=5, weight_filler=dict(type="gaussian", std=0.3),
            param=learned if learn_all else [dict(lr_mult=0)] * 2,
        )  # fmt: skip
        n.relu7 = L.ReLU(n.fc7, in_place=True)
        top = L.Dropout(n.relu7, in_place=True) if train else n.relu7
        fc8 = L.InnerProduct(top, num_output=classes, weight_filler=dict(type="xavier"), param=learned)
        setattr(n, name, fc8)
        if not train:
            n.probs = L.Softmax(fc8)
        n.loss = L.SoftmaxWithLoss(fc8, n.label)
        n.acc = L.Accuracy(fc8, n.label)
        path = Path(f"{name}_{train}_{learn_all}.prototxt")
        path.write_text(str(n.to_proto()))
        return str(path)

    def test_pretrained_layers_stay_and_the_new_one_learns(self) -> None:
        caffe.Net(self.net(name="fc8", classes=7), caffe.TRAIN).save("pretrained.caffemodel")
        pretrained = caffe.Net(self.net(name="fc8", classes=7), "pretrained.caffemodel", caffe.TEST)
        Path("solver.prototxt").write_text(
            f"train_net: '{self.net()}' base_lr: 0.5 lr_policy: 'fixed' momentum: 0.9 max_iter: 50 display: 0\n"
            "snapshot_prefix: 'x' snapshot_after_train: false"
        )
        solver = caffe.get_solver("solver.prototxt")
        solver.net.copy_from("pretrained.caffemodel")
        np.testing.assert_array_equal(solver.net.params["fc7"][0].data, pretrained.params["fc7"][0].data)
        loss = np.zeros(30)
        for it in range(30):
            solver.step(1)
            loss[it] = solver.net.blobs["loss"].data.copy()
        np.testing.assert_array_equal(solver.net.params["fc7"][0].data, pretrained.params["fc7"][0].data)
        assert loss[-1] < 0.2 * loss[0]
        solver.net.save("tuned.caffemodel")
        test_net = caffe.Net(self.net(train=False), "tuned.caffemodel", caffe.TEST)
        assert set(test_net.forward()) == {"probs", "loss", "acc"}
        assert test_net.forward()["acc"] == 1
