"""What the public API promises is written down: arguments, shapes, errors and an example of each name.

That the examples run is tested in tests/test_api_examples.py; what is counted here is in the report's end.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import pytest

import caffecompat

# Names that raise no errors of their own.
_WITHOUT_ERRORS = {
    "CaffeCompatError": "it is the error",
    "ExportOptions": "export_onnx judges it",
    "configure_logging": "sets up the log",
    "configure_threads": "sets up threads",
    "examine_installation": "reports whatever it finds",
    "live_report": "its failures are warnings",
    "pycaffe": "a module",
}
_ARRAYS = re.compile(r"ndarray|Tensor|ArrayLike|\bsize\b: '?tuple")
_SHAPES = re.compile(r"\((?:N|C|C_out|H|K|R|height|classes|pictures)\b[^()]*\)|\bflat")
_CLASSES = [name for name in caffecompat.__all__ if inspect.isclass(getattr(caffecompat, name))]


def _doc(name: str) -> str:
    return inspect.getdoc(getattr(caffecompat, name)) or ""


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    public = getattr(caffecompat, name)
    if not callable(public) or name == "CaffeCompatError":
        return {}
    return dict(inspect.signature(public).parameters)


@pytest.mark.parametrize("name", caffecompat.__all__)
def test_errors_and_an_example(name: str, record_property: Callable[[str, object], None]) -> None:
    doc = _doc(name)
    assert ">>> " in doc
    assert ("Raises:\n" in doc) != (name in _WITHOUT_ERRORS)
    record_property("case of", "public names with errors and an example")


@pytest.mark.parametrize("name", [name for name in caffecompat.__all__ if _parameters(name)])
def test_every_argument_is_named(name: str, record_property: Callable[[str, object], None]) -> None:
    doc = _doc(name)
    listed = re.search(r"(?:Args|Attributes):\n(.*?)(?:\n\n[^ ]|\n\n>>>|\Z)", doc, re.S)
    known = set(re.findall(r"\*{0,2}(\w+)", listed[1] if listed else doc))
    assert not set(_parameters(name)) - known - {"self", "args", "kwargs"}
    record_property("case of", "public names whose arguments are all described")


@pytest.mark.parametrize("name", [name for name in caffecompat.__all__ if _parameters(name)])
def test_shapes_of_arrays_and_sizes(name: str, record_property: Callable[[str, object], None]) -> None:
    signature = str(inspect.signature(getattr(caffecompat, name)))
    if not _ARRAYS.search(signature):
        pytest.skip("takes and gives no arrays or sizes")
    assert _SHAPES.search(_doc(name)), "(N, C, H, W), (height, width), ..."
    record_property("case of", "public names that take or give arrays, with their shapes")


def _methods() -> Iterator[tuple[str, str]]:
    for name in _CLASSES:
        for base in getattr(caffecompat, name).__mro__:
            if base.__module__.startswith("caffecompat"):
                for method, value in vars(base).items():
                    if not method.startswith("_") and isinstance(value, property) | inspect.isfunction(value):
                        yield name, method


def test_every_public_method_is_described() -> None:
    methods = sorted(set(_methods()))
    assert len(methods) > 30
    assert not [
        f"{name}.{method}"
        for name, method in methods
        if not inspect.getdoc(getattr(getattr(caffecompat, name), method))
    ]
