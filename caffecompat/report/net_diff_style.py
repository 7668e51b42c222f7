"""How the page of a comparison looks, and what it does when it is clicked or typed on."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #59636e; --page: #ffffff; --text: #1f2328; --link: #0550ae;
  --added: #dafbe1; --removed: #ffebe9; --changed: #fff4c2; --renamed: #ddf4ff; --moved: #f3e8ff; --gap: #f6f8fa;
  --added-ink: #116329; --removed-ink: #a40e26; --changed-ink: #7d4e00; --renamed-ink: #0550ae; --moved-ink: #6639ba; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9198a1; --page: #0d1117; --text: #e6edf3;
  --link: #79c0ff; --added: #12361f; --removed: #4a1a1d; --changed: #3b2f0a; --renamed: #0c2d48; --moved: #32194a;
  --gap: #161b22; --added-ink: #7ee787; --removed-ink: #ffa198; --changed-ink: #e3b341; --renamed-ink: #79c0ff;
  --moved-ink: #d2a8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 16px; background: var(--page); color: var(--text);
  font: 14px/1.4 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0; } h1 + p { margin: 2px 0 8px; color: var(--soft); }
h2 { font-size: 12px; margin: 8px 0 2px; color: var(--soft); text-transform: uppercase; letter-spacing: .05em; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
ul.sentences { list-style: none; margin: 0; padding: 0; font-size: 13px; }
.sentences li { display: flex; gap: 6px; padding: 1px 0; overflow-wrap: anywhere; }
.sentences li > b { flex: 0 0 12px; text-align: center; font-family: ui-monospace, monospace; }
.sentences li.plain > b { display: none; }
.sentences details { display: inline; color: var(--soft); } .sentences summary { display: inline; cursor: pointer; }
.sentences details[open] { color: inherit; } .sentences details[open] summary { display: none; }
li.added > b { color: var(--added-ink); } li.removed > b { color: var(--removed-ink); }
li.changed > b { color: var(--changed-ink); } li.renamed > b { color: var(--renamed-ink); }
li.moved > b { color: var(--moved-ink); }
nav { position: sticky; top: 0; background: var(--page); padding: 8px 0 4px; margin-top: 12px; z-index: 1;
  border-bottom: 1px solid var(--line); margin-bottom: 6px; }
.bar { display: flex; gap: 8px; flex-wrap: wrap; align-items: center; }
.bar label { padding: 1px 8px 1px 4px; border-radius: 10px; border: 1px solid var(--line); cursor: pointer;
  white-space: nowrap; }
.bar label.added { background: var(--added); } .bar label.removed { background: var(--removed); }
.bar label.changed { background: var(--changed); } .bar label.renamed { background: var(--renamed); }
.bar label.moved { background: var(--moved); } .bar label.same { background: var(--gap); }
.steps { margin-left: auto; white-space: nowrap; } #at { display: inline-block; min-width: 9em; text-align: center; }
.steps button { font: inherit; width: 32px; border: 1px solid var(--line); border-radius: 6px; background: var(--gap);
  color: inherit; cursor: pointer; }
.row, .head { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 8px; margin-bottom: 3px; }
.head { margin: 6px 0 0; font-weight: 600; } .head > div { overflow-wrap: anywhere; }
.head span { color: var(--soft); font-weight: 400; }
.row { scroll-margin-top: 90px; }
.row.here .cell, .row:target .cell { outline: 2px solid var(--link); }
.cell { border: 1px solid var(--line); border-radius: 6px; padding: 3px 8px; overflow-wrap: anywhere; }
.cell.none { border-style: dashed; opacity: .45; }
.first { display: flex; flex-wrap: wrap; column-gap: 8px; align-items: baseline; }
.name { font-weight: 600; } .type, .shape, .wire { color: var(--soft); }
.shape { margin-left: auto; font: 12px ui-monospace, monospace; }
.wire { font-size: 12px; } .say { font: 12px/1.4 ui-monospace, monospace; }
.row.added .cell:not(.none) { background: var(--added); }
.row.removed .cell:not(.none) { background: var(--removed); }
.row.changed .cell { background: var(--changed); } .row.renamed .cell { background: var(--renamed); }
.row.moved .cell { background: var(--moved); }
mark { background: none; color: inherit; font-weight: 600; text-decoration: underline; text-decoration-thickness: 1px;
  text-underline-offset: 2px; }
.fold > summary { cursor: pointer; color: var(--soft); background: var(--gap); border-radius: 6px;
  padding: 2px 8px; margin-bottom: 3px; }
.off-added .row.added, .off-removed .row.removed, .off-changed .row.changed, .off-moved .row.moved,
.off-renamed .row.renamed, .off-same .row.same, .off-same .fold { display: none; }
@media (max-width: 700px) { body { padding: 8px; font-size: 13px; } .row, .head { gap: 4px; }
  .cell { padding: 3px 5px; } .shape { margin-left: 0; } .bar { gap: 5px; }
  .bar label { padding: 0 6px 0 2px; } .steps { margin-left: 0; } }
@media print { nav { position: static; } .steps, .bar input { display: none; } }
"""

# A check box a kind hides its rows; n and p (or the arrows) go from change to change, a run of changes of one kind
# being one; a link opens the fold that its layer is in.
SCRIPT = """
const main = document.querySelector('main');
for (const box of document.querySelectorAll('nav input')) box.addEventListener('change', () =>
  main.classList.toggle('off-' + box.value, !box.checked));
const starts = [];
let last = null;
for (const row of document.querySelectorAll('.row')) {
  const kind = row.classList[1];
  if (kind !== 'same' && (last === null || last.nextElementSibling !== row || !last.classList.contains(kind)))
    starts.push(row);
  last = kind === 'same' ? null : row;
}
let here = -1;
function show(index) {
  const seen = starts.map((row, at) => at).filter(at => starts[at].offsetParent);
  if (!seen.length) return;
  const next = index > here ? seen.find(at => at > here) : seen.findLast(at => at < here);
  if (here >= 0) starts[here].classList.remove('here');
  here = next ?? (index > here ? seen[0] : seen[seen.length - 1]);
  starts[here].classList.add('here');
  const top = document.querySelector('nav').offsetHeight + 60;
  scrollTo({top: starts[here].getBoundingClientRect().top + scrollY - top});
  document.getElementById('at').textContent = 'place ' + (here + 1) + ' of ' + starts.length;
}
if (starts.length) {
  document.getElementById('at').textContent = starts.length + (starts.length > 1 ? ' places' : ' place');
  document.getElementById('on').onclick = () => show(here + 1);
  document.getElementById('back').onclick = () => show(here - 1);
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === 'n' || event.key === 'j') show(here + 1);
    if (event.key === 'p' || event.key === 'k') show(here - 1);
  });
}
function open() {
  const row = document.getElementById(location.hash.slice(1));
  if (!row) return;
  const fold = row.closest('details');
  if (fold) fold.open = true;
  scrollTo({top: row.getBoundingClientRect().top + scrollY - document.querySelector('nav').offsetHeight - 60});
  if (here >= 0) starts[here].classList.remove('here');
  here = starts.findLastIndex(start => start === row || start.compareDocumentPosition(row) & 4);
}
addEventListener('hashchange', open);
open();
"""
