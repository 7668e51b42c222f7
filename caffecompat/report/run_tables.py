"""Tables of a report, as its page's script takes them: of runs, snapshots, classes, weights, and results in JSON."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_json
from caffecompat.formats.archives import read_blobs
from caffecompat.report.log_parser import LogRow
from caffecompat.report.page import finite
from caffecompat.report.runs import Run

__all__ = [
    "Table", "class_table", "read_result", "result_tables", "run_table", "score_series", "scores_of", "snapshot_table",
    "sparsity_table",
]  # fmt: skip

Table = dict[str, Any]

_ELEMENT = re.compile(r"^(.+)_(\d+)$")
_CLASS = re.compile(r"^class(\d+)$")
_SPARSE = 0.01  # share of zeros from which a net counts as sparse
_MOST_ROWS = 2000
_EXACT = 2**53
_LISTED = 12  # values of a list in a result that are shown


def make_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "", best: Sequence[str] = ()
) -> Table:
    """A table; numbers are rounded, NaN and infinity dashes; the greatest values in the columns `best` are marked."""
    cells = [[_rounded(cell) if isinstance(cell, float) else cell for cell in row] for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        note = f"{note}{'; ' if note else ''}the first {_MOST_ROWS} of {len(rows)} rows"
    return {"title": title, "columns": list(columns), "rows": cells, "note": note, "best": list(best)}


def _rounded(value: float) -> float | None:
    """Counts that were computed stay exact."""
    return int(value) if value.is_integer() and abs(value) < _EXACT else finite(value)


def run_table(runs: Sequence[Run]) -> Table:
    """A line a run: how far it is, its loss, its best score, how fast it was."""
    columns = ["run", "state", "iteration", "loss", "score", "best", "at", "last", "iterations/s", "time"]
    rows: list[list[Any]] = []
    for run in runs:
        if run.log is None:
            last = run.snapshots[-1][0] if run.snapshots else None
            rows.append([run.name, "snapshots alone", last, *[None] * 7])
            continue
        train, test = run.log.train, [row for row in run.log.test if not row.test_net]
        state = "done" if run.finished else "not finished"
        loss = next((row.loss for row in reversed(train) if not math.isnan(row.loss)), math.nan)
        iteration = max((row.iteration for row in (*train, *test)), default=0)
        name, points = next(iter(scores_of(test).items()), ("", []))
        at, best = max(points, key=lambda point: point[1], default=(None, math.nan))
        seconds = max((row.seconds for row in (*train, *test)), default=math.nan)
        rows.append([run.name, state, iteration, loss, name or None, best, at,
                     points[-1][1] if points else math.nan, _speed(train), _clock(seconds)])  # fmt: skip
    filled = [at for at in range(len(columns)) if any(row[at] is not None and row[at] == row[at] for row in rows)]
    return make_table("", [columns[at] for at in filled], [[row[at] for at in filled] for row in rows], best=["best"])


def _clock(seconds: float) -> str | None:
    """Hours, minutes and seconds."""
    if not math.isfinite(seconds):
        return None
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _speed(rows: Sequence[LogRow]) -> float:
    """Iterations a second from the first display of the last run to its last one."""
    mine = [row for row in rows if row.run == rows[-1].run]
    if len(mine) < 2 or mine[-1].seconds <= mine[0].seconds:
        return math.nan
    return (mine[-1].iteration - mine[0].iteration) / (mine[-1].seconds - mine[0].seconds)


def scores_of(rows: Sequence[LogRow]) -> dict[str, list[tuple[int, float]]]:
    """The outputs of tests that are neither losses nor elements of vectors: (iteration, value) of each."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.values.items():
            if "loss" not in name.lower() and not _element(name, row.values) and math.isfinite(value):
                found.setdefault(name, []).append((row.iteration, value))
    return found


def _element(name: str, values: Mapping[str, float]) -> tuple[str, int] | None:
    """The vector and the class of one of its elements; None for a name that only looks so."""
    found = _CLASS.match(name)
    if found:
        return "class", int(found[1])
    found = _ELEMENT.match(name)
    alone = found is not None and not any(f"{found[1]}_{other}" in values for other in (0, 1) if str(other) != found[2])
    return (found[1], int(found[2])) if found and not alone else None


def snapshot_table(run: Run) -> Table | None:
    """A line a snapshot, with the scores that the log has of its iteration."""
    if not run.snapshots:
        return None
    tests = run.log.test if run.log else []
    names = list(scores_of(tests))
    by_iteration = {row.iteration: row.values for row in tests if not row.test_net}
    rows = [
        [iteration, *(by_iteration.get(iteration, {}).get(name) for name in names), path, _megabytes(path)]
        for iteration, path in run.snapshots
    ]
    note = "" if names else "the log has no test of them: 'caffecompat eval ... --snapshots PREFIX --json' scores them"
    return make_table(run.name, ["iteration", *names, "file", "MB"], rows, note, names)


def _megabytes(path: str) -> float:
    try:
        return os.path.getsize(path) / 1e6
    except OSError:
        return math.nan


def class_table(runs: Sequence[Run], names: Sequence[str]) -> Table | None:
    """A line a class: what the last tests of the runs, and their best ones by their first score, say of it."""
    columns: dict[str, dict[int, float]] = {}
    for run in runs:
        tests = [row for row in (run.log.test if run.log else []) if any(_element(n, row.values) for n in row.values)]
        if not tests:
            continue
        points = next(iter(scores_of(tests).values()), [])
        best = max(points, key=lambda point: point[1], default=(tests[-1].iteration, 0.0))[0]
        chosen = {row.iteration: row for row in tests if row.iteration in (best, tests[-1].iteration)}
        for row in chosen.values():
            for name, value in row.values.items():
                found = _element(name, row.values)
                if found:
                    which = f"{found[0]} at {row.iteration}"
                    title = f"{run.name}: {which}" if len(runs) > 1 else which
                    columns.setdefault(title, {})[found[1]] = value
    if not columns:
        return None
    classes = sorted({label for column in columns.values() for label in column})
    rows = [[label, names[label] if label < len(names) else "", *(column.get(label) for column in columns.values())]
            for label in classes]  # fmt: skip
    return make_table("", ["class", "name", *columns], rows)


def sparsity_table(run: Run) -> Table | None:
    """A line a blob of weights of the last snapshot, with its share of zeros; None where few weights are 0.

    Raises:
        CaffeCompatError: the snapshot cannot be read.
    """
    if not run.snapshots:
        return None
    rows, zeros, total = [], 0, 0
    for layer, blobs in read_blobs(run.snapshots[-1][1]).items():
        for at, blob in enumerate(blobs):
            if np.ndim(blob) < 2 or np.size(blob) == max(np.shape(blob)):  # biases and statistics
                continue
            none = int(np.size(blob) - np.count_nonzero(blob))
            rows.append([f"{layer}.{at}", "×".join(map(str, np.shape(blob))), int(np.size(blob)), none / np.size(blob)])
            zeros, total = zeros + none, total + int(np.size(blob))
    if total == 0 or zeros / total < _SPARSE:
        return None
    rows.append(["all weights", "", total, zeros / total])
    return make_table(f"{run.name}: {run.snapshots[-1][1]}", ["blob", "shape", "values", "share of zeros"], rows)


# ------------------------------------------------------------------------------------------------ results in JSON


def read_result(path: str) -> dict[str, Any]:
    """A result that a verb wrote with ``--json``, or as a file of its own.

    Raises:
        CaffeCompatError: it is no JSON object.
    """
    result = read_json(path, "the result")
    if not isinstance(result, dict):
        raise CaffeCompatError(f"{path}: expected a result of eval --json, quantize --report or the like, an object")
    return result


def result_tables(name: str, result: Mapping[str, Any]) -> list[Table]:
    """What a result holds: single values in one table, each list of records, or records by name, in one of its own."""
    facts: list[list[Any]] = []
    tables: list[Table] = []

    def gather(record: Mapping[str, Any], before: str) -> None:
        for key, value in record.items():
            records = _records_of(value)
            if records:
                flat = [_flat(each) for each in records]
                columns = list(dict.fromkeys(column for each in flat for column in each))
                rows = [[each.get(column) for column in columns] for each in flat]
                tables.append(make_table(f"{name}: {before}{key}", columns, rows))
            elif isinstance(value, Mapping):
                gather(value, f"{before}{key}: ")
            else:
                facts.append([f"{before}{key}", _cell(value)])

    gather(result, "")
    return [make_table(name, ["", "value"], facts), *tables] if facts else tables


def _records_of(value: Any) -> list[Mapping[str, Any]]:
    """The records of a list, or those of an object of several records of single values, by name."""
    if isinstance(value, list) and any(value) and all(isinstance(each, Mapping) for each in value):
        return value
    if (
        isinstance(value, Mapping)
        and len(value) > 1
        and all(
            isinstance(each, Mapping) and each and not any(isinstance(cell, (list, Mapping)) for cell in each.values())
            for each in value.values()
        )
    ):
        return [{"": key, **each} for key, each in value.items()]
    return []


def score_series(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Curves of the scores in results of ``eval --snapshots --json``: each score from 0 to 1, over iterations."""
    series = []
    for name, result in results.items():
        rows = [row for row in _records(result.get("snapshots")) if isinstance(row.get("iteration"), int)]
        names = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, float))
        for score in names:
            values = [row.get(score) for row in rows]
            if all(value is None or 0 <= value <= 1 for value in values):
                series.append({
                    "run": 0, "name": f"{name}: {score}", "test": True, "it": [row["iteration"] for row in rows],
                    "sec": [None] * len(rows), "y": [finite(value) for value in values], "of": len(rows),
                })  # fmt: skip
    return series


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{before}{key}: ") if isinstance(value, Mapping) else {f"{before}{key}": _cell(value)}
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        more = f", … ({len(value)})" if len(value) > _LISTED else ""
        return ", ".join(_text(each) for each in value[:_LISTED]) + more
    if isinstance(value, float):
        return _rounded(value)
    return _text(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    """What is a cell, in a cell with others."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    cell = _cell(value)
    return "–" if cell is None else f"[{cell}]" if isinstance(value, list) else str(cell)
