"""Readers of what nets are described by and leave: prototxts, weights, solver states, logs, traces, schemas, videos.

Besides an exception of the wrong kind, a value that cannot be right is a finding: what is read must have the shapes
that it says it has, and be the same when it is written and read again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from world import GOLDEN, take, world

from caffecompat.errors import CaffeCompatError

__all__ = ["NET_READS", "copies"]


def copies(*names: str) -> Callable[[Path], list[Path]]:
    """Files and folders of the world, or of tests/golden (a path with a slash), as a reader's seeds."""

    def make(folder: Path) -> list[Path]:
        made = []
        for name in names:
            source = GOLDEN / name if "/" in name else world(folder) / name
            made.append(take(source, folder / source.name))
        return made

    return make


def together(*groups: tuple[str, ...]) -> Callable[[Path], list[Path]]:
    """Folders with files of the world that belong together."""

    def make(folder: Path) -> list[Path]:
        made = []
        for at, group in enumerate(groups):
            made.append(folder / f"group{at}")
            made[-1].mkdir()
            for name in group:
                take(world(folder) / name, made[-1] / name)
        return made

    return make


def _check(right: bool, what: str) -> None:
    if not right:
        raise AssertionError(what)


def _check_text(message: Any) -> None:
    """What is written of a message reads as the same message."""
    from caffecompat.schema import parse_text, write_text

    text = write_text(message)
    _check(write_text(parse_text(text, type(message)())) == text, "the text written reads as another message")


def _read_net(path: Path) -> None:
    """A net of any age, as every verb reads it; what is written of it is the same net."""
    from caffecompat.net.filter import filter_net, make_state
    from caffecompat.schema import open_net, pb

    message = open_net(path).message
    _check_text(message)
    for phase in (pb.TRAIN, pb.TEST):
        filter_net(message, make_state(message, phase, 1, ["a"]), lambda line: None)


def _read_graph(path: Path) -> None:
    """A net's shapes, without data or weights."""
    from caffecompat.report.net_summary import summarize

    summarize(next(path.glob("*.prototxt*"), path / "net.prototxt"))


def _read_solver(path: Path) -> None:
    from caffecompat.schema import read_solver
    from caffecompat.solver.lr_policy import RateState, check_policy, learning_rate

    solver = read_solver(path)
    _check_text(solver)
    if not check_policy(solver):
        learning_rate(solver, 10, RateState())


def _read_weights(path: Path) -> None:
    """Weights as they are listed and loaded; saved and loaded again they are the same."""
    from caffecompat.formats import load_caffemodel
    from caffecompat.formats.inventory import list_weights
    from caffecompat.formats.weights import open_weights

    list_weights(path, stats=True)
    for layer in open_weights(path).layers:
        for blob in layer.blobs:
            if blob is not None and blob.has_diff:
                values = blob.diff()
                _check(values is None or values.size == blob.count, "a diff of another size")
    blobs = load_caffemodel(path)
    for name, arrays in blobs.items():
        for array in arrays:
            _check(array.dtype.kind == "f", f"{name}: {array.dtype}")


def _read_state(path: Path) -> None:
    from caffecompat.formats.solverstate import read_solverstate, write_solverstate

    state = read_solverstate(path)
    _check(state.iter >= 0, f"iteration {state.iter}")
    target = path.with_name("again.solverstate")
    write_solverstate(target, state)
    again = read_solverstate(target)
    same = [
        a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(state.history, again.history, strict=True)
    ]
    _check(
        all(same) and (again.iter, again.learned_net) == (state.iter, state.learned_net), "the state written differs"
    )


def _read_resume(path: Path) -> None:
    from caffecompat.formats.resume_file import encode_resume, read_resume

    file = read_resume(path)
    try:
        encode_resume(file.content)
    except TypeError as problem:  # of what no file of ours holds
        raise CaffeCompatError(str(problem)) from None


def _read_log(path: Path) -> None:
    import io

    from caffecompat.report.log_parser import parse_log, write_csv
    from caffecompat.report.training_curve import curve_names

    log = parse_log(path)
    curve_names(log)
    for test in (False, True):
        write_csv(io.StringIO(), log.table(test))


def _read_traces(path: Path) -> None:
    """A folder of blobs against itself, of any layout."""
    from caffecompat.report.blob_differences import compare_blobs, nonfinite_lines, table_lines

    found = compare_blobs(path, path)
    table_lines(found.blobs)
    nonfinite_lines(found.blobs)
    _check(not found.over(0.0), "a folder differs from itself")


def _read_video(path: Path) -> None:
    """As segment reads it, and as the VideoData layer does."""
    from readers import _next

    from caffecompat.data.video_frames import Video

    for _, frame in Video(str(path)):
        _check(frame.ndim == 3 and frame.dtype == np.uint8, "no picture")
    _next(f'name: "d" type: "VideoData" top: "data" top: "label" data_param {{ batch_size: 2 }} '
          f'video_data_param {{ video_type: VIDEO video_file: "{path}" }}', 1)  # fmt: skip


_FORK_CHECK = """
import sys
from caffecompat.errors import CaffeCompatError
from caffecompat.schema import user_proto
try:
    user_proto.use_proto("mine.proto")
except CaffeCompatError:
    sys.exit(1)
from caffecompat.schema import parse_text, pb, write_text
write_text(parse_text('name: "x" layer { name: "y" type: "Z" mine_param { count: 1 } }', pb.NetParameter()))
"""


def _read_proto(path: Path) -> None:
    """A fork's schema, with which a net is read, in a process of its own: a schema can be chosen once."""
    command = [sys.executable, "-c", _FORK_CHECK]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=60)
    if done.returncode == 1 and not done.stderr:
        raise CaffeCompatError("refused")
    _check(done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-300:]}")


def _read_small_text(path: Path) -> None:
    """Palettes, lists of classes, maps of names from torch."""
    from caffecompat.net.torch_map import read_map
    from caffecompat.report.palette import load_palette, read_names

    if path.name.endswith("palette.txt"):
        load_palette(str(path), classes=3)
    elif path.name.endswith("map.txt"):
        read_map(path)
    else:
        read_names(str(path))


def _small_texts(folder: Path) -> list[Path]:
    made = copies("palette.txt", "classes.txt")(folder)
    (folder / "map.txt").write_text("# layers\nconv <- features.0  # 4x3x3x3\nfc <- classifier.1\n")
    return [*made, folder / "map.txt"]


_NETS = ("deploy.prototxt", "train_val.prototxt", "stored.prototxt", "v1.prototxt", "v0.prototxt")
_GOLDEN_NETS = ("cli/train_val.prototxt", "detection/train.prototxt", "detection/test.prototxt")

_GRAPHS = (
    *(("deploy.prototxt",), ("v1.prototxt",), ("v0.prototxt",), ("ssd.prototxt",)),
    *(("stored.prototxt", "db", "mean.binaryproto"), ("train_val.prototxt", "list.txt", "a.png")),
)
# name: (what makes sound files, what reads one)
NET_READS: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path], object]]] = {
    "net": (copies(*_NETS, *_GOLDEN_NETS), _read_net),
    "graph": (together(*_GRAPHS), _read_graph),
    "solver": (copies("solver.prototxt", "adam.prototxt", "old_solver.prototxt", "detection/solver_Integral.prototxt"),
               _read_solver),
    "caffemodel": (copies("net.caffemodel", "v1.caffemodel", "v0.caffemodel", "cli/snap_iter_40.caffemodel"),
                   _read_weights),
    "hdf5 weights": (copies("net.caffemodel.h5", "h5_iter_2.caffemodel.h5"), _read_weights),
    "solverstate": (copies("solver_iter_2.solverstate", "adam_iter_3.solverstate", "cli/snap_iter_40.solverstate",
                           "h5_iter_2.solverstate.h5"), _read_state),
    "resume": (copies("solver_iter_2.resume", "adam_iter_3.resume"), _read_resume),
    "log": (copies("train.log", "resume.log", "ssd.log"), _read_log),
    "traces": (copies("desktop", "tidl"), _read_traces),
    "video": (copies("film.avi", "film.mp4"), _read_video),
    "proto": (together(("mine.proto", "imported.proto")), _read_proto),
    "small text": (_small_texts, _read_small_text),
}  # fmt: skip
