"use strict";

const { plan, series } = JSON.parse(document.getElementById("result").textContent);
const root = document.documentElement;
const HEIGHT = 240;
const CODES_MAX = 7;
const BARS_MAX = 150;
const INKS = ["blue", "orange", "sky", "red", "green", "purple", "yellow", "grey"];
const FIRST = Math.min(0, (series.at_s[0] ?? 0) - 0.5);
const LAST = (series.at_s.at(-1) ?? 0) + 0.5;

let charts = [];

const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
const number = (value) => (value == null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 3 }));

function clock(seconds) {
  if (seconds == null) return "–";
  const text = new Date(Math.round(seconds) * 1000).toISOString().slice(11, 19);
  return seconds < 3600 ? text.slice(3) : text;
}

// A value between two gaps has no line: it is drawn as a point.
function isolated(u, index) {
  const values = u.data[index];
  return [...values.keys()].filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null);
}

function line(label, ink, values, more = {}) {
  const points = { show: false, filter: isolated, size: 5, fill: colour(ink) };
  return { label, values, stroke: colour(ink), width: 1.5, points, value: (_, value) => number(value), ...more };
}

function options(place, lines, scale, hooks) {
  const grid = { stroke: colour("line"), width: 1 };
  const axis = { stroke: colour("faint"), grid, ticks: grid };
  const isPart = (u, min, max) => min != null && (min > u.data[0][0] || max < u.data[0].at(-1));
  return {
    width: place.clientWidth,
    height: HEIGHT,
    series: [{ label: "at", value: (_, at) => clock(at) }, ...lines.map(({ values, ...rest }) => rest)],
    scales: {
      x: { time: false, range: (u, min, max) => (isPart(u, min, max) ? [min, max] : [FIRST, LAST]) },
      y: { range: (_, min, max) => [0, max > 0 ? 1.05 * max : 1], ...scale },
    },
    axes: [
      { ...axis, incrs: [1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 14400], values: (_, at) => at.map(clock) },
      { ...axis, size: 60, values: (_, marks) => marks.map((mark) => (mark == null ? "" : number(mark))) },
    ],
    cursor: { y: false, sync: { key: "load", setSeries: false } },
    hooks,
  };
}

function draw(name, lines, scale = {}, hooks = {}, at_s = series.at_s) {
  const place = document.getElementById(`chart-${name}`);
  if (!place) return; // nothing is known: the page says so instead
  charts.push(new uPlot(options(place, lines, scale, hooks), [at_s, ...lines.map(({ values }) => values)], place));
}

// A bar for each second; in a long run, for the mean of several.
function means(values, width) {
  const starts = values.map((_, i) => i).filter((i) => i % width === 0);
  return starts.map((i) => values.slice(i, i + width)).map((part) => total(part) / part.length);
}

// Each code is drawn over the sum of all codes up to it, the largest sum first.
function drawOutcomes() {
  const width = Math.max(1, Math.ceil(series.at_s.length / BARS_MAX));
  const at_s = means(series.at_s, width);
  const rank = ([code, counts]) => (code === "succeeded" ? Infinity : total(counts));
  const sorted = Object.entries(series.outcomes).sort((a, b) => rank(b) - rank(a));
  const others = sorted.splice(CODES_MAX).map(([, counts]) => counts);
  if (others.length) sorted.push(["others", series.at_s.map((_, i) => total(others.map((counts) => counts[i])))]);
  const shown = sorted.map(([code, counts]) => [code, means(counts, width)]);
  const hidden = new Set();
  const stacked = () => {
    const sum = at_s.map(() => 0);
    return shown.map(([code, counts]) => counts.map((count, i) => (sum[i] += hidden.has(code) ? 0 : count))).reverse();
  };
  const lines = stacked().map((values, i) => {
    const [code, counts] = shown.at(-1 - i);
    const fill = colour(INKS[shown.length - 1 - i]);
    const paths = uPlot.paths.bars({ size: [0.9, 40] });
    return line(code, "line", values, { fill, stroke: fill, paths, width: 0, value: (_, __, ___, at) => number(counts[at]) });
  });
  const toggle = (u, index, { show }) => {
    if (show === undefined) return;
    hidden[show ? "delete" : "add"](u.series[index].label);
    const { min, max } = u.scales.x;
    u.setData([at_s, ...stacked()], false);
    u.setScale("x", { min, max });
  };
  const name = (u) => {
    if (width > 1) u.root.querySelector(".u-label").textContent = `mean of ${width} s, at`;
  };
  draw("outcomes", lines, {}, { setSeries: [toggle], ready: [name] }, at_s);
}

function drawAll() {
  charts.splice(0).forEach((chart) => chart.destroy());
  const constant = (value) => series.at_s.map(() => value);
  draw("throughput", [
    line("requests/s", "orange", series.requests_per_s),
    line("purchases/s", "blue", series.purchases_per_s),
    ...(plan.rate_per_s == null ? [] : [line("planned", "grey", constant(plan.rate_per_s), { dash: [6, 4] })]),
  ]);
  const positive = (values) => values.map((value) => (value > 0 ? value : null));
  const around = (_, min, max) => (min == null ? [1, 10] : uPlot.rangeLog(min / 1.2, max * 1.2, 10, false));
  draw("latency", [
    line("p50", "blue", positive(series.p50_ms)),
    line("p95", "green", positive(series.p95_ms), { dash: [8, 3] }),
    line("p99", "red", positive(series.p99_ms), { dash: [3, 3] }),
  ], { distr: 3, range: around });
  drawOutcomes();
  draw("under_way", [line("under way", "blue", series.under_way)]);
  draw("cpu", [line("cores", "blue", series.server_cpu)]);
  const megabytes = (values) => values.map((value) => (value == null ? null : value / 1e6));
  draw("memory", [
    line("server", "blue", megabytes(series.server_memory_bytes)),
    line("store", "orange", megabytes(series.store_memory_bytes), { dash: [8, 3] }),
  ]);
}

function zoom(min, max) {
  const wide = Math.min(Math.max(max - min, 2), LAST - FIRST);
  const from = Math.min(Math.max(min, FIRST), LAST - wide);
  charts.forEach((chart) => chart.setScale("x", { min: from, max: from + wide }));
}

function press(event) {
  const chart = charts.find((each) => event.currentTarget.contains(each.root));
  // With Ctrl and its like a key belongs to the browser.
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const { min, max } = chart.scales.x;
  const at_s = chart.data[0];
  const at = chart.cursor.idx ?? chart.valToIdx((min + max) / 2);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
  if (step) {
    const to = Math.min(Math.max(at + step, 0), at_s.length - 1);
    chart.setCursor({ left: chart.valToPos(at_s[to], "x"), top: 10 }, true, true);
  } else if (factor) {
    const half = ((max - min) * factor) / 2;
    zoom(at_s[at] - half, at_s[at] + half);
  } else if (event.key === "0" || event.key === "Escape") {
    zoom(FIRST, LAST);
  } else {
    return;
  }
  event.preventDefault();
}

function fit() {
  for (const chart of charts) {
    const width = chart.root.parentNode.clientWidth;
    if (width && width !== chart.width) chart.setSize({ width, height: HEIGHT });
  }
}

function print(isPrinting) {
  root.classList.toggle("printing", isPrinting);
  drawAll();
}

const widths = new ResizeObserver(() => requestAnimationFrame(fit));
for (const place of document.querySelectorAll(".plot")) {
  widths.observe(place);
  place.addEventListener("keydown", press);
}
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
window.addEventListener("beforeprint", () => print(true));
window.addEventListener("afterprint", () => print(false));
drawAll();
