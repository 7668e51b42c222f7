"""TIDL's layer traces, as edgeai-tidl-tools ``docs/debugging.md`` (2ff3cd9) describes them.

A run with ``debug_level`` 4 leaves a file for each layer::

    tidl_trace_subgraph_0_0001_0001_0001_00004_00002_000128x00064_float.bin

float32 in the order of 1x1x4x2x64x128: of subgraph 0 and layer 1, then batch, two further dimensions, channels, and
width x height. The older form has no further dimensions (``tidl_osr_debug.md``). The compiler's ``*.layer_info.txt``
has a line for each layer, "layer number, number of its data, name in the model"; names are those of ONNX values.
Fixed-point traces (``.y``) carry no scale, so their numbers mean nothing by themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.atomic import atomic_write, make_folder

__all__ = ["LAYER_INFO", "TidlTrace", "find_traces", "trace_name", "write_tidl_trace"]

LAYER_INFO = "subgraph_0_tidl_net.bin.layer_info.txt"  # what TIDL calls the one of a whole net

_SIZES = r"(?P<sizes>\d{1,9}(?:_\d{1,9})+)_(?P<w>\d{1,9})x(?P<h>\d{1,9})_float\.bin"
_TRACE = re.compile(r"tidl_trace_(?:subgraph_)?(?P<graph>\d{1,9})_" + _SIZES, re.ASCII)
_OLD = re.compile(r"tidl_trace" + _SIZES, re.ASCII)
_LINE = re.compile(r"\s*\S+\s+(\d{1,9})\s+(\S.*)", re.ASCII)  # of a layer_info.txt: layer, data, name


class TidlTrace:
    """One trace file.

    Attributes:
        path: of the file.
        graph, number: of the subgraph and of its layer.
        shape: of the values; axes of size 1 in front are left out down to 4.
    """

    def __init__(self, path: Path, graph: int, number: int, shape: tuple[int, ...]) -> None:
        self.path, self.graph, self.number = path, graph, number
        while len(shape) > 4 and shape[0] == 1:
            shape = shape[1:]
        self.shape = shape

    def read(self) -> np.ndarray:
        """The values, float32.

        Raises:
            CaffeCompatError: the file cannot be read, or does not hold as many as its name says.
        """
        try:
            values = np.fromfile(self.path, "<f4")
        except OSError as problem:
            raise CaffeCompatError(f"{self.path}: cannot be read: {problem.strerror}") from None
        try:
            return values.reshape(self.shape)
        except ValueError:  # also of axes that numpy cannot have
            raise CaffeCompatError(f"{self.path}: {values.size} values, its name says {self.shape}") from None


def trace_name(number: int, shape: tuple[int, ...]) -> str:
    """The name of the file for a layer's values of up to 6 axes, the last two height and width."""
    batch, one, two, channels, height, width = (*[1] * (6 - len(shape)), *shape)
    if len(shape) == 4:
        batch, channels = shape[:2]
        one = two = 1
    sizes = f"{batch:04d}_{one:04d}_{two:05d}_{channels:05d}_{width:06d}x{height:05d}"
    return f"tidl_trace_subgraph_0_{number:04d}_{sizes}_float.bin"


def find_traces(folder: str | os.PathLike[str]) -> dict[str, TidlTrace]:
    """The float traces of a folder by the names that its ``*.layer_info.txt`` has for them, in order of the layers.

    Raises:
        CaffeCompatError: there are traces, but not one with values that mean something, no list of names, or
            two traces of one layer.
    """
    folder = Path(folder)
    traces = [trace for path in sorted(folder.glob("tidl_trace*_float.bin")) if (trace := _parsed(path))]
    if not traces:
        if any(folder.glob("tidl_trace*.y")):
            raise CaffeCompatError(
                f"{folder}: fixed-point traces alone, which carry no scale; run with debug_level 4 for *_float.bin"
            )
        return {}
    names = _names(folder)
    if not names:
        raise CaffeCompatError(
            f"{folder}: traces, but no *.layer_info.txt that names their layers; copy it from the artifacts' tempDir"
        )
    found: dict[tuple[int, int], TidlTrace] = {}
    for trace in sorted(traces, key=lambda trace: (trace.graph, trace.number)):
        other = found.setdefault((trace.graph, trace.number), trace)
        if other is not trace:
            raise CaffeCompatError(f"{folder}: {other.path.name} and {trace.path.name} are of one layer")
    return {names.get(place, f"{place[0]}/{place[1]}"): trace for place, trace in found.items()}


def _parsed(path: Path) -> TidlTrace | None:
    match = _TRACE.fullmatch(path.name) or _OLD.fullmatch(path.name)
    if match is None:
        return None
    number, *sizes = (int(size) for size in match["sizes"].split("_"))
    graph = int(match.groupdict().get("graph", 0))
    return TidlTrace(path, graph, number, (*sizes, int(match["h"]), int(match["w"])))


def _names(folder: Path) -> dict[tuple[int, int], str]:
    """Names by subgraph and number of the data."""
    names = {}
    for path in sorted(folder.glob("*layer_info.txt")):
        found = re.search(r"subgraph_(\d{1,9})", path.name)
        graph = int(found[1]) if found else 0
        for line in read_text(path, "the names of the layers", errors="replace").splitlines():
            parts = _LINE.match(line)
            if parts:
                names[graph, int(parts[1])] = parts[2].strip()
    return names


def write_tidl_trace(folder: str | os.PathLike[str], values: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write named values of up to 6 axes as TIDL writes its layers' ones, with the list of names; how many.

    Values with more axes have no place there and are left out.
    """
    make_folder(folder)
    names: list[str] = []
    for name, array in values:
        if array.ndim <= 6:
            with atomic_write(os.path.join(folder, trace_name(len(names), array.shape))) as file:
                file.write(np.ascontiguousarray(array, "<f4").tobytes())
            names.append(name)
    with atomic_write(os.path.join(folder, LAYER_INFO)) as file:
        file.write("".join(f"{number} {number} {name}\n" for number, name in enumerate(names)).encode())
    return len(names)
