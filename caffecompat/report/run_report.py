"""Training runs as one page to look at: curves, scores, predictions, what differs between their nets."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from typing import Any

from caffecompat import glog
from caffecompat.arguments import as_count
from caffecompat.errors import CaffeCompatError
from caffecompat.formats.atomic import atomic_write, protected_files
from caffecompat.report.net_diff_page import diff_page
from caffecompat.report.net_diff_text import field_sentences, layer_sentences
from caffecompat.report.page import finite, make_page
from caffecompat.report.palette import Palette, load_palette, read_names
from caffecompat.report.predictions import Prediction, picture_uri, predict
from caffecompat.report.run_tables import (
    Table,
    class_table,
    read_result,
    result_tables,
    run_table,
    score_series,
    snapshot_table,
    sparsity_table,
)
from caffecompat.report.runs import Run, find_runs
from caffecompat.report.training_curve import curve_panels
from caffecompat.schema import write_text
from caffecompat.schema.diff import diff_documents, diff_solvers

__all__ = ["predictions_of", "report_runs", "run_page"]

_POINTS = 3000  # of a curve on the page
_MORE_PANELS = {"iterations a second": ["speed"], "sparsity": ["sparsity"]}
_SENTENCES = 24  # of a kind

PathLike = str | os.PathLike[str]


def report_runs(
    runs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    classes: str | None = None,
    palette: str | None = None,
    pictures: int = 6,
) -> None:
    """Write one self-contained page about training runs.

    It has curves of the logs, scores of snapshots and classes, what the newest snapshots make of the first test
    pictures, what differs between the nets, shares of zeros, and the tables of results in JSON. What cannot be shown is
    a note on the page.

    Args:
        runs: logs of any Caffe, prefixes of snapshots, folders (their logs and results), and results in JSON (of
            ``eval --json``, ``quantize --report``, ...).
        out: .html to write.
        classes: file with class names, one a line; or "cityscapes", "voc".
        palette: their colors, as `load_palette` takes it.
        pictures: how many predictions to show for each run; 0 runs no net.

    Raises:
        CaffeCompatError: one of `runs` is something else or cannot be read, or there are no runs. In folders, what is
            neither a log nor a result is left out, and a note says so.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.report_runs("train.log", "report.html")
    """
    paths = [os.fspath(run) for run in ([runs] if isinstance(runs, (str, os.PathLike)) else runs)]
    pictures = as_count(pictures, "pictures", 0) or 0
    names = read_names(classes) if classes else ()
    colors = load_palette(palette, names)
    notes: list[str] = []
    named = {path for path in paths if not os.path.isdir(path)}
    inner = [each for path in paths for each in ([path] if path in named else _in_folder(path))]
    paths = list({os.path.realpath(path): path for path in inner}.values())
    left_out: list[CaffeCompatError] = []

    def leave_out(path: str, problem: CaffeCompatError) -> None:
        """What is found in a folder may be anything; what was named has to be what it is named for."""
        if path in named:
            raise problem
        left_out.append(problem)

    results = {}
    for path in paths:
        if path.endswith(".json"):
            try:
                results[path] = read_result(path)
            except CaffeCompatError as problem:
                leave_out(path, problem)
    found = find_runs((path for path in paths if not path.endswith(".json")), leave_out)
    if left_out and not found and not results:
        raise left_out[0]
    notes += [f"left out: {problem}" for problem in left_out]
    if not found and not results:
        raise CaffeCompatError("nothing to report: give logs, prefixes of snapshots, or results in JSON")
    read = [*results, *(path for run in found for path in (*run.paths, *(path for _, path in run.snapshots)))]
    predictions = [(run.name, predictions_of(run, pictures, notes, colors)) for run in found] if pictures else []
    for note in notes:
        glog.warning(note)
    with protected_files(read), atomic_write(out) as file:
        file.write(run_page(found, results, predictions, names=colors.names, notes=notes).encode())


def _in_folder(folder: str) -> list[str]:
    found = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith((".log", ".json"))]
    if not found:
        raise CaffeCompatError(f"{folder} is a folder without logs (.log) and results (.json)")
    return found


def predictions_of(run: Run, count: int, notes: list[str], palette: Palette | None = None) -> list[Prediction]:
    """What the run's newest snapshot makes of its first test records; why there are none is added to the notes."""
    net = run.net(1)
    missing = "the net that it tests is neither in its log nor in a file here" if net is None else ""
    missing = missing or ("" if run.snapshots else "no snapshot of it is here")
    if not missing and net is not None:
        try:
            return predict(net, run.snapshots[-1][1], count, palette or load_palette(None))
        except CaffeCompatError as problem:
            missing = " ".join(str(problem).split())
    notes.append(f"no predictions of {run.name}: {missing}")
    return []


def run_page(
    runs: Sequence[Run],
    results: dict[str, dict[str, Any]],
    predictions: Sequence[tuple[str, Sequence[Prediction]]] = (),
    *,
    names: Sequence[str] = (),
    notes: Sequence[str] = (),
    updated: str = "",
) -> str:
    """The page's HTML.

    Args:
        results: by file name.
        predictions: of the runs by name.
        names: of the classes.
        updated: when the page was written, for one that is written again while a training goes on.
    """
    said = list(notes)
    data: dict[str, Any] = {"panels": _panels(runs, results), "tables": [], "live": bool(updated)}
    sections: list[tuple[str, str, str]] = []  # anchor, title, HTML

    def add(anchor: str, title: str, tables: Sequence[Table | None], after: str = "") -> None:
        numbers = []
        for table in tables:
            if table is not None:
                numbers.append(len(data["tables"]))
                data["tables"].append(table)
        text = "".join(f'<div class="table" data-table="{number}"></div>' for number in numbers) + after
        if text:
            sections.append((anchor, title, text))

    add("runs", "Runs", [run_table(runs)] if runs else [])
    if data["panels"]:
        sections.append(("curves", "Curves", _CURVES))
    add("snapshots", "Snapshots and their scores", [snapshot_table(run) for run in runs])
    add("classes", "Classes", [class_table(runs, names)])
    add("predictions", "Predictions beside labels", [], _pictures(predictions))
    add("results", "Results", [table for name, result in results.items() for table in result_tables(name, result)])
    add("differences", "What differs between the nets", [], "" if updated else _differences(runs))
    add("sparsity", "Weights that are 0", [] if updated else [_sparsity(run, said) for run in runs])
    add("commands", "Commands, versions, solvers", [], "".join(map(_command, runs)))
    title = ", ".join(run.name for run in runs[:3]) or next(iter(results), "report")
    body = _body(title, sections, said, updated)
    return make_page(f"{title}: report", body, data, styles=["report.css"], scripts=["charts.js", "report.js"])


_CURVES = """<div class="bar"><label>over <select id="over"><option value="it">iterations</option>
<option value="sec">time</option></select> <span id="unit"></span></label>
<label>mean over <input id="smooth" type="range" min="0" max="6" value="0"><output id="smoothed">1</output>
displays</label> <label><input id="log" type="checkbox"> logarithmic loss</label>
<button id="whole" disabled>whole range</button>
<span class="hint">drag: zoom, double-click: all of it, point: values, click on a name: hide it</span></div>
<div id="charts"></div>"""


def _panels(runs: Sequence[Run], results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Curves by panel, of all runs together; x in iterations and in seconds. Scores of snapshots come last."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        if run.log is None:
            continue
        kinds = [
            curve_panels(run.log, x, {}) | {
                title: curves[name] for title, (name,) in _MORE_PANELS.items()
                for curves in [curve_panels(run.log, x, {name: [name]})]
            }
            for x in ("iterations", "seconds")
        ]  # fmt: skip
        for title, curves in kinds[0].items():
            for by_iteration, by_second in zip(curves, kinds[1][title], strict=True):
                kept = _thinned(by_iteration.y)
                panels.setdefault(title, []).append({
                    "run": number, "name": f"{run.name}: {by_iteration.name}" if len(runs) > 1 else by_iteration.name,
                    "test": by_iteration.dashed, "it": [finite(by_iteration.x[at], 9) for at in kept],
                    "sec": [finite(by_second.x[at], 9) for at in kept],
                    "y": [finite(by_iteration.y[at]) for at in kept], "of": len(by_iteration.y),
                })  # fmt: skip
    panels["scores of snapshots"] = score_series(results)
    return [{"title": title, "series": series} for title, series in panels.items() if series]


def _thinned(values: Sequence[float]) -> list[int]:
    """Which points of a curve the page keeps: of each stretch the least and the greatest, and all gaps."""
    count = len(values)
    if count <= _POINTS:
        return list(range(count))
    step = 2 * count / _POINTS
    kept = {0, count - 1}
    for part in range(_POINTS // 2):
        places = range(int(part * step), min(int((part + 1) * step), count))
        known = [at for at in places if math.isfinite(values[at])]
        kept.update(at for at in places if math.isnan(values[at]))
        if known:
            kept |= {min(known, key=values.__getitem__), max(known, key=values.__getitem__)}
    return sorted(kept)


def _pictures(predictions: Sequence[tuple[str, Sequence[Prediction]]]) -> str:
    parts = []
    for name, rows in predictions:
        if rows:
            parts.append(f"<h3>{escape(name)}</h3>")
        for row in rows:
            shown = "".join(
                f'<figure><img src="{picture_uri(picture)}" alt="{escape(title)}"><figcaption>{escape(title)}'
                "</figcaption></figure>"
                for title, picture in row.pictures
            )
            parts.append(f'<div class="record">{shown}<p>{escape(row.text)}</p></div>')
    return "".join(parts)


def _differences(runs: Sequence[Run]) -> str:
    """The first run's net and solver against those of each other run."""
    parts = []
    for other in runs[1:]:
        lines: list[str] = []
        first = runs[0]
        if first.solver is not None and other.solver is not None:
            lines += [sentence.text for sentence in field_sentences(diff_solvers(first.solver, other.solver))]
        page = ""
        a, b = first.net(0), other.net(0)
        if a is not None and b is not None:
            diff = diff_documents(a, b)
            if not diff.empty:
                sentences = [*field_sentences(diff.fields), *layer_sentences(diff, _SENTENCES)]
                lines += [
                    sentence.text + "".join(f", {_text(name)}" for name in sentence.names) for sentence in sentences
                ]
                page = diff_page(first.name, other.name, diff, "", sentences)
        parts.append(f"<h3>{escape(first.name)} and {escape(other.name)}</h3>")
        listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f"<ul>{listed}</ul>" if lines else "<p>Nothing differs, as far as the logs repeat it.</p>")
        if page:
            parts.append(
                f'<details class="diff"><summary>both nets side by side</summary><iframe srcdoc="{escape(page)}" '
                f'title="{escape(f"{first.name} and {other.name}")}"></iframe></details>'
            )
    return "".join(parts)


def _text(name: object) -> str:
    return name if isinstance(name, str) else str(getattr(name, "text", name))


def _sparsity(run: Run, notes: list[str]) -> Table | None:
    try:
        return sparsity_table(run)
    except CaffeCompatError as problem:
        notes.append(f"no count of zeros: {problem}")
        return None


def _command(run: Run) -> str:
    times = f"{run.started} to {run.ended}" if run.started else ""
    rows = {"logs": ", ".join(run.paths), "command": run.command, "versions": run.versions, "from, to": times}
    cells = "".join(f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in rows.items() if text)
    solver = ""
    if run.solver is not None:
        solver = f"<details><summary>solver</summary><pre>{escape(write_text(run.solver).strip())}</pre></details>"
    return f"<h3>{escape(run.name)}</h3><table>{cells}</table>{solver}"


def _body(title: str, sections: Sequence[tuple[str, str, str]], notes: Sequence[str], updated: str) -> str:
    links = "".join(f'<a href="#{anchor}">{anchor}</a>' for anchor, _, _ in sections)
    follow = (
        f'<label id="live" title="reads the page again every half minute"><input id="follow" type="checkbox" checked> '
        f"{escape(updated)}</label>"
    )
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return "\n".join([
        f'<header><h1>{escape(title)}</h1><nav>{links}</nav>{follow if updated else ""}<button class="theme"></button>'
        "</header><main>",
        *(f'<section id="{anchor}"><h2>{heading}</h2>{text}</section>' for anchor, heading, text in sections),
        f'<section id="notes"><h2>Notes</h2><ul>{said}</ul></section>' if notes else "",
        "</main>",
    ])  # fmt: skip
