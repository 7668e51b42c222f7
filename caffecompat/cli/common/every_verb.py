"""Flags that every verb takes: ``--fork``, ``--proto`` and ``--layers``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caffecompat.cli.common.flags import UsageError
from caffecompat.forks import ForkChoice, choice_of, environment_fork, name_fork, named_without_effect

__all__ = ["EveryVerbFlags", "is_for_every_verb", "takes_value"]

_FLAGS = {"fork": "a name", "proto": "a file", "layers": "a file"}  # and what each needs


def takes_value(token: str) -> bool:
    """Whether the word after this one is its value."""
    return token.startswith("-") and token.lstrip("-") in _FLAGS


def is_for_every_verb(token: str) -> bool:
    """Whether it is one of these flags, or ``--debug``."""
    name = token.partition("=")[0]
    return takes_value(name) or name in ("--debug", "-debug")


@dataclass(frozen=True)
class EveryVerbFlags:
    """The values of these flags."""

    fork: ForkChoice | None
    protos: Sequence[str]
    layer_files: Sequence[str]

    @classmethod
    def take(cls, tokens: Sequence[str]) -> tuple[EveryVerbFlags, list[str]]:
        """Separate them, ``--flag VALUE`` or ``--flag=VALUE``, from the other tokens.

        Raises:
            UsageError: a value is missing, or two forks are named.
            CaffeCompatError: no fork has that name.
        """
        rest: list[str] = []
        values: dict[str, list[str]] = {flag: [] for flag in _FLAGS}
        words = iter(tokens)
        for token in words:
            name, equals, value = token.partition("=")
            flag = name.lstrip("-")
            if not takes_value(name):
                rest.append(token)
                continue
            values[flag].append(value if equals else next(words, ""))
            if not values[flag][-1]:
                raise UsageError(f"caffecompat: --{flag} needs {_FLAGS[flag]}")
        return cls(_fork(values["fork"]), values["proto"], values["layers"]), rest

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Take in a user's own fork, its schema, then its layers; let the named one hold while a verb runs."""
        self._extend()
        name_fork(self.fork or environment_fork())
        try:
            yield
            if self.fork and named_without_effect():
                print("note: --fork had no effect: no net was read", file=sys.stderr)
        finally:
            name_fork(None)

    def _extend(self) -> None:
        if self.protos:
            from caffecompat.schema.user_proto import use_proto

            for path in self.protos:
                use_proto(path)
        if self.layer_files:
            from caffecompat.layers.user_layers import load_layers

            for path in self.layer_files:
                load_layers(path)


def _fork(names: Sequence[str]) -> ForkChoice | None:
    chosen = {choice_of(name, "--fork"): None for name in names}
    if len(chosen) > 1:
        named = " and ".join(choice.fork.name.lower() for choice in chosen)
        raise UsageError(f"caffecompat: --fork names {named}; a command follows the rules of one fork")
    return next(iter(chosen), None)
