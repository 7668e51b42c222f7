"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

// Elements are made from texts alone, so that a name out of a file is never read as HTML.
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "text", "line", "circle", "title", "tspan"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

// Four digits, as people read them: 0.01234, 12.34, 1.234e-7.
function short(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(4));
  return size >= 1e6 || size < 1e-4 ? rounded.toExponential() : String(rounded);
}

const theme = {
  dark: () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  set: name => {
    document.documentElement.dataset.theme = name;
    try { localStorage.setItem("caffecompat-theme", name); } catch { /* a page of a disk may have no storage */ }
    document.dispatchEvent(new CustomEvent("theme"));
  },
};
try {
  const kept = localStorage.getItem("caffecompat-theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch { /* as above */ }
for (const button of document.querySelectorAll("button.theme")) {
  const show = () => {
    button.textContent = theme.dark() ? "light" : "dark";
    button.title = "change to " + button.textContent + " colors";
  };
  button.addEventListener("click", () => theme.set(theme.dark() ? "light" : "dark"));
  document.addEventListener("theme", show);
  show();
}
