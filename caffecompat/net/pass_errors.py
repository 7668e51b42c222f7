"""Errors of a pass: they name the layer that refused, and the record that a wrong label was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

from caffecompat.errors import CaffeCompatError, notes
from caffecompat.layers import Layer, LayerError
from caffecompat.layers.layer import LabelError
from caffecompat.net.layer import NetLayer
from caffecompat.net.shapes import TORCH_REFUSES
from caffecompat.schema import pb

__all__ = ["REFUSED", "explain", "naming_layers"]

REFUSED = (CaffeCompatError, *TORCH_REFUSES)  # what a computation that cannot be done raises


def explain(problem: Exception, check: Callable[[], object], layers: Iterable[NetLayer]) -> None:
    """Raise an error that says more than `problem`, where there is more to say.

    Args:
        problem: what a computation ended with.
        check: infers the shapes of what was to be computed; it raises an error that names the layer.
        layers: those whose sources may have read a wrong label.
    """
    if not notes(problem) and not str(problem).startswith("layer "):  # else it says where it comes from
        check()
        refusing = _layer_of(problem) if isinstance(problem, LayerError) else None
        if refusing is not None:  # because of the values of a bottom
            raise LayerError(f"layer {refusing.name!r} ({refusing.type}): {problem}") from None
    record = _record(layers, problem) if isinstance(problem, LabelError) else ""
    if record:
        assert isinstance(problem, LabelError)
        raise LabelError(f"{problem}\n  the label was read from {record}", problem.blob, problem.item) from None


@contextmanager
def naming_layers(check: Callable[[], object], layers: Iterable[NetLayer]) -> Iterator[None]:
    """Let a computation end with the error that :func:`explain` makes of its own."""
    try:
        yield
    except REFUSED as problem:
        explain(problem, check, layers)
        raise


def _layer_of(problem: LayerError) -> pb.LayerParameter | None:
    """The parameters of the layer whose code raised an error; None where it came from elsewhere."""
    callers = [frame.f_locals.get("self") for frame, _ in walk_tb(problem.__traceback__)]
    return next((caller.param for caller in reversed(callers) if isinstance(caller, Layer)), None)


def _record(layers: Iterable[NetLayer], error: LabelError) -> str:
    """The file, line of a list or record of a database that a label was read from.

    Known for labels that a data layer made; those that other layers cut or change stay without.
    """
    sources = (layer.source for layer in layers if layer.source is not None and error.blob in layer.tops)
    return next((source.describe(error.item) for source in sources), "")
