"""Python layers: finding the class, its life, blobs, gradients, and errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from caffecompat.errors import notes
from caffecompat.forks import Fork
from caffecompat.layers import Context, Layer, LayerError, layer_class
from caffecompat.layers.python_layer import PythonLayerBase
from caffecompat.python_code import python_path
from caffecompat.schema import parse_text, pb
from tests.layers.python_loss import EUCLIDEAN, IMPORTS

TIMES = '''
import json

class Times(caffe.Layer):
    """Multiplies by the number in param_str, and counts what it is asked."""
    def setup(self, bottom, top):
        self.factor = float(self.param_str or 10)
        self.calls = ["setup"]
    def reshape(self, bottom, top):
        self.calls.append("reshape")
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        self.calls.append("forward")
        top[0].data[...] = self.factor * bottom[0].data
    def backward(self, top, propagate_down, bottom):
        self.calls.append(list(propagate_down))
        bottom[0].diff[...] = self.factor * top[0].diff
'''
MORE = '''
class Weighted(caffe.Layer):
    """A learned factor for each column."""
    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].shape[1])
        self.blobs[0].data[...] = 2
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data
    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0)
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.blobs[0].data

class Numbers(caffe.Layer):
    """A data layer: two tops, no bottoms; the shape is that of the data."""
    def setup(self, bottom, top):
        self.rows = json.loads(self.param_str)["rows"]
        self.at = 0
    def reshape(self, bottom, top):
        self.data = np.full((self.rows, 3), self.at)
        top[0].reshape(*self.data.shape)
        top[1].reshape()
    def forward(self, bottom, top):
        top[0].data[...] = self.data
        top[1].data[...] = self.phase
        self.at += 1
    def backward(self, top, propagate_down, bottom):
        pass

class InPlace(caffe.Layer):
    """Writes into the bottom, which is the top."""
    def reshape(self, bottom, top):
        pass
    def forward(self, bottom, top):
        bottom[0].data[bottom[0].data < 0] = 0
    def backward(self, top, propagate_down, bottom):
        top[0].diff[top[0].data == 0] = 0

class Positive(caffe.Layer):
    """The top's size is known only when the values are."""
    def reshape(self, bottom, top):
        top[0].reshape(1)
    def forward(self, bottom, top):
        kept = bottom[0].data[bottom[0].data > 0]
        top[0].reshape(len(kept))
        top[0].data[...] = kept

class Flat(caffe.Layer):
    """Counts on C order, as Caffe has it."""
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        assert bottom[0].data.flags.c_contiguous and bottom[0].data.dtype == np.float32
        top[0].data.reshape(-1)[...] = bottom[0].data.ravel()
        self.sizes = [bottom[0].num, bottom[0].channels, bottom[0].height, bottom[0].width, bottom[0].count]

class Old(caffe.Layer):
    def setup(self, bottom, top):
        self.text = self.param_str_
    def reshape(self, bottom, top):
        top[0].reshape(1)
    def forward(self, bottom, top):
        top[0].data[0] = len(self.text)

class Late(Old):
    def forward(self, bottom, top):
        self.blobs.add_blob(1)

class Fails(Old):
    def forward(self, bottom, top):
        raise KeyError("no such class")

class NoForward(caffe.Layer):
    def reshape(self, bottom, top):
        pass

class NotALayer:
    pass

number = 5
'''
CODE = IMPORTS + TIMES + EUCLIDEAN + MORE


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    yield
    for name in ("own", "spatial_dropout"):
        sys.modules.pop(name, None)


@pytest.fixture
def prototxt(tmp_path: Path) -> Path:
    """A prototxt's path, with the module `own` next to it."""
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path / "net.prototxt"


def python(
    prototxt: Path,
    kind: str,
    *shapes: tuple[int, ...],
    param_str: str = "",
    tops: int = 1,
    phase: int = 0,
    more: str = "",
    module: str = "own",
) -> Layer:
    param = parse_text(f'name: "p" type: "Python" {more}', pb.LayerParameter())
    param.python_param.module, param.python_param.layer, param.python_param.param_str = module, kind, param_str
    if not param.bottom:
        param.bottom.extend(f"b{index}" for index in range(len(shapes)))
    if not param.top:
        param.top.extend(f"t{index}" for index in range(tops))
    cls = layer_class("Python")
    assert cls is not None
    return cls(param, list(shapes), Context(phase, Fork.BVLC, str(prototxt)))


class TestLife:
    def test_setup_then_reshape_before_each_forward(self, prototxt: Path) -> None:
        layer = python(prototxt, "Times", (2, 3), param_str="3")
        assert layer.instance.calls == ["setup", "reshape"]
        assert layer(torch.empty(2, 3, device="meta")).shape == (2, 3)
        assert layer.instance.calls == ["setup", "reshape"]  # nothing new to find out
        assert layer(torch.empty(4, 5, device="meta")).shape == (4, 5)
        x = torch.randn(2, 3, requires_grad=True)
        top = layer(x)
        torch.testing.assert_close(top, 3 * x)
        top.sum().backward()
        torch.testing.assert_close(x.grad, torch.full((2, 3), 3.0))
        assert layer.instance.calls[2:] == ["reshape", "reshape", "forward", [True]]

    def test_a_later_pass_leaves_earlier_tops_alone(self, prototxt: Path) -> None:
        layer = python(prototxt, "Times", (2,))
        first = layer(torch.ones(2))
        layer(torch.zeros(2))
        assert first.tolist() == [10, 10]

    def test_layers_of_one_class_are_apart(self, prototxt: Path) -> None:
        one, other = python(prototxt, "Times", (1,), param_str="2"), python(prototxt, "Times", (1,), param_str="5")
        assert (one(torch.ones(1)).item(), other(torch.ones(1)).item()) == (2, 5)

    def test_a_data_layer_tells_shapes_and_phase(self, prototxt: Path) -> None:
        layer = python(prototxt, "Numbers", param_str='{"rows": 4}', tops=2, phase=1)
        data, phase = layer()
        assert data.shape == (4, 3) and phase.shape == () and phase.item() == 1
        assert [layer()[0][0, 0].item() for _ in range(3)] == [1, 2, 3]
        on_meta = layer.to("meta")()
        assert [tuple(top.shape) for top in on_meta] == [(4, 3), ()]

    def test_shapes_may_depend_on_values(self, prototxt: Path) -> None:
        layer = python(prototxt, "Positive", (4,))
        assert layer(torch.tensor([1.0, -1, 2, 3])).tolist() == [1, 2, 3]
        assert layer(torch.tensor([-1.0, -1, 7, -3])).tolist() == [7]

    def test_the_name_that_param_str_once_had(self, prototxt: Path) -> None:
        assert python(prototxt, "Old", (1,), param_str="four")(torch.zeros(1)).item() == 4


class TestBlobs:
    def test_arrays_are_in_c_order_whatever_the_memory_format(self, prototxt: Path) -> None:
        x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
        layer = python(prototxt, "Flat", (2, 3, 4, 5))
        torch.testing.assert_close(layer(x), x)
        assert layer.instance.sizes == [2, 3, 4, 5, 120]

    def test_doubles_come_back_as_doubles(self, prototxt: Path) -> None:
        assert python(prototxt, "Times", (2,))(torch.ones(2, dtype=torch.float64)).dtype == torch.float64

    def test_in_place_bottom_and_top_are_one_blob(self, prototxt: Path) -> None:
        layer = python(prototxt, "InPlace", (3,), more='bottom: "x" top: "x"')
        x = torch.tensor([-1.0, 2, 3], requires_grad=True)
        top = layer(x)
        assert top.tolist() == [0, 2, 3] and x.tolist() == [-1, 2, 3]
        top.backward(torch.tensor([5.0, 6, 7]))
        assert x.grad is not None and x.grad.tolist() == [0, 6, 7]

    def test_parameters_are_made_in_setup(self, prototxt: Path) -> None:
        layer = python(prototxt, "Weighted", (2, 3))
        assert layer.blob_names == ["blob0"] and layer.blobs[0].tolist() == [2, 2, 2]
        x = torch.tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True)
        for passes in (1, 2):  # gradients add up, as over iter_size
            layer(x).sum().backward()
            assert layer.blobs[0].grad.tolist() == [5 * passes, 7 * passes, 9 * passes]
        assert x.grad is not None and x.grad.tolist() == [[4, 4, 4], [4, 4, 4]]

    def test_parameters_learn_without_a_gradient_of_the_bottom(self, prototxt: Path) -> None:
        layer = python(prototxt, "Weighted", (2, 3))
        layer(torch.ones(2, 3)).sum().backward()
        assert layer.blobs[0].grad.tolist() == [2, 2, 2]

    def test_parameters_are_live(self, prototxt: Path) -> None:
        layer = python(prototxt, "Weighted", (2, 3))
        layer.instance.blobs[0].data[...] = 7
        assert layer.blobs[0].tolist() == [7, 7, 7]
        layer.blob0 = torch.nn.Parameter(torch.zeros(3))  # as sharing with another net does
        assert layer.instance.blobs[0].data.tolist() == [0, 0, 0]


def test_a_loss_in_python(prototxt: Path) -> None:
    layer = python(prototxt, "Euclidean", (4, 2), (4, 2))
    a, b = torch.randn(4, 2, requires_grad=True), torch.randn(4, 2)
    loss = layer(a, b)
    expected = (a - b).square().sum() / 8
    torch.testing.assert_close(loss, expected.reshape(1))
    (ours,) = torch.autograd.grad(loss.sum(), a)
    (theirs,) = torch.autograd.grad(expected, a)
    torch.testing.assert_close(ours, theirs)


class TestFinding:
    def test_python_path_comes_before_the_prototxts_folder_and_the_current_one_not_at_all(
        self, prototxt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("path", "here", "named"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "own.py").write_text(CODE)
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
        (prototxt.parent / "own.py").unlink()
        with pytest.raises(LayerError, match=r"there is one in the current folder: --python-path \."):
            python(prototxt, "Old", (1,))
        (prototxt.parent / "own.py").write_text(CODE)
        found = [self.folder_of_own(prototxt)]
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
        with python_path([]):
            found.append(self.folder_of_own(prototxt))
        with python_path([str(tmp_path / "named")]):
            found.append(self.folder_of_own(prototxt))
        monkeypatch.syspath_prepend(tmp_path / "path")  # what a program of the user's own does
        found.append(self.folder_of_own(prototxt))
        assert [folder.name for folder in found] == [prototxt.parent.name, "path", "named", "path"]

    def folder_of_own(self, prototxt: Path) -> Path:
        sys.modules.pop("own", None)
        return Path(python(prototxt, "Old", (1,)).file).parent

    @pytest.mark.parametrize("module", ["os", "json.decoder", "random", "torch.nn", "numpy"])
    def test_no_module_of_pythons_own_or_of_a_package_is_taken(self, prototxt: Path, module: str) -> None:
        with pytest.raises(LayerError, match=r"there is no Python module|has no class"):
            python(prototxt, "Layer", (1,), module=module)

    def test_a_file_with_a_standard_modules_name_is_the_users(self, prototxt: Path) -> None:
        import queue

        (prototxt.parent / "queue.py").write_text(CODE)
        assert Path(python(prototxt, "Old", (1,), module="queue").file).parent == prototxt.parent
        assert sys.modules["queue"] is queue

    def test_an_installed_package_of_that_name_is_passed_by(
        self, prototxt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packages = tmp_path / "site-packages"
        packages.mkdir()
        (packages / "own.py").write_text("raise SystemExit")
        monkeypatch.syspath_prepend(packages)
        (prototxt.parent / "own.py").unlink()
        with pytest.raises(LayerError, match="there is no Python module 'own'"):
            python(prototxt, "Old", (1,))
        (prototxt.parent / "own.py").write_text(CODE)
        assert self.folder_of_own(prototxt) == prototxt.parent
        assert str(tmp_path / "here") not in sys.path

    def test_import_caffe_holds_only_while_the_layer_is_made(
        self, prototxt: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "caffe"]:
            monkeypatch.delitem(sys.modules, name)  # of scripts that ran here before
        layer = python(prototxt, "Times", (1,))
        assert isinstance(layer.instance, PythonLayerBase)
        assert "caffe" not in sys.modules

    def test_submodules_of_caffe_are_there(self, prototxt: Path) -> None:
        prototxt.with_name("own.py").write_text(
            "import caffe.io\nfrom caffe.proto import caffe_pb2\nfrom caffe import layers as L, params as P\n" + CODE
        )
        assert python(prototxt, "Old", (1,))(torch.zeros(1)).item() == 0

    def test_an_imported_caffe_stays(self, prototxt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Other:
            Layer = object

        monkeypatch.setitem(sys.modules, "caffe", Other)  # type: ignore[arg-type]
        with pytest.raises(LayerError, match=r"must be a class derived from caffe\.Layer"):
            python(prototxt, "Times", (1,))
        assert sys.modules["caffe"] is Other

    @pytest.mark.parametrize(
        ("module", "kind", "message"),
        [
            ("nowhere_to_be_found", "A", "there is no Python module 'nowhere_to_be_found'; looked in PYTHONPATH"),
            ("", "A", "python_param needs module and layer"),
            ("own", "Tims", r"module 'own' \(.*own.py\) has no class 'Tims'; layers in it: Times, Euclidean"),
            ("own", "NotALayer", r"NotALayer of module 'own' .* derived from caffe.Layer"),
            ("own", "number", "must be a class derived"),
        ],
    )
    def test_mistakes(self, prototxt: Path, module: str, kind: str, message: str) -> None:
        with pytest.raises(LayerError, match=message):
            python(prototxt, kind, (1,), module=module)

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("import no_such_package", r"cannot be imported: No module named 'no_such_package' \(.*own.py:1\)"),
            ("x = 1\nx.y", r"own.py:2: AttributeError: 'int' object has no attribute 'y'"),
            ("print 5", r"own.py:1: SyntaxError: .*Python 2 code\?"),
        ],
    )
    def test_modules_that_cannot_be_imported(self, prototxt: Path, code: str, message: str) -> None:
        prototxt.with_name("own.py").write_text(code)
        with pytest.raises(LayerError, match=message):
            python(prototxt, "A", (1,))


class TestErrorsOfTheUsersCode:
    """They come through as they are, with a note of where they happened."""

    def test_in_setup(self, prototxt: Path) -> None:
        with pytest.raises(Exception, match="Need two inputs") as caught:
            python(prototxt, "Euclidean", (1,))
        assert notes(caught.value) == [f"layer 'p' (Python): Euclidean.setup, {line(prototxt, 'Need two')}"]

    def test_in_forward(self, prototxt: Path) -> None:
        layer = python(prototxt, "Fails", (1,))
        with pytest.raises(KeyError) as caught:
            layer(torch.zeros(1))
        assert notes(caught.value) == [f"layer 'p' (Python): Fails.forward, {line(prototxt, 'no such class')}"]

    def test_a_missing_forward_is_missed_when_it_is_called(self, prototxt: Path) -> None:
        layer = python(prototxt, "NoForward", (1,))
        with pytest.raises(AttributeError, match=r"NoForward has no forward\(self, bottom, top\)"):
            layer(torch.zeros(1))

    def test_what_setup_raises_comes_before_a_missing_method(self, prototxt: Path) -> None:
        code = "import caffe\nclass Own(Exception): pass\nclass Only(caffe.Layer):\n"
        code += "    def setup(self, bottom, top):\n        raise Own('from setup') from ValueError('its cause')\n"
        prototxt.with_name("own.py").write_text(code)
        with pytest.raises(Exception, match="from setup") as caught:
            python(prototxt, "Only", (1,))
        assert str(caught.value) == "from setup"
        assert type(caught.value).__name__ == "Own" and isinstance(caught.value.__cause__, ValueError)

    def test_a_missing_backward_is_named(self, prototxt: Path) -> None:
        top = python(prototxt, "Old", (1,))(torch.zeros(1, requires_grad=True))
        with pytest.raises(AttributeError, match=r"Old has no backward\(self, top, propagate_down, bottom\)"):
            top.sum().backward()

    def test_blobs_are_fixed_after_setup(self, prototxt: Path) -> None:
        with pytest.raises(LayerError, match=r"add_blob belongs in setup"):
            python(prototxt, "Late", (1,))(torch.zeros(1))


def line(prototxt: Path, text: str) -> str:
    number = next(k for k, line in enumerate(CODE.split("\n"), 1) if text in line)
    return f"{prototxt.with_name('own.py')}:{number}"


def spatial(prototxt: Path, param_str: str) -> Layer:
    return python(
        prototxt, "SpatialDropoutLayer", (50, 40, 2, 2), param_str=param_str, phase=1, module="spatial_dropout"
    )


class TestSpatialDropout:
    """ENet's layer, whose file is Python 2."""

    def test_it_drops_whole_channels_of_each_item(self, prototxt: Path) -> None:
        layer = spatial(prototxt, "{'phase': 'TRAIN', 'p': '0.25'}")
        x = torch.ones(50, 40, 2, 2, requires_grad=True)
        top = layer(x)
        channels = top.detach().flatten(2)
        assert (channels == channels[:, :, :1]).all()
        torch.testing.assert_close(channels.unique(), torch.tensor([0, 1 / 0.75]))
        assert 0.2 < (channels[:, :, 0] == 0).float().mean() < 0.3
        top.sum().backward()
        torch.testing.assert_close(x.grad, top.detach())

    def test_any_other_phase_scales(self, prototxt: Path) -> None:
        top = spatial(prototxt, "{'phase': 'TEST', 'p': '0.2'}")(torch.ones(50, 40, 2, 2))
        torch.testing.assert_close(top, torch.full_like(top, 1.25))

    def test_a_file_of_the_users_own_counts(self, prototxt: Path) -> None:
        code = CODE.replace("class Times", "class SpatialDropoutLayer")
        prototxt.with_name("spatial_dropout.py").write_text(code)
        assert spatial(prototxt, "3")(torch.ones(1)).tolist() == [3]

    def test_its_python_2_file_is_not_needed(self, prototxt: Path) -> None:
        prototxt.with_name("spatial_dropout.py").write_text("class SpatialDropoutLayer:\n    a = 1\n\tb = 2\n")
        assert spatial(prototxt, "{'phase': 'TEST', 'p': '0.5'}")(torch.ones(1)).tolist() == [2]

    @pytest.mark.parametrize("param_str", ["", "{'p': '0.1'}", "0.1", "{'phase': 'TRAIN', 'p': 'x'}"])
    def test_param_str_must_be_a_dictionary(self, prototxt: Path, param_str: str) -> None:
        with pytest.raises(LayerError, match="param_str must be a dictionary like"):
            spatial(prototxt, param_str)

    def test_p_has_limits(self, prototxt: Path) -> None:
        with pytest.raises(LayerError, match="p must lie between 0 and 1, it is 1"):
            spatial(prototxt, "{'phase': 'TRAIN', 'p': '1'}")
