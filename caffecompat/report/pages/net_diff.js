// A check box a kind hides its rows; n and p (or the arrows) go from change to change, a run of changes of one kind
// being one; a link opens the fold that its layer is in.
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
function unfold() {
  const row = document.getElementById(location.hash.slice(1));
  if (!row) return;
  const fold = row.closest('details');
  if (fold) fold.open = true;
  scrollTo({top: row.getBoundingClientRect().top + scrollY - document.querySelector('nav').offsetHeight - 60});
  if (here >= 0) starts[here].classList.remove('here');
  here = starts.findLastIndex(start => start === row || start.compareDocumentPosition(row) & 4);
}
addEventListener('hashchange', unfold);
unfold();
if (self !== top) document.querySelector('.theme').hidden = true;  // the page around has one
