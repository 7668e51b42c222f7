// A blob's values: how many lie in each of equal steps, the least and the greatest below.
function histogram(blob) {
  const width = 260, height = 64, most = Math.max(...blob.bins, 1), step = width / blob.bins.length;
  const bars = blob.bins.map((count, at) => {
    const high = count ? Math.max(1, (height - 4) * count / most) : 0;
    const from = blob.min + (blob.max - blob.min) * at / blob.bins.length;
    const to = blob.min + (blob.max - blob.min) * (at + 1) / blob.bins.length;
    return make("rect", { x: (at * step).toFixed(2), y: (height - high).toFixed(2), width: (step * .92).toFixed(2),
      height: high.toFixed(2) }, make("title", {}, `${short(from)} to ${short(to)}: ${count}`));
  });
  const zero = blob.min < 0 && blob.max > 0 ? -blob.min / (blob.max - blob.min) * width : null;
  return make("svg", { class: "histogram", viewBox: `0 0 ${width} ${height + 14}`, role: "img" }, ...bars,
    zero === null ? null : make("line", { x1: zero, x2: zero, y1: 0, y2: height, class: "zero" }),
    make("line", { x1: 0, x2: width, y1: height, y2: height, class: "base" }),
    make("text", { x: 0, y: height + 11 }, short(blob.min)),
    zero === null || zero < 50 || zero > width - 50 ? null
      : make("text", { x: zero, y: height + 11, "text-anchor": "middle" }, "0"),
    make("text", { x: width, y: height + 11, "text-anchor": "end" }, short(blob.max)));
}
