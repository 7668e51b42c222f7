"""Layer by layer with every blob kept, under the rules of Caffe's blobs."""

import numpy as np
import pytest
import torch

from caffecompat.net.interpreter import Interpreter
from caffecompat.schema import pb
from tests.net.nets import INPUT, LABEL, conv, layer, make_net

DATA = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
NET = (
    "force_backward: true\n"
    + INPUT
    + conv("c", "data")
    + layer("ReLU", "c", "c", name="r")
    + layer("TanH", "c", "t")
    + layer("Sigmoid", "c", "s")
    + 'layer { name: "sum" type: "Eltwise" bottom: "t" bottom: "s" top: "sum" }'
)


def interpreter(text: str = NET, phase: int = pb.TRAIN) -> Interpreter:
    run = Interpreter(make_net(text, phase))
    run.blobs["data"].data[...] = DATA
    return run


def test_agrees_with_the_module() -> None:
    run = interpreter()
    run.forward()
    run.blobs["sum"].diff[...] = 1
    run.backward()
    data = torch.from_numpy(DATA).requires_grad_()
    kept = [blob.diff.copy() for blob in run.params["c"]]
    for p in run.net.params:
        p.blob.grad = None
    top = run.net.graph_module(data)["sum"]
    top.sum().backward()
    np.testing.assert_allclose(run.blobs["sum"].data, top.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.blobs["data"].diff, data.grad.numpy(), rtol=1e-5, atol=1e-5)
    for mine, p in zip(kept, run.net.params, strict=True):
        np.testing.assert_allclose(mine, p.blob.grad.numpy(), rtol=1e-5, atol=1e-4)


def test_arrays_seen_once_stay_live() -> None:
    run = interpreter()
    seen, split = run.blobs["sum"].data, run.blobs["c_r_0_split_0"].data
    assert not seen.any()
    run.forward()
    assert seen.any()
    np.testing.assert_array_equal(split, run.blobs["c"].data)
    before = seen.copy()
    run.blobs["data"].data[...] = -DATA
    run.forward()
    assert not np.array_equal(seen, before)


def test_in_place_blob_shows_the_last_value_and_the_first_diff() -> None:
    run = interpreter()
    run.forward()
    assert run.blobs["c"].data.min() == 0  # after the ReLU
    run.blobs["sum"].diff[...] = 1
    run.backward()
    dead = run.blobs["c"].data == 0
    assert dead.any()
    assert not run.blobs["c"].diff[dead].any()  # in front of it


def test_writing_a_blob_in_the_middle_is_what_later_layers_see() -> None:
    run = interpreter()
    run.forward()
    names = [step.name for step in run.steps]
    run.blobs["t"].data[...] = 5
    run.forward(start=names.index("sum"))
    np.testing.assert_allclose(run.blobs["sum"].data, run.blobs["s"].data + 5, rtol=1e-6)
    run.forward(end=names.index("r"))
    assert (run.blobs["t"].data == 5).all()


def test_parameter_diffs_add_up_until_cleared() -> None:
    run = interpreter()
    run.forward()
    run.blobs["sum"].diff[...] = 1
    run.backward()
    held = run.params["c"][0].diff
    once = held.copy()
    run.backward()
    np.testing.assert_allclose(held, 2 * once, rtol=1e-5)


def test_backward_from_the_middle_uses_the_diff_that_stands_there() -> None:
    run = interpreter()
    run.forward()
    names = [step.name for step in run.steps]
    run.blobs["c"].diff[...] = 1
    run.backward(start=names.index("r"))
    alive = (run.blobs["c"].data > 0).astype(np.float32)
    np.testing.assert_allclose(run.params["c"][1].diff, alive.sum((0, 2, 3)), rtol=1e-6)


def test_losses_start_with_their_weight_as_diff() -> None:
    text = INPUT + conv("c", "data", outputs=3)
    text += 'layer { name: "l" type: "EuclideanLoss" bottom: "c" bottom: "data" top: "l" loss_weight: 3 }'
    run = interpreter(text)
    loss = run.forward()
    assert loss == pytest.approx(3 * float(run.blobs["l"].data))
    assert run.blobs["l"].diff == 3
    run.backward()
    gradient = (run.blobs["c"].data - DATA) / 2 * 3
    np.testing.assert_allclose(run.params["c"][1].diff, gradient.sum((0, 2, 3)), rtol=1e-4)


def test_reshape_follows_the_inputs() -> None:
    run = interpreter()
    run.blobs["data"].resize((1, 3, 4, 5))
    run.reshape()
    assert run.blobs["sum"].data.shape == (1, 4, 4, 5)
    run.forward()
    run.blobs["sum"].diff[...] = 1
    run.backward()
    assert run.blobs["data"].diff.shape == (1, 3, 4, 5)


def test_in_place_on_an_input_keeps_backward_right() -> None:
    text = "force_backward: true\n" + INPUT + layer("Power", "data", "data", "power_param { power: 2 }", "square")
    run = interpreter(text)
    run.forward()
    np.testing.assert_allclose(run.blobs["data"].data, DATA**2, rtol=1e-5)
    run.blobs["data"].diff[...] = 1
    run.backward()
    np.testing.assert_allclose(run.blobs["data"].diff, 2 * DATA, rtol=1e-4, atol=1e-5)


class TestAttached:
    """A solver's passes through ``net.forward`` and autograd leave every blob readable."""

    TEXT = (
        INPUT
        + LABEL
        + conv("c", "data", outputs=3)
        + layer("ReLU", "c", "c", name="r")
        + (
            'layer { name: "ip" type: "InnerProduct" bottom: "c" top: "ip" inner_product_param { num_output: 4 '
            'weight_filler { type: "xavier" } } }'
            'layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" loss_weight: 2 }'
            'layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" }'
        )
    )

    def passed(self, attach: bool) -> tuple[Interpreter, float, list[np.ndarray]]:
        torch.manual_seed(1)
        run = Interpreter(make_net(self.TEXT, pb.TRAIN))
        if attach:
            run.attach()
        tops = run.net.forward({"data": DATA, "label": np.array([1, 3], np.float32)})
        loss = run.net.loss(tops)
        loss.backward()
        return run, float(loss.detach()), [p.blob.grad.numpy() for p in run.net.params]

    def test_same_loss_and_gradients(self) -> None:
        run, loss, grads = self.passed(True)
        _, plain_loss, plain_grads = self.passed(False)
        assert loss == pytest.approx(plain_loss, rel=1e-6)
        for a, b in zip(grads, plain_grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert 2 * float(run.blobs["l"].data) == pytest.approx(loss)
        assert run.blobs["ip_ip_0_split_0"].diff.any()
        assert run.blobs["l"].diff == 2

    def test_without_gradients(self) -> None:
        run = Interpreter(make_net(self.TEXT, pb.TEST))
        run.attach()
        with torch.no_grad():
            tops = run.net.forward({"data": DATA, "label": np.zeros(2, np.float32)})
        assert set(tops) == {"acc", "l"}
        assert not tops["l"].requires_grad
