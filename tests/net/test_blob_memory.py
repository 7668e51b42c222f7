"""A blob is in memory once: what the interpreter allocates, and where blobs lie."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from caffecompat.net.blob import Blob, HostCopy
from caffecompat.net.interpreter import Interpreter
from caffecompat.schema import pb
from tests.net.nets import INPUT, conv, layer, make_net

SHAPE = (2, 3, 6, 6)  # of INPUT
CHAIN = INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r") + layer("Dropout", "c", "c", name="d")


class Allocations(TorchDispatchMode):
    """Collects the memory of every tensor of `shape` that an operation returns."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.places: set[int] = set()
        self.kept: list[torch.Tensor] = []  # or the same memory would be given out again

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tuple(tensor.shape) == self.shape:
                self.places.add(tensor.untyped_storage().data_ptr())
                self.kept.append(tensor)
        return made


def allocated(run: Interpreter, blob: str) -> int:
    with Allocations(run.blobs[blob].shape) as made:
        run.forward()
    return len(made.places)


def interpreter(text: str, phase: int) -> Interpreter:
    run = Interpreter(make_net(text, phase))
    run.blobs["data"].data[...] = np.random.default_rng(0).standard_normal(SHAPE)
    return run


def test_a_chain_in_place_allocates_one_array() -> None:
    run = interpreter(CHAIN, pb.TEST)
    assert allocated(run, "c") == 1
    assert (run.blobs["c"].data >= 0).all() and run.blobs["c"].data.any()


def test_in_place_while_learning() -> None:
    """The convolution's own output is nobody's: its gradient needs the bottom, ReLU's its result."""
    chain = "force_backward: true\n" + INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r")
    run = interpreter(chain, pb.TRAIN)
    assert any(step.needs_backward for step in run.steps)
    assert allocated(run, "c") == 1
    run.blobs["c"].diff[...] = 1
    run.backward()
    data = torch.from_numpy(run.blobs["data"].data.copy()).requires_grad_()
    weight, bias = (param.blob.detach() for param in run.net.params)
    F.conv2d(data, weight, bias).relu().sum().backward()
    assert data.grad is not None and data.grad.any()
    np.testing.assert_allclose(run.blobs["data"].diff, data.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_a_bottom_of_another_name_keeps_its_values() -> None:
    run = interpreter(INPUT + conv("c", "data") + layer("ReLU", "c", "r"), pb.TEST)
    assert allocated(run, "c") == 2
    assert run.blobs["c"].data.min() < 0 <= run.blobs["r"].data.min()


def test_a_bottom_that_others_read_keeps_its_values() -> None:
    """A Split's tops share memory; in place on one of them must not reach the other."""
    text = INPUT + conv("c", "data") + layer("TanH", "c", "t") + layer("ReLU", "t", "t", name="r")
    run = interpreter(text + layer("Sigmoid", "t", "s") + layer("TanH", "t", "u"), pb.TEST)
    run.forward()
    np.testing.assert_allclose(run.blobs["u"].data, np.tanh(run.blobs["t"].data), rtol=1e-5)
    assert run.blobs["t"].data.min() == 0


def test_the_last_pass_makes_room_for_the_next() -> None:
    """Before a layer runs again, what it made before is let go, unless Python holds it."""
    run = interpreter(INPUT + conv("c", "data") + layer("TanH", "c", "t"), pb.TEST)
    run.forward()
    names = [step.name for step in run.steps]
    seen: list[bool] = []
    old = weakref.ref(run.blobs["t"].data_mirror._tensor)
    module = run.steps[names.index("t")].module
    module.register_forward_pre_hook(lambda *_: seen.append(old() is None))
    run.forward()
    assert seen == [True]


class TestOneSide:
    """Of a blob's data, Python's array and the computing tensor are never both kept on the CPU."""

    @pytest.fixture
    def blob(self) -> Iterator[Blob]:
        blob = Blob((2, 3))
        blob.data_mirror.write(torch.arange(6.0).view(2, 3))
        yield blob

    def test_looking(self, blob: Blob) -> None:
        array = blob.data
        assert blob.data_mirror._tensor is None and np.shares_memory(blob.data, array)
        array[0, 0] = 7
        assert blob.data_mirror.read(torch.device("cpu"))[0, 0] == 7

    def test_the_shape_of_an_array_is_its_own(self, blob: Blob) -> None:
        array = blob.data
        array.shape = (6,)
        assert blob.data.shape == blob.shape == (2, 3)
        blob.data_mirror.write(torch.full((2, 3), 5.0))
        assert (array == 5).all()

    def test_a_view_is_enough_to_stay_live(self, blob: Blob) -> None:
        row = blob.data[1:].T[0]
        gc.collect()
        blob.data_mirror.write(torch.full((2, 3), 5.0))
        assert row == 5 and blob.data_mirror._tensor is None

    def test_an_array_nobody_holds_is_not_copied_to(self, blob: Blob) -> None:
        blob.data[0, 0] = 9
        assert blob.data_mirror.read(torch.device("cpu"))[0, 0] == 9  # what was written counts all the same
        new = torch.full((2, 3), 5.0)
        blob.data_mirror.write(new)
        assert blob.data_mirror.read(torch.device("cpu")) is new
        assert (blob.data == 5).all()

    @pytest.mark.parametrize("channels", [3, 19])
    def test_channels_last_is_shown_in_c_order(self, channels: int) -> None:
        values = torch.randn(2, channels, 96, 100).contiguous(memory_format=torch.channels_last)
        blob = Blob(tuple(values.shape))
        blob.data_mirror.write(values)
        array = blob.data
        np.testing.assert_array_equal(array, values.numpy())
        assert array.flags.c_contiguous
        blob.data_mirror.write(-values)
        np.testing.assert_array_equal(array, -values.numpy())


def test_the_shape_of_an_array_may_be_set_without_changing_the_blob() -> None:
    blob = Blob((2, 3, 4))
    array = blob.data
    array.shape = (6, 4)
    array += 1
    assert blob.data.shape == (2, 3, 4) and blob.data.all()
    del array
    held = blob.data[0]
    blob.data[...] = 2
    assert (held == 2).all()


def test_a_copy_on_the_host_takes_what_both_sides_write_in_turn() -> None:
    """The logic of parameters on a GPU, with a second tensor of the CPU in the GPU's place."""
    there = torch.zeros(2, 2)
    copy = HostCopy(there)
    copy.values(there)[0] = 1
    copy.values(there)[1] = 2  # asked for again before anything was pushed
    assert not there.any()
    copy.push(there)
    assert there.tolist() == [[1, 1], [2, 2]]
    there.mul_(10)  # an update
    held = copy.values(there)
    assert held.tolist() == [[10, 10], [20, 20]]
    there.mul_(2)
    copy.push(there)  # nothing was written that is newer than the update
    assert there.tolist() == [[20, 20], [40, 40]]
    assert copy.values(there) is held and held.tolist() == there.tolist()
