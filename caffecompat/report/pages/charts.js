// Charts of curves that share their x axis: zoom one, and all of them are.
const COLORS = ["#0969da", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#1b7c83", "#bc4c00", "#57606a",
  "#6e5494"];
const BRIGHT = ["#58a6ff", "#ff7b72", "#56d364", "#e3b341", "#bc8cff", "#f778ba", "#56d4dd", "#ffa657", "#b1bac4",
  "#d2a8ff"];
const MEANS = [1, 3, 5, 10, 20, 50, 100];
const state = { x: "it", mean: 1, log: false, range: null };
const charts = [];
const HEIGHT = 240, MARGIN = { left: 58, right: 12, top: 8, bottom: 24 };

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(each => each * power >= rough) * power;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function powers(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++)
    for (const digit of high - low > 3 ? [1] : [1, 2, 5]) {
      const value = power + Math.log10(digit);
      if (value >= low && value <= high) found.push(value);
    }
  return found.length > 1 ? found : [low, high];
}

// Each value's mean with those before it; a gap between two runs of one log ends it.
function means(values, count) {
  let sum = 0, window = [];
  return values.map((value, at) => {
    if (value === null) return null;
    if (at && values[at - 1] === null) { window = []; sum = 0; }
    window.push(value);
    sum += value;
    if (window.length > count) sum -= window.shift();
    return sum / window.length;
  });
}

class Chart {
  constructor(panel) {
    this.panel = panel;
    this.hidden = new Set();
    this.svg = make("svg", { role: "img", "aria-label": panel.title, height: HEIGHT });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.legend = make("div", { class: "legend" });
    this.element = make("div", { class: "chart" }, make("h3", {}, panel.title), this.svg, this.tip, this.legend);
    this.svg.addEventListener("pointermove", event => this.point(event));
    this.svg.addEventListener("pointerleave", () => { if (!this.drag) hover(null); });
    this.svg.addEventListener("pointerdown", event => {
      if (event.pointerType === "mouse" && event.button === 0) this.drag = { from: this.at(event), id: event.pointerId };
    });
    this.svg.addEventListener("pointerup", event => this.drop(event));
    this.svg.addEventListener("dblclick", () => zoomTo(null));
  }

  color(index) {
    return (theme.dark() ? BRIGHT : COLORS)[index % COLORS.length];
  }

  // x of the pointer, as a value.
  at(event) {
    const { left } = this.svg.getBoundingClientRect();
    const share = (event.clientX - left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return this.x0 + Math.max(0, Math.min(1, share)) * (this.x1 - this.x0);
  }

  drop(event) {
    if (!this.drag) return;
    const ends = [this.drag.from, this.at(event)].sort((a, b) => a - b);
    this.drag = null;
    if (ends[1] - ends[0] > (this.x1 - this.x0) * .01) zoomTo(ends); else this.selection?.remove();
  }

  point(event) {
    const x = this.at(event);
    if (this.drag) {
      if (!this.svg.hasPointerCapture(this.drag.id)) this.svg.setPointerCapture(this.drag.id);
      const [a, b] = [this.px(this.drag.from), this.px(x)].sort((p, q) => p - q);
      this.selection?.remove();
      this.selection = make("rect", { class: "select", x: a, y: MARGIN.top, width: b - a,
        height: HEIGHT - MARGIN.top - MARGIN.bottom });
      this.svg.append(this.selection);
    }
    hover(x, this);
  }

  px(x) {
    return MARGIN.left + (x - this.x0) / (this.x1 - this.x0) * (this.width - MARGIN.left - MARGIN.right);
  }

  py(y) {
    return HEIGHT - MARGIN.bottom - (y - this.y0) / (this.y1 - this.y0) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  get logarithmic() {
    return state.log && /loss/.test(this.panel.title);
  }

  // The curves as they are drawn, by index; y is null where there is a gap or, of a logarithm, none.
  curves() {
    return this.panel.series.map((series, index) => {
      const smooth = state.mean > 1 && !series.test && this.panel.title !== "learning rate";
      const y = smooth ? means(series.y, state.mean) : series.y;
      const scaled = list => this.logarithmic ? list.map(v => v === null || v <= 0 ? null : Math.log10(v)) : list;
      return { series, index, x: series[state.x], y: scaled(y), pale: smooth ? scaled(series.y) : null };
    });
  }

  draw() {
    const shown = this.curves().filter(curve => !this.hidden.has(curve.index));
    this.width = Math.max(200, this.svg.getBoundingClientRect().width || 600);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    [this.x0, this.x1] = state.range ?? extent();
    let low = Infinity, high = -Infinity;
    for (const { x, y, pale } of shown) for (let i = 0; i < x.length; i++) {
      if (x[i] === null || x[i] < this.x0 || x[i] > this.x1) continue;
      for (const value of [y[i], pale?.[i]]) if (value !== null && value !== undefined) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (low > high) [low, high] = [0, 1];
    const pad = (high - low) * .04 || Math.abs(high) * .1 || 1;
    [this.y0, this.y1] = [low - pad, high + pad];
    if (low >= 0 && !this.logarithmic) this.y0 = Math.max(0, this.y0);
    const parts = [];
    for (const value of this.logarithmic ? powers(this.y0, this.y1) : ticks(this.y0, this.y1, 5)) {
      const y = this.py(value);
      parts.push(make("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }),
        make("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" },
          short(this.logarithmic ? 10 ** value : value)));
    }
    const [unit] = unitOfX();
    for (const value of ticks(this.x0 / unit, this.x1 / unit, Math.max(2, this.width / 110))) {
      const x = this.px(value * unit);
      parts.push(make("line", { class: "grid", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
        make("text", { x: Math.min(x, this.width - 3.4 * short(value).length), y: HEIGHT - 8, "text-anchor": "middle" },
          short(value)));
    }
    // An svg of its own cuts off what lies outside of the axes.
    const inside = make("svg", { x: MARGIN.left - 3, y: 0, width: this.width - MARGIN.left + 3, height: HEIGHT - MARGIN.bottom + 3,
      viewBox: `${MARGIN.left - 3} 0 ${this.width - MARGIN.left + 3} ${HEIGHT - MARGIN.bottom + 3}` });
    for (const curve of shown) {
      const color = this.color(curve.index), kind = "curve" + (curve.series.test ? " test" : "");
      if (curve.pale) inside.append(this.path(curve.x, curve.pale, kind + " pale", color));
      inside.append(this.path(curve.x, curve.y, kind, color), ...this.dots(curve, color));
    }
    this.svg.replaceChildren(...parts, inside);
    this.shown = shown;
    this.legend.replaceChildren(...this.panel.series.map((series, index) => make("button", {
      class: this.hidden.has(index) ? "off" : null, title: "hide or show; " + (series.y.length < series.of
        ? `${series.of} points, of which the least and greatest are drawn` : `${series.of} points`),
      onclick: () => { this.hidden.has(index) ? this.hidden.delete(index) : this.hidden.add(index); this.draw(); } },
      make("i", { class: series.test ? "test" : null, style: `color:${this.color(index)}` }), series.name)));
  }

  path(x, y, kind, color) {
    let d = "", pen = false;
    for (let i = 0; i < x.length; i++) {
      const seen = x[i] !== null && y[i] !== null && (x[i + 1] ?? x[i]) >= this.x0 && (x[i - 1] ?? x[i]) <= this.x1;
      if (seen) d += `${pen ? "L" : "M"}${this.px(x[i]).toFixed(1)} ${this.py(y[i]).toFixed(1)}`;
      pen = seen;
    }
    return make("path", { class: kind, d, stroke: color });
  }

  // Few points are dots too, without which a single one would not be seen.
  dots({ x, y }, color) {
    const inside = [...x.keys()].filter(i => x[i] !== null && y[i] !== null && x[i] >= this.x0 && x[i] <= this.x1);
    return inside.length > 30 ? [] : inside.map(i => make("circle", { cx: this.px(x[i]).toFixed(1),
      cy: this.py(y[i]).toFixed(1), r: 2.5, fill: color }));
  }

  // The values nearest to x, and where the pointer is in this chart, a list of them.
  hover(x, over) {
    for (const old of this.svg.querySelectorAll(".cross, .near")) old.remove();
    this.tip.hidden = true;
    if (x === null || !this.shown) return;
    const near = [];
    for (const { series, index, x: xs, y } of this.shown) {
      let best = -1;
      for (let i = 0; i < xs.length; i++)
        if (xs[i] !== null && y[i] !== null && (best < 0 || Math.abs(xs[i] - x) <= Math.abs(xs[best] - x))) best = i;
      if (best >= 0 && xs[best] >= this.x0 && xs[best] <= this.x1)
        near.push({ series, index, x: xs[best], y: y[best], value: this.logarithmic ? 10 ** y[best] : y[best] });
    }
    const cross = this.px(x);
    this.svg.append(make("line", { class: "cross", x1: cross, x2: cross, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      ...near.map(each => make("circle", { class: "near", cx: this.px(each.x), cy: this.py(each.y), r: 4,
        fill: this.color(each.index) })));
    if (!over || !near.length) return;
    const [unit, name] = unitOfX();
    this.tip.replaceChildren(make("b", {}, state.x === "it" ? `iteration ${short(Math.round(x))}`
      : `${short(x / unit)} ${name}`),
      ...near.map(each => make("div", {}, make("span", {}, make("i", { style: `background:${this.color(each.index)}` }),
        `${each.series.name} @ ${short(each.x / unit)}`), make("span", {}, short(each.value)))));
    this.tip.hidden = false;
    const left = cross + 14 + this.tip.offsetWidth > this.width ? cross - 6 - this.tip.offsetWidth : cross + 22;
    this.tip.style.left = Math.max(0, left) + "px";
    this.tip.style.top = "44px";
  }
}

// What values of x are divided by, and what that is called.
function unitOfX() {
  if (state.x === "it") return [1, "iterations"];
  const longest = extent()[1];
  return longest >= 7200 ? [3600, "hours"] : longest >= 600 ? [60, "minutes"] : [1, "seconds"];
}

// From the least to the greatest x of all curves.
function extent() {
  let low = Infinity, high = -Infinity;
  for (const { panel } of charts) for (const series of panel.series) for (const x of series[state.x]) if (x !== null) {
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  return low > high ? [0, 1] : low === high ? [low - .5, high + .5] : [low, high];
}

function hover(x, over) {
  for (const chart of charts) chart.hover(x, chart === over);
}

function drawAll() {
  for (const chart of charts) chart.draw();
  const whole = document.getElementById("whole");
  if (whole) whole.disabled = !state.range;
  const unit = document.getElementById("unit");
  if (unit) unit.textContent = state.x === "it" ? "" : unitOfX()[1] + " since the start";
}

function zoomTo(range) {
  state.range = range;
  drawAll();
}
