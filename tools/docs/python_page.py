"""The reference of the Python functions and classes: what ``caffecompat`` promises, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from page_text import prose

import caffecompat

__all__ = ["python_page"]


def python_page() -> Iterator[tuple[str, str]]:
    """Path and text of the page."""
    text = f"# Python\n\n{prose(caffecompat.__doc__)}\n"
    for name in caffecompat.__all__:
        value = getattr(caffecompat, name)
        text += f"## {name}\n\n{_signature(name, value)}{prose(inspect.getdoc(value))}\n"
        if inspect.isclass(value):
            for method, function in _methods(value):
                text += f"### {name}.{method}\n\n{_signature(method, function)}{prose(inspect.getdoc(function))}\n"
    yield "reference/python.md", text


def _methods(cls: type) -> list[tuple[str, object]]:
    """Documented methods that a class of ours adds."""
    own = [(name, value) for base in reversed(cls.__mro__) if base.__module__.startswith("caffecompat")
           for name, value in vars(base).items()]  # fmt: skip
    return sorted(
        {name: value for name, value in own if inspect.isfunction(value) and not name.startswith("_") and value.__doc__}
        .items()
    )  # fmt: skip


def _signature(name: str, value: object) -> str:
    if isinstance(value, ModuleType) or not callable(value):
        return ""
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    signature = re.sub(r"\b(?:caffecompat|torch|pathlib|os)(?:\.\w+)*\.(\w+)", r"\1", signature).replace("'", "")
    if len(signature) > 90:
        signature = re.sub(r", (?=\*?\*?\w+(?::|,|=|\)))", ",\n    ", signature)
    return f"```text\n{name}{signature}\n```\n\n"
