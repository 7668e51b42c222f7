// The drawing: graphs of boxes, in which a group is a box when it is folded and a graph of its own when it is not.
const canvas = document.getElementById("canvas"), panel = document.getElementById("panel");
const open = new Set();                 // names of the groups that are unfolded
const FRAME = { top: 30, side: 14, bottom: 10 };
const groups = Object.keys(DATA.boxes).filter(key => DATA.boxes[key].graph);
const parents = {};
for (const [graph, { nodes }] of Object.entries(DATA.graphs)) for (const [key] of nodes) parents[key + "@" + graph] = graph;
const homeOf = {};                      // the graph that each box lies in
for (const name of Object.keys(parents)) { const at = name.lastIndexOf("@"); homeOf[name.slice(0, at)] ??= parents[name]; }
const unitOf = {};                      // the box of each layer
for (const [key, box] of Object.entries(DATA.boxes)) for (const row of box.rows ?? []) unitOf[row.layer] = key;

let drawn = {};                         // by box: its element and its place on the whole drawing
let view = { x: 0, y: 0, scale: 1 }, whole = { w: 1, h: 1 }, shown = null;

// ------------------------------------------------------------------ places

// Sizes of a graph and places of its boxes: rows move down, and boxes aside, for what is unfolded.
function place(name) {
  const graph = DATA.graphs[name];
  const inner = {}, size = {};
  for (const [key] of graph.nodes) {
    const box = DATA.boxes[key];
    if (box?.graph && open.has(key)) {
      inner[key] = place(box.graph);
      size[key] = { w: inner[key].w + 2 * FRAME.side, h: inner[key].h + FRAME.top + FRAME.bottom };
    } else size[key] = box ? { w: box.w, h: box.h } : { w: 40, h: 6 };
  }
  const depth = graph.rows.map(row => row.h);
  const grown = graph.rows.map(() => []);
  for (const [key, x, row] of graph.nodes) {
    depth[row] = Math.max(depth[row], size[key].h);
    if (inner[key] && size[key].w > DATA.boxes[key].w) grown[row].push([x, (size[key].w - DATA.boxes[key].w) / 2]);
  }
  const middle = [];
  let end = 0;
  graph.rows.forEach((row, at) => {
    const before = graph.rows[at - 1];
    end += at ? row.y - row.h / 2 - before.y - before.h / 2 : 0;
    middle.push(end + depth[at] / 2);
    end += depth[at];
  });
  const aside = (x, row) => grown[row].reduce((sum, [from, by]) => sum + (x > from + 1 ? by : x < from - 1 ? -by : 0), x);
  const boxes = {};
  let left = Infinity, right = -Infinity;
  for (const [key, x, row] of graph.nodes) {
    const center = aside(x, row);
    boxes[key] = { x: center, y: middle[row], ...size[key], inner: inner[key] };
    left = Math.min(left, center - size[key].w / 2);
    right = Math.max(right, center + size[key].w / 2);
  }
  const edges = graph.edges.map(edge => {
    const bends = edge.bends.map(([x, row, side]) => [aside(x, row), middle[row] + side * depth[row] / 2]);
    for (const [x] of bends) { left = Math.min(left, x - 4); right = Math.max(right, x + 4); }
    return { edge, bends };
  });
  if (left > right) left = right = 0;
  for (const box of Object.values(boxes)) box.x -= left;
  for (const { bends } of edges) for (const bend of bends) bend[0] -= left;
  return { w: right - left, h: end, boxes, edges };
}

// ------------------------------------------------------------------ drawing

const number = value => Math.round(value * 10) / 10;

function curve(points) {
  let path = `M${number(points[0][0])} ${number(points[0][1])}`;
  for (let at = 1; at < points.length; at++) {
    const [x0, y0] = points[at - 1], [x, y] = points[at], half = (y0 + y) / 2;
    path += Math.abs(x - x0) < .5 ? `L${number(x)} ${number(y)}`
      : `C${number(x0)} ${number(half)} ${number(x)} ${number(half)} ${number(x)} ${number(y)}`;
  }
  return path;
}

function drawGraph(placed, into, dx, dy) {
  const labels = [], said = new Set();
  for (const { edge, bends } of placed.edges) {
    const a = placed.boxes[edge.a], b = placed.boxes[edge.b];
    const start = [a.x, a.y + a.h / 2], end = [b.x, b.y - b.h / 2 - (edge.b === "out" ? 0 : 5)];
    const points = [start, ...bends, end];
    const texts = edge.blobs.map(([blob, shape]) => shape ? `${blob}  ${shape}` : blob);
    into.append(make("path", { class: "edge", d: curve(points), "data-from": edge.a, "data-to": edge.b },
      make("title", {}, texts.join("\n"))));
    if (edge.b !== "out")
      into.append(make("path", { class: "tip", d: `M${number(end[0] - 3.5)} ${number(end[1] - 1)}h7l-3.5 6z` }));
    const news = edge.blobs.filter(([blob, shape]) => shape && !said.has(edge.a + "\n" + blob));
    news.forEach(([blob]) => said.add(edge.a + "\n" + blob));
    if (news.length) {
      const shapes = [...new Set(news.map(([, shape]) => shape))];
      const next = points[1], at = points.length > 2 || Math.abs(next[0] - start[0]) > 1 ? .5 : .42;
      labels.push(make("text", { class: "label", x: number(start[0] + (next[0] - start[0]) * at),
        y: number(start[1] + (next[1] - start[1]) * at + 3) }, shapes.join(", ")));
    }
  }
  for (const [key, box] of Object.entries(placed.boxes)) if (DATA.boxes[key]) drawBox(key, box, into, dx, dy);
  into.append(...labels);
}

function drawBox(key, box, into, dx, dy) {
  const spec = DATA.boxes[key], left = box.x - box.w / 2, top = box.y - box.h / 2;
  const group = make("g", { transform: `translate(${number(left)} ${number(top)})`, "data-box": key,
    class: spec.graph ? "group" + (box.inner ? " open" : "") : "unit" });
  drawn[key] = { element: group, x: dx + left, y: dy + top, w: box.w, h: box.h };
  if (box.inner) {
    group.append(make("rect", { class: "frame", width: number(box.w), height: number(box.h), rx: 8 }),
      make("rect", { class: "bar", x: 1, y: 1, width: number(box.w - 2), height: 20, rx: 7,
        onclick: () => toggle(key) }, make("title", {}, "fold")),
      make("text", { class: "name", x: 10, y: 15 }, "▾ " + spec.lines[0] + ": " + spec.lines[2]));
    const inside = make("g", { transform: `translate(${FRAME.side} ${FRAME.top})` });
    drawGraph(box.inner, inside, dx + left + FRAME.side, dy + top + FRAME.top);
    group.append(inside);
  } else if (spec.graph) {
    group.append(make("rect", { width: spec.w, height: spec.h, rx: 8, onclick: () => toggle(key) },
      make("title", {}, "unfold")), make("text", { class: "name", x: 10, y: 19 }, "▸ " + spec.lines[0]),
      make("text", { x: 10, y: 36 }, spec.lines[1]), make("text", { class: "soft", x: 10, y: 52 }, spec.lines[2]));
  } else {
    let y = 0;
    spec.rows.forEach((row, at) => {
      const high = at ? 19 : 38;
      group.append(make("rect", { y, width: spec.w, height: high, rx: spec.rows.length > 1 ? 0 : 5,
        style: `fill:var(--${row.kind})`, "data-layer": row.layer, onclick: () => choose(row.layer) },
        make("title", {}, DATA.layers[row.layer].name)));
      if (!at) group.append(make("text", { class: "name", x: 9, y: 15 }, spec.title));
      group.append(make("text", { x: 9, y: y + (at ? 13.5 : 30) }, row.text));
      y += high;
    });
    group.append(make("rect", { class: "frame", width: spec.w, height: spec.h, rx: spec.rows.length > 1 ? 0 : 5 }));
  }
  into.append(group);
}

function draw() {
  drawn = {};
  const placed = place("net"), scene = make("g", { id: "scene" });
  whole = placed;
  drawGraph(placed, scene, 0, 0);
  canvas.replaceChildren(scene);
  const all = groups.every(key => open.has(key));
  const button = document.getElementById("fold");
  button.textContent = all ? "fold all" : "unfold all";
  button.hidden = !groups.length;
  look();
  if (shown !== null) mark(shown);
}

function look() {
  document.getElementById("scene").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  canvas.classList.toggle("far", view.scale < .35);
}

function fit() {
  const { width, height } = canvas.getBoundingClientRect();
  view.scale = Math.max(.02, Math.min(1.4, (width - 30) / whole.w, (height - 30) / whole.h));
  view.x = (width - whole.w * view.scale) / 2;
  view.y = (height - whole.h * view.scale) / 2;
  look();
}

// What is read first: the net's beginning in letters that can be read, where the whole has none.
function begin() {
  fit();
  if (view.scale >= .6) return;
  const { width } = canvas.getBoundingClientRect();
  const first = Object.values(drawn).reduce((a, b) => b.y < a.y ? b : a);
  view = { scale: .9, x: width / 2 - (first.x + first.w / 2) * .9, y: 20 - first.y * .9 };
  look();
}

function zoom(factor, x, y) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const px = (x ?? left + width / 2) - left, py = (y ?? top + height / 2) - top;
  const scale = Math.max(.02, Math.min(6, view.scale * factor));
  view.x = px - (px - view.x) * scale / view.scale;
  view.y = py - (py - view.y) * scale / view.scale;
  view.scale = scale;
  look();
}

function center(key) {
  const { width, height } = canvas.getBoundingClientRect(), box = drawn[key];
  view.scale = Math.max(view.scale, .8);
  view.x = width / 2 - (box.x + box.w / 2) * view.scale;
  view.y = height / 2 - (box.y + box.h / 2) * view.scale;
  look();
}

// ------------------------------------------------------------------ folding

function toggle(key) {
  const before = drawn[key];
  if (open.has(key)) open.delete(key); else open.add(key);
  draw();
  view.x += (before.x + before.w / 2 - drawn[key].x - drawn[key].w / 2) * view.scale;  // it stays where it is
  view.y += (before.y - drawn[key].y) * view.scale;
  look();
}

function foldAll() {
  const all = groups.every(key => open.has(key));
  open.clear();
  if (!all) groups.forEach(key => open.add(key));
  draw();
  begin();
}

function reveal(layer) {
  const key = unitOf[layer];
  let changed = false;
  for (let graph = homeOf[key]; graph && graph !== "net"; graph = homeOf[graph])
    if (!open.has(graph)) { open.add(graph); changed = true; }
  if (changed) draw();
  return key;
}

// ------------------------------------------------------------------ the panel

function mark(layer) {
  for (const element of canvas.querySelectorAll(".found, .edge.at")) element.classList.remove("found", "at");
  const key = unitOf[layer];
  drawn[key]?.element.classList.add("found");
  for (const edge of canvas.querySelectorAll(".edge"))
    edge.classList.toggle("at", edge.dataset.from === key || edge.dataset.to === key);
}

function choose(index) {
  shown = index;
  const layer = DATA.layers[index];
  const row = (name, value) => value === undefined || value === null ? null
    : make("tr", {}, make("td", {}, name), make("td", {}, String(value)));
  const size = shape => shape === null ? "" : shape.length ? shape.join("×") : "scalar";
  const blobs = list => list.map(([blob, shape]) => shape ? `${blob}  (${size(shape)})` : blob).join(", ") || null;
  const facts = make("table", {}, row("reads", blobs(layer.bottoms)), row("makes", blobs(layer.tops)),
    row("parameters", layer.parameters ? short(layer.parameters)
      + (layer.trained < layer.parameters ? `, ${short(layer.trained)} trained` : "") : null),
    row("blobs", layer.shapes?.length ? layer.shapes.map(size).join(", ") : null),
    row("MACs", layer.macs ? short(layer.macs) : null),
    row("sees", layer.field ? (Array.isArray(layer.field) ? layer.field.join("×") + " pixels" : layer.field) : null));
  const weights = layer.blobs.flatMap((blob, at) => [
    make("h3", {}, `blob ${at}: ${size(blob.shape)}`), blob.bins ? histogram(blob) : null,
    make("table", {}, row("mean, std", blob.bins ? `${short(blob.mean)}, ${short(blob.std)}` : null),
      row("zeros", blob.zeros ? `${(100 * blob.zeros).toFixed(1)} %` : null),
      row("not finite", blob.bad || null))]);
  panel.replaceChildren(make("button", { class: "close", title: "close (Esc)", onclick: close }, "×"),
    make("h2", {}, layer.name), make("div", {}, layer.type), facts, ...weights.filter(Boolean),
    make("h3", {}, "prototxt"), make("pre", {}, layer.text));
  panel.hidden = false;
  mark(index);
}

function close() {
  panel.hidden = true;
  shown = null;
  for (const element of canvas.querySelectorAll(".found, .edge.at")) element.classList.remove("found", "at");
}

// ------------------------------------------------------------------ search

const search = document.getElementById("search"), hits = document.getElementById("hits");
const texts = DATA.layers.map(layer =>
  [layer.name, layer.type, ...[...layer.bottoms, ...layer.tops].map(([blob]) => blob)].join("\n").toLowerCase());
let at = 0;

function find() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.length ? texts.flatMap((text, index) => words.every(word => text.includes(word)) ? [index] : []) : [];
  at = 0;
  hits.replaceChildren(...found.slice(0, 40).map(index => make("li", { "data-layer": index, onclick: () => go(index) },
    DATA.layers[index].name, make("span", {}, DATA.layers[index].type))));
  if (found.length > 40) hits.append(make("li", { class: "more" }, `and ${found.length - 40} more`));
  if (words.length && !found.length) hits.append(make("li", { class: "more" }, "no layer has that"));
  point();
}

function point() {
  hits.querySelectorAll("li").forEach((item, index) => item.classList.toggle("at", index === at));
}

function go(index) {
  const key = reveal(index);
  choose(index);
  center(key);
  hits.replaceChildren();
}

search.addEventListener("input", find);
search.addEventListener("focus", find);
search.addEventListener("keydown", event => {
  const items = hits.querySelectorAll("li[data-layer]");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    at = Math.max(0, Math.min(items.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
    point();
    items[at]?.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  } else if (event.key === "Enter" && items[at]) go(Number(items[at].dataset.layer));
  else if (event.key === "Escape") { search.value = ""; find(); search.blur(); }
  event.stopPropagation();
});
document.addEventListener("pointerdown", event => { if (!event.target.closest("#finder")) hits.replaceChildren(); });

// ------------------------------------------------------------------ mouse, fingers, keys

const fingers = new Map();
canvas.addEventListener("pointerdown", event => fingers.set(event.pointerId, [event.clientX, event.clientY]));
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY];
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
    zoom(apart(now) / Math.max(1, apart(before)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else {
    if (!canvas.classList.contains("moving") && Math.hypot(now[0] - before[0], now[1] - before[1]) < 4) return;
    canvas.classList.add("moving");
    canvas.setPointerCapture(event.pointerId);  // not before: a click is one on a box
    view.x += now[0] - before[0];
    view.y += now[1] - before[1];
    look();
  }
  fingers.set(event.pointerId, now);
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, event => {
  fingers.delete(event.pointerId);
  canvas.classList.remove("moving");
});
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  if (event.shiftKey) { view.x -= event.deltaY; look(); }
  else zoom(Math.exp(-event.deltaY * (event.ctrlKey ? .01 : .0015)), event.clientX, event.clientY);
}, { passive: false });
const keys = {
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(.8), "0": fit, f: foldAll, Escape: close,
  "/": () => search.focus(),
  ArrowLeft: () => { view.x += 60; look(); }, ArrowRight: () => { view.x -= 60; look(); },
  ArrowUp: () => { view.y += 60; look(); }, ArrowDown: () => { view.y -= 60; look(); },
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
document.getElementById("in").onclick = () => zoom(1.25);
document.getElementById("out").onclick = () => zoom(.8);
document.getElementById("fit").onclick = fit;
document.getElementById("fold").onclick = foldAll;
draw();
begin();
