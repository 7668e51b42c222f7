"""Two nets side by side on one self-contained page, what differs marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from caffecompat.report.net_diff_text import SIGNS, Named, Sentence
from caffecompat.report.page import make_page
from caffecompat.schema.diff import LayerDiff, NetDiff
from caffecompat.schema.diff_graph import DiffLayer

if TYPE_CHECKING:
    from caffecompat.report.net_comparison import Measured

__all__ = ["diff_page"]

_KEPT = 2  # unchanged layers shown around a change
_NAMES = 8  # of a list in the summary shown at once
_KINDS = ("added", "removed", "changed", "moved", "renamed", "same")

Shapes = dict[int, list[tuple[int, ...]]]


def diff_page(
    name_a: str,
    name_b: str,
    diff: NetDiff,
    counts: str,
    summary: Sequence[Sentence],
    measured: tuple[Measured, Measured] | None = None,
) -> str:
    """The page's HTML, without anything from elsewhere.

    Args:
        counts: how many layers there are, in a line.
        summary: what changed, shown above the layers; the layers it names are links to theirs.
        measured: both nets, built, for the shapes of the tops.
    """
    kinds = Counter(row.kind for row in diff.layers)
    boxes = "".join(
        f'<label class="{kind}"><input type="checkbox" value="{kind}" checked> {kinds[kind]} {kind}</label>'
        for kind in _KINDS
        if kinds[kind]
    )
    changes = sum(kinds.values()) - kinds["same"]
    steps = (
        '<span class="steps"><button id="back" title="previous change (key p)">&#8593;</button>'
        f'<span id="at">{changes} changes</span>'
        '<button id="on" title="next change (key n)">&#8595;</button></span>'
    )
    short = _short(name_a, name_b)
    shapes = [one.tops for one in measured] if measured else [{}, {}]
    body = "\n".join([
        f'<button class="theme"></button><h1>Two nets compared</h1><p>{escape(counts.strip())}</p>',
        *(_summary(summary) if summary else ["<p>There is no difference.</p>"]),
        f'<nav><div class="bar">{boxes}{steps if changes else ""}</div>',
        f'<div class="head">{_head("A", name_a, short[0])}{_head("B", name_b, short[1])}</div></nav>',
        "<main>",
        *_rows(diff.layers, shapes),
        "</main>",
    ])  # fmt: skip
    return make_page(f"{short[0]} and {short[1]}", body, {}, styles=["net_diff.css"], scripts=["net_diff.js"])


def _short(name_a: str, name_b: str) -> tuple[str, str]:
    """Both names without the folders that they share."""
    a, b = name_a.split("/"), name_b.split("/")
    while len(a) > 1 and len(b) > 1 and a[0] == b[0]:
        a, b = a[1:], b[1:]
    return "/".join(a), "/".join(b)


def _head(letter: str, name: str, short: str) -> str:
    folder, slash, last = short.rpartition("/")
    return f'<div title="{escape(name)}"><b>{letter}</b> <span>{escape(folder + slash)}</span>{escape(last)}</div>'


# ------------------------------------------------------------------------------------------------ the summary


def _summary(summary: Sequence[Sentence]) -> Iterable[str]:
    """Sentences in sections; the names of layers lead to them."""
    section = ""
    for sentence in summary:
        if sentence.section != section:
            yield ("</ul>" if section else "") + f'<h2>{escape(sentence.section)}</h2><ul class="sentences">'
            section = sentence.section
        text = "".join(_link(piece) for piece in sentence.pieces)
        names = [_link(name) for name in sentence.names]
        shown = f": {', '.join(names[:_NAMES])}" if names else ""
        if len(names) > _NAMES + 1:
            rest = f"<summary>and {len(names) - _NAMES} more</summary>{', '.join(names[_NAMES:])}"
            shown += f" <details>{rest}</details>"
        elif len(names) > _NAMES:
            shown += f", {names[_NAMES]}"
        kind, sign = sentence.kind or "plain", SIGNS[sentence.kind].strip()
        yield f'<li class="{kind}"><b>{sign}</b><div>{text}{shown}</div></li>'
    yield "</ul>"


def _link(piece: str | Named) -> str:
    return escape(piece) if isinstance(piece, str) else f'<a href="#r{piece.row}">{escape(piece.text)}</a>'


# ------------------------------------------------------------------------------------------------ the layers


def _rows(layers: Sequence[LayerDiff], shapes: Sequence[Shapes]) -> Iterable[str]:
    """Every row; long runs of unchanged layers are folded, all but the ends that give a change its surroundings."""
    run: list[tuple[int, LayerDiff]] = []
    for at, row in enumerate([*layers, None]):
        if row is not None and row.kind == "same":
            run.append((at, row))
            continue
        before = _KEPT if len(run) < at else 0
        behind = _KEPT if row is not None else 0
        folded = run[before : len(run) - behind] if len(run) < len(layers) else []
        if len(folded) > 1:
            yield from (_row(*each, shapes) for each in run[:before])
            yield f'<details class="fold"><summary>{len(folded)} layers the same</summary>'
            yield from (_row(*each, shapes) for each in folded)
            yield "</details>"
            yield from (_row(*each, shapes) for each in run[len(run) - behind :])
        else:
            yield from (_row(*each, shapes) for each in run)
        run = []
        if row is not None:
            yield _row(at, row, shapes)


def _row(at: int, row: LayerDiff, shapes: Sequence[Shapes]) -> str:
    sides = [
        _cell(layer, row, side, shapes[side]) if layer is not None else '<div class="cell none"></div>'
        for side, layer in enumerate((row.a, row.b))
    ]
    return f'<div class="row {row.kind}" id="r{at}">{"".join(sides)}</div>'


def _cell(layer: DiffLayer, row: LayerDiff, side: int, shapes: Shapes) -> str:
    tops = ", ".join("×".join(map(str, shape)) or "scalar" for shape in shapes.get(layer.position, []))
    name = escape(layer.name) or "(no name)"
    name = f"<mark>{name}</mark>" if row.renamed else name
    wires = f"{escape(', '.join(layer.bottoms))} → {escape(', '.join(layer.tops))}".strip()
    parts = [
        f'<div class="first"><span class="name">{name}</span> <span class="type">{escape(layer.type)}</span>'
        f'<span class="shape">{tops}</span></div>',
        f'<div class="wire">{f"<mark>{wires}</mark>" if row.rewired else wires}</div>',
    ]
    values = [(change.path, (change.a, change.b)[side]) for change in row.changes]
    parts += [f'<div class="say">{_path(path)}: <mark>{escape(value or "(not set)")}</mark></div>'
              for path, value in values]  # fmt: skip
    return f'<div class="cell">{"".join(parts)}</div>'


def _path(path: str) -> str:
    """A field, with places to break its line."""
    return escape(path).replace("_", "_<wbr>").replace(".", ".<wbr>")
