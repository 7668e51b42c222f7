"""Each layer type has an emitter in each format, in the file named like that of its class, or a stated reason."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import caffecompat
from caffecompat.deploy.emitters import Emitters
from caffecompat.deploy.onnx.emission import emitters as onnx_emitters
from caffecompat.deploy.onnx.export import export_net
from caffecompat.deploy.torch_source.emission import emitters as torch_emitters
from caffecompat.deploy.torch_source.source import make_source
from caffecompat.errors import CaffeCompatError
from caffecompat.layers import Layer, layer_class, layer_types
from caffecompat.net import Net
from tests.net.nets import make_net

PACKAGE = Path(caffecompat.__file__).parent
FORMATS: dict[str, Emitters] = {"onnx": onnx_emitters, "torch_source": torch_emitters}


def _own_types() -> dict[str, type[Layer]]:
    """The package's layer types; other tests may have registered types of their own."""
    classes = {kind: layer_class(kind) for kind in layer_types()}
    return {kind: cls for kind, cls in classes.items() if cls and cls.__module__.startswith("caffecompat.layers.")}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", _own_types())
def test_an_emitter_in_the_file_of_the_class_or_a_reason(kind: str, name: str) -> None:
    emitters, cls = FORMATS[name], _own_types()[kind]
    import_module(f"caffecompat.deploy.{name}.layers")
    emitter = emitters.of(kind)
    assert bool(emitter) != bool(emitters.reason(kind)), "either an emitter or a reason (Layer.not_exported, lacks())"
    if emitter:
        file = cls.__module__.rpartition(".")[2]
        assert emitter in vars(import_module(f"caffecompat.deploy.{name}.layers.{file}")).values()


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_emitters_are_files_of_layers(name: str) -> None:
    files = {path.name for path in (PACKAGE / "deploy" / name / "layers").glob("*.py")}
    assert files <= {path.name for path in (PACKAGE / "layers").glob("*.py")}


@pytest.mark.parametrize("name", FORMATS)
def test_reasons_of_a_format_are_of_types_that_another_has(name: str) -> None:
    for kind in FORMATS[name].reasons:
        assert not _own_types()[kind].not_exported
        assert any(emitters.of(kind) for emitters in FORMATS.values())


@pytest.mark.parametrize("write", [export_net, make_source], ids=["onnx", "torch_source"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("SoftmaxWithLoss", "is a loss"),
        ("Accuracy", "computes metrics"),
        ("MarginInnerProduct", "reads labels, which there are in training alone"),
    ],
)
def test_errors_state_the_reason_of_the_class(kind: str, reason: str, write: Callable[[Net], object]) -> None:
    net = make_net(f"""
        layer {{ name: "x" type: "Input" top: "x" top: "l" input_param {{
          shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 }} }} }}
        layer {{ name: "y" type: "{kind}" bottom: "x" bottom: "l" top: "y"
          margin_inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}""")
    with pytest.raises(CaffeCompatError) as caught:
        write(net)
    assert f"'y' ({kind}): has no form in" in str(caught.value) or f"y ({kind}): has no form in" in str(caught.value)
    assert f": it {reason}; make a deploy prototxt first (caffecompat export deploy)" in str(caught.value)
