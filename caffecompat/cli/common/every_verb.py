"""Flags that every verb takes: ``--fork``, ``--proto``, ``--layers`` and those of Python layers."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from caffecompat.cli.common.flags import UsageError
from caffecompat.forks import ForkChoice, choice_of, environment_fork, name_fork, named_without_effect
from caffecompat.python_code import allowing_python_layers, python_path, python_shapes

__all__ = ["EveryVerbFlags", "is_for_every_verb", "takes_value"]

_FLAGS = {  # and what each needs
    "fork": "a name",
    "proto": "a file",
    "layers": "a file",
    "python-path": "a folder",
    "python-shape": "LAYER=SHAPE, as data=1x3x224x224",
}
_SWITCHES = ("debug", "no-python-layers")


def takes_value(token: str) -> bool:
    """Whether the word after this one is its value."""
    return token.startswith("-") and _name(token) in _FLAGS


def _name(token: str) -> str:
    return token.lstrip("-").replace("_", "-")


def is_for_every_verb(token: str) -> bool:
    """Whether it is one of these flags, or ``--debug``."""
    name = token.partition("=")[0]
    return takes_value(name) or (token.startswith("-") and _name(token) in _SWITCHES)


class EveryVerbFlags(NamedTuple):
    """The values of these flags."""

    fork: ForkChoice | None
    protos: Sequence[str]
    layer_files: Sequence[str]
    python_path: Sequence[str]
    python_shapes: Mapping[str, Sequence[tuple[int, ...]]]
    no_python_layers: bool

    @classmethod
    def take(cls, tokens: Sequence[str]) -> tuple[EveryVerbFlags, list[str]]:
        """Separate them, ``--flag VALUE`` or ``--flag=VALUE``, from the other tokens.

        Raises:
            UsageError: a value is missing or no shape, or two forks are named.
            CaffeCompatError: no fork has that name.
        """
        rest: list[str] = []
        values: dict[str, list[str]] = {flag: [] for flag in _FLAGS}
        words, refused = iter(tokens), False
        for token in words:
            name, equals, value = token.partition("=")
            flag = _name(name)
            if is_for_every_verb(token) and flag == "no-python-layers":
                refused = True
                continue
            if not takes_value(name):
                rest.append(token)
                continue
            values[flag].append(value if equals else next(words, ""))
            if not values[flag][-1]:
                raise UsageError(f"caffecompat: --{flag} needs {_FLAGS[flag]}")
        shapes = dict(map(_layer_shapes, values["python-shape"]))
        missing = [folder for folder in values["python-path"] if not os.path.isdir(folder)]
        if missing:
            raise UsageError(f"caffecompat: --python-path {missing[0]}: there is no such folder")
        fork = _fork(values["fork"])
        return cls(fork, values["proto"], values["layers"], values["python-path"], shapes, refused), rest

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Take in a user's own fork, its schema, then its layers; let the named one hold while a verb runs."""
        self._extend()
        name_fork(self.fork or environment_fork())
        try:
            with python_shapes(self.python_shapes) as unused, allowing_python_layers(not self.no_python_layers):
                yield
            if self.fork and named_without_effect():
                print("note: --fork had no effect: no net was read", file=sys.stderr)
            for layer in unused:
                print(f"note: --python-shape {layer} had no effect: no net was looked at that has such a Python layer",
                      file=sys.stderr)  # fmt: skip
        finally:
            name_fork(None)

    def on_python_path(self) -> contextlib.AbstractContextManager[None]:
        """Let no folders but the named ones have modules of Python layers."""
        return python_path(self.python_path)

    def _extend(self) -> None:
        if self.protos:
            from caffecompat.schema.user_proto import use_proto

            for path in self.protos:
                use_proto(path)
        if self.layer_files:
            from caffecompat.layers.user_layers import load_layers

            for path in self.layer_files:
                load_layers(path)


def _layer_shapes(text: str) -> tuple[str, list[tuple[int, ...]]]:
    """``LAYER=1x3x10,1x5``: the layer's name, and a shape for each of its tops."""
    layer, _, shapes = text.rpartition("=")
    if not layer or not re.fullmatch(r"\d{1,9}(x\d{1,9})*(,\d{1,9}(x\d{1,9})*)*", shapes):
        raise UsageError(f"caffecompat: --python-shape {text}: expected LAYER=SHAPE, as data=1x3x224x224,1x1")
    return layer, [tuple(map(int, shape.split("x"))) for shape in shapes.split(",")]


def _fork(names: Sequence[str]) -> ForkChoice | None:
    chosen = {choice_of(name, "--fork"): None for name in names}
    if len(chosen) > 1:
        named = " and ".join(choice.fork.name.lower() for choice in chosen)
        raise UsageError(f"caffecompat: --fork names {named}; a command follows the rules of one fork")
    return next(iter(chosen), None)
