"""Two nets side by side on one self-contained page, what differs marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from caffecompat.schema.diff import LayerDiff, NetDiff
from caffecompat.schema.diff_graph import DiffLayer

if TYPE_CHECKING:
    from caffecompat.report.net_comparison import Measured

__all__ = ["diff_page"]

_KEPT = 2  # unchanged layers shown around a change
_KINDS = ("added", "removed", "changed", "moved", "renamed", "same")

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --page: #ffffff; --text: #1f2328;
  --added: #dafbe1; --removed: #ffebe9; --changed: #fff8c5; --renamed: #ddf4ff; --moved: #fbefff; --gap: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #8b949e; --page: #0d1117; --text: #e6edf3;
  --added: #12361f; --removed: #4a1a1d; --changed: #3b2f0a; --renamed: #0c2d48; --moved: #32194a; --gap: #161b22; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 16px; background: var(--page); color: var(--text);
  font: 14px/1.4 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0 0 8px; }
pre { background: var(--gap); border: 1px solid var(--line); border-radius: 6px; padding: 10px; overflow-x: auto;
  font: 12px/1.45 ui-monospace, monospace; white-space: pre-wrap; }
nav { position: sticky; top: 0; background: var(--page); padding: 8px 0; display: flex; gap: 14px; flex-wrap: wrap;
  z-index: 1; }
nav label { padding: 1px 8px; border-radius: 10px; border: 1px solid var(--line); cursor: pointer; }
.row, .head { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; margin-bottom: 3px; }
.head { font-weight: 600; overflow-wrap: anywhere; margin: 8px 0; }
.cell { border: 1px solid var(--line); border-radius: 6px; padding: 3px 8px; min-width: 0; overflow-wrap: anywhere; }
.cell.none { border-style: dashed; opacity: .45; }
.name { font-weight: 600; } .type, .shape, .wire { color: var(--soft); }
.shape { float: right; font: 12px ui-monospace, monospace; }
.wire, .say { font-size: 12px; } .say { font-family: ui-monospace, monospace; }
.row.added .cell:not(.none) { background: var(--added); }
.row.removed .cell:not(.none) { background: var(--removed); }
.row.changed .cell { background: var(--changed); } .row.renamed .cell { background: var(--renamed); }
.row.moved .cell { background: var(--moved); }
nav .added { background: var(--added); } nav .removed { background: var(--removed); }
nav .changed { background: var(--changed); } nav .renamed { background: var(--renamed); }
nav .moved { background: var(--moved); }
mark { background: none; color: inherit; text-decoration: underline; text-decoration-thickness: 2px; }
details > summary { cursor: pointer; color: var(--soft); background: var(--gap); border-radius: 6px;
  padding: 2px 8px; margin-bottom: 3px; }
"""

# A check box a kind: rows of a kind that is off are hidden.
_SCRIPT = """
for (const box of document.querySelectorAll('nav input')) box.addEventListener('change', () => {
  for (const row of document.querySelectorAll('.row.' + box.value)) row.style.display = box.checked ? '' : 'none';
  if (box.value === 'same')
    for (const fold of document.querySelectorAll('details')) fold.style.display = box.checked ? '' : 'none';
});
"""


def diff_page(
    name_a: str, name_b: str, diff: NetDiff, summary: Sequence[str], measured: tuple[Measured, Measured] | None = None
) -> str:
    """The page's HTML, without anything from elsewhere.

    Args:
        summary: lines of the text report, shown above the layers.
        measured: both nets, built, for the shapes of the tops.
    """
    counts = Counter(row.kind for row in diff.layers)
    boxes = "".join(
        f'<label class="{kind}"><input type="checkbox" value="{kind}" checked> {counts[kind]} {kind}</label>'
        for kind in _KINDS
        if counts[kind]
    )
    shapes = [one.tops for one in measured] if measured else [{}, {}]
    title = f"{escape(name_a)} and {escape(name_b)}"
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        "<h1>Two nets compared</h1>",
        f"<pre>{escape(chr(10).join(summary))}</pre>",
        f"<nav>{boxes}</nav>",
        f'<div class="head"><div>A: {escape(name_a)}</div><div>B: {escape(name_b)}</div></div>',
        "<main>",
        *_rows(diff.layers, shapes),
        f"</main><script>{_SCRIPT}</script></body></html>",
        "",
    ])  # fmt: skip


def _rows(layers: Sequence[LayerDiff], shapes: Sequence[dict[int, list[tuple[int, ...]]]]) -> Iterable[str]:
    """Every row; long runs of unchanged layers are folded, all but the ends that give a change its surroundings."""
    run: list[LayerDiff] = []
    for row in [*layers, None]:
        if row is not None and row.kind == "same":
            run.append(row)
            continue
        before = _KEPT if len(run) < len(layers) else 0
        folded = run[before : len(run) - _KEPT]
        shown = len(folded) > 1
        if shown:
            yield from (_row(each, shapes) for each in run[:before])
            yield f"<details><summary>{len(folded)} layers the same</summary>"
            yield from (_row(each, shapes) for each in folded)
            yield "</details>"
            yield from (_row(each, shapes) for each in run[len(run) - _KEPT :])
        else:
            yield from (_row(each, shapes) for each in run)
        run = []
        if row is not None:
            yield _row(row, shapes)


def _row(row: LayerDiff, shapes: Sequence[dict[int, list[tuple[int, ...]]]]) -> str:
    sides = [
        _cell(layer, row, at, shapes[at]) if layer is not None else '<div class="cell none"></div>'
        for at, layer in enumerate((row.a, row.b))
    ]
    return f'<div class="row {row.kind}">{"".join(sides)}</div>'


def _cell(layer: DiffLayer, row: LayerDiff, at: int, shapes: dict[int, list[tuple[int, ...]]]) -> str:
    tops = "  ".join("×".join(map(str, shape)) for shape in shapes.get(layer.position, []))
    name = f"<mark>{escape(layer.name)}</mark>" if row.renamed else escape(layer.name)
    wires = f"{escape(', '.join(layer.bottoms))} → {escape(', '.join(layer.tops))}"
    parts = [
        f'<span class="shape">{tops}</span><span class="name">{name}</span>',
        f'<span class="type">{escape(layer.type)}</span>',
        f'<div class="wire">{f"<mark>{wires}</mark>" if row.rewired else wires}</div>',
    ]
    said = [(change.path, (change.a, change.b)[at]) for change in row.changes]
    parts += [f'<div class="say">{escape(path)}: {escape(str(value or "(not set)"))}</div>' for path, value in said]
    return f'<div class="cell">{" ".join(parts)}</div>'
