// Tables: a click on a head sorts. Shares are drawn as bars, and of scores the best is marked.
function table({ title, columns, rows, note, best }) {
  const numeric = columns.map((_, at) => rows.some(row => typeof row[at] === "number")
    && rows.every(row => row[at] === null || row[at] === undefined || typeof row[at] === "number"));
  const shares = columns.map((name, at) => numeric[at] && /iou|recall|precision|accuracy|share|saturated|class|top|map/i.test(name)
    && !/^class$|^classes$|pixels|map:/i.test(name)
    && rows.every(row => row[at] === null || row[at] === undefined || (row[at] >= 0 && row[at] <= 1)));
  const most = columns.map((name, at) => best.includes(name) ? Math.max(...rows.map(row => row[at] ?? -Infinity)) : null);
  let sorted = null, down = false, order = rows.map((_, at) => at);
  const head = make("tr"), body = make("tbody");

  function fill() {
    head.replaceChildren(...columns.map((name, at) => make("th", { tabindex: 0, title: "sort",
      class: [numeric[at] ? "n" : "", sorted === at ? (down ? "down" : "up") : ""].join(" ").trim() || null,
      onclick: () => sort(at), onkeydown: event => { if (event.key === "Enter") sort(at); } }, name)));
    body.replaceChildren(...order.map(index => make("tr", {}, ...columns.map((_, at) => {
      const value = rows[index][at];
      if (!numeric[at]) return make("td", { class: "text" }, value === null || value === undefined ? "–" : String(value));
      const known = value !== null && value !== undefined;
      return make("td", { class: "n" + (known && value === most[at] && rows.length > 1 ? " best" : "") },
        shares[at] && known ? make("div", { class: "bar" }, make("span", { class: "track" },
          make("span", { class: "share", style: `width:${Math.round(60 * value)}px` })), short(value)) : short(value));
    }))));
  }

  function sort(at) {
    down = sorted === at ? !down : numeric[at];
    sorted = at;
    const side = down ? -1 : 1, missing = value => value === null || value === undefined;
    order.sort((a, b) => {
      const [x, y] = [rows[a][at], rows[b][at]];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return side * (numeric[at] ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
    fill();
  }

  fill();
  return [title ? make("h3", {}, title) : null, make("table", {}, make("thead", {}, head), body),
    note ? make("p", {}, note) : null].filter(Boolean);
}

for (const place of document.querySelectorAll(".table")) place.append(...table(DATA.tables[place.dataset.table]));

const room = document.getElementById("charts");
if (room) {
  for (const panel of DATA.panels) {
    charts.push(new Chart(panel));
    room.append(charts.at(-1).element);
  }
  const smooth = document.getElementById("smooth");
  const over = document.getElementById("over");
  over.onchange = () => { state.x = over.value; zoomTo(null); };
  document.getElementById("log").onchange = event => { state.log = event.target.checked; drawAll(); };
  document.getElementById("whole").onclick = () => zoomTo(null);
  smooth.oninput = () => {
    state.mean = MEANS[smooth.value];
    document.getElementById("smoothed").textContent = state.mean;
    drawAll();
  };
  new ResizeObserver(drawAll).observe(room);
  document.addEventListener("theme", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
}

// The page of two nets is a page of its own, in the colors of this one.
for (const frame of document.querySelectorAll("iframe")) {
  const paint = () => {
    const root = frame.contentDocument?.documentElement;
    if (root) root.dataset.theme = theme.dark() ? "dark" : "light";
  };
  frame.addEventListener("load", paint);
  document.addEventListener("theme", paint);
}

// A page that is written again while the training goes on: it is read again where nobody looks at a part of it.
if (DATA.live) setInterval(() => {
  if (document.getElementById("follow").checked && !state.range && !document.hidden) location.reload();
}, 30000);
