"""Whether the code of Python layers may run, and what stands in for one whose code does not.

A prototxt may come from anybody, and naming a module in it is enough to have that module run. So nets that are only
looked at never import one: such a layer is opaque, known by its hint of shapes alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from caffecompat.errors import CaffeCompatError
from caffecompat.wording import few

__all__ = [
    "OpaqueLayers",
    "allowing_python_layers",
    "forbidden",
    "hint_for",
    "looked_at",
    "looking_at_nets",
    "python_folders",
    "python_path",
    "python_shape",
    "python_shapes",
    "shape_rules",
]

Shape = tuple[int, ...]
ShapeRule = Callable[[str, Sequence[Shape]], Sequence[Shape]]

_rules: dict[tuple[str, str], ShapeRule] = {}


@dataclass
class OpaqueLayers:
    """Python layers whose code did not run, in nets that were looked at.

    Attributes:
        size: (height, width) of the pictures that such a layer makes where it has no bottoms; None: not known.
        channels: of these pictures.
        guessed: names of the layers whose tops' shapes are guesses, for want of a hint.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    guessed: list[str] = field(default_factory=list)

    def guess(self, layer: str, bottoms: Sequence[Shape], tops: int) -> list[Shape]:
        """The first bottom's shape for each top; of a data layer a picture, then labels for each of its pixels.

        Raises:
            CaffeCompatError: it has no bottoms, and `size` is not known.
        """
        if layer not in self.guessed:  # nets may be built several times
            self.guessed.append(layer)
        if bottoms:
            return [bottoms[0]] * tops
        if self.size is None:
            raise CaffeCompatError(
                "its code does not run where a net is only looked at; give the shapes of its tops, as "
                f"--python-shape {layer}=1x3x224x224{',1' * (tops - 1)}, or --size WIDTHxHEIGHT"
            )
        return [(1, (self.channels or 3) if slot == 0 else 1, *self.size) for slot in range(tops)]

    def lines(self) -> list[str]:
        """What to report."""
        if not self.guessed:
            return []
        names = few([repr(name) for name in self.guessed])
        return [
            f"layer {names} (Python): opaque, as its code does not run where a net is only looked at; its tops are "
            f"taken to have its first bottom's shape; --python-shape {self.guessed[0]}=1x3x10 gives another"
        ]

    def refuse(self, exported: Iterable[str]) -> None:
        """Raise where the shapes of one of these layers are guesses.

        Raises:
            CaffeCompatError: it names the layers.
        """
        names = [name for name in exported if name in self.guessed]
        if names:
            raise CaffeCompatError(
                f"layer {few([repr(name) for name in names])} (Python) is opaque: its code does not run for an "
                f"export, so the shapes of its tops are not known; give them, as --python-shape {names[0]}=1x3x10"
            )


_looking: ContextVar[OpaqueLayers | None] = ContextVar("nets are only looked at", default=None)
_forbidden: ContextVar[bool] = ContextVar("no Python layers", default=False)
_hints: ContextVar[dict[str, tuple[Shape, ...]]] = ContextVar("shapes of Python layers", default={})  # noqa: B039 -- never changed

_unused: ContextVar[list[str] | None] = ContextVar("hints that no layer took", default=None)
_path: ContextVar[tuple[str, ...] | None] = ContextVar("folders of Python layers", default=None)


@contextmanager
def python_path(folders: Sequence[str]) -> Iterator[None]:
    """While it holds, modules of Python layers come from these folders, those of PYTHONPATH, or the prototxt's.

    Without it (in a program of the user's own) the folders of PYTHONPATH give way to all that the program has on
    ``sys.path`` but the interpreter's own: the standard library and installed packages.
    """
    token = _path.set((*folders, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
    try:
        yield
    finally:
        _path.reset(token)


def python_folders() -> tuple[str, ...] | None:
    """The folders of :func:`python_path`; None where it does not hold."""
    return _path.get()


@contextmanager
def looking_at_nets(size: tuple[int, int] | None = None, channels: int | None = None) -> Iterator[OpaqueLayers]:
    """While it holds, nets are made without the code of their Python layers: no module is imported for them.

    For what looks at a net and computes nothing with it.

    Args:
        size: (height, width) of the pictures that a Python data layer is taken to make.
        channels: of these pictures.
    """
    opaque = OpaqueLayers(size, channels)
    token = _looking.set(opaque)
    try:
        yield opaque
    finally:
        _looking.reset(token)


def looked_at() -> OpaqueLayers | None:
    """Where to note a layer whose code does not run; None where it may."""
    return _looking.get()


@contextmanager
def allowing_python_layers(allowed: bool) -> Iterator[None]:
    """While it holds, a net with a Python layer whose code would have to run is refused unless that is `allowed`.

    Where it was not allowed before, it is not now.
    """
    token = _forbidden.set(_forbidden.get() or not allowed)
    try:
        yield
    finally:
        _forbidden.reset(token)


def forbidden() -> bool:
    """Whether :func:`allowing_python_layers` refuses such nets."""
    return _forbidden.get()


@contextmanager
def python_shapes(shapes: Mapping[str, Sequence[Shape]]) -> Iterator[list[str]]:
    """While it holds, the tops of the Python layers of these names have these shapes where nets are only looked at.

    Yields:
        The names that no such layer had; the list empties as nets are made.
    """
    unused = list(shapes)
    token = _hints.set({name: tuple(map(tuple, tops)) for name, tops in shapes.items()})
    unused_token = _unused.set(unused)
    try:
        yield unused
    finally:
        _hints.reset(token)
        _unused.reset(unused_token)


def python_shape(module: str, layer: str) -> Callable[[ShapeRule], ShapeRule]:
    """Say which shapes the tops of a Python layer's class have, in a ``--layers`` file.

    The function gets `param_str` and the bottoms' shapes, and returns a shape for each top.

    >>> from caffecompat.layers import python_shape
    >>> @python_shape("my_layers", "Halve")
    ... def halve(param_str, bottoms):
    ...     n, c, h, w = bottoms[0]
    ...     return [(n, c, h // 2, w // 2)]
    """

    def keep(rule: ShapeRule) -> ShapeRule:
        _rules[module, layer] = rule
        return rule

    return keep


def shape_rules() -> Mapping[tuple[str, str], ShapeRule]:
    """What `python_shape` was told, by module and class."""
    return _rules


def hint_for(param: Any) -> Callable[[Sequence[Shape]], list[Shape]] | None:
    """What gives the shapes of a Python layer's tops for shapes of its bottoms; None where there is no hint.

    Its result raises a CaffeCompatError where the hint has not a shape for each top, or its function fails.
    """
    name, where = param.name, param.python_param
    stated = _hints.get().get(name)
    rule = _rules.get((where.module, where.layer))
    if stated is not None:
        unused = _unused.get()
        if unused and name in unused:
            unused.remove(name)
        return lambda bottoms: _one_each(param, f"--python-shape {name}", list(stated))
    if rule is None:
        return None
    source = f"python_shape({where.module!r}, {where.layer!r})"

    def apply(bottoms: Sequence[Shape]) -> list[Shape]:
        try:
            shapes = [tuple(map(int, shape)) for shape in rule(where.param_str, bottoms)]
        except Exception as problem:
            raise CaffeCompatError(f"{source} fails: {type(problem).__name__}: {problem}") from problem
        return _one_each(param, source, shapes)

    return apply


def _one_each(param: Any, source: str, shapes: list[Shape]) -> list[Shape]:
    if len(shapes) != len(param.top):
        raise CaffeCompatError(f"{source} gives {len(shapes)} shapes, the layer has {len(param.top)} tops")
    return shapes
