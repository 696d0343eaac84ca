"use strict";

const { plan, series } = JSON.parse(document.getElementById("result").textContent);
const root = document.documentElement;
const HEIGHT = 240;
const CODES_MAX = 7;
const BARS_MAX = 150;
const LINES_WIDE_MAX = 600;
const CODE_COLOURS = ["blue", "orange", "sky", "red", "green", "purple", "yellow", "grey"];
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

let charts = [];

const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const isKnown = (value) => value !== null && value !== undefined;

function written(value) {
  if (!isKnown(value)) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function clock(seconds) {
  if (!isKnown(seconds)) return "–";
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part) => String(part).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// A value between two gaps has no line: it is drawn as a point.
function alone(u, index) {
  const values = u.data[index];
  const found = [];
  values.forEach((value, i) => {
    if (isKnown(value) && !isKnown(values[i - 1]) && !isKnown(values[i + 1])) found.push(i);
  });
  return found;
}

function line(label, ink, values, more = {}) {
  const points = { show: false, filter: alone, size: 5, fill: colour(ink) };
  return { values, label, stroke: colour(ink), width: series.at_s.length > LINES_WIDE_MAX ? 1 : 1.75, points, value: (_, value) => written(value), ...more };
}

const FIRST = Math.min(0, (series.at_s[0] ?? 0) - 0.5);
const LAST = (series.at_s.at(-1) ?? 0) + 0.5;

// All of it has room for the first bar and the last; a part is as it was asked for.
function range(u, min, max) {
  return isKnown(min) && (min > u.data[0][0] || max < u.data[0].at(-1)) ? [min, max] : [FIRST, LAST];
}

function draw(name, lines, scale = {}, more = {}, at_s = series.at_s) {
  const place = document.getElementById(`chart-${name}`);
  // Where nothing is known, the page says so instead.
  if (!place) return null;
  const axis = {
    stroke: colour("faint"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { stroke: colour("line"), width: 1 },
  };
  const options = {
    width: place.clientWidth,
    height: HEIGHT,
    series: [{ label: "at", value: (_, value) => clock(value) }, ...lines.map(({ values, ...rest }) => rest)],
    scales: {
      x: { time: false, range },
      y: { range: (_, min, max) => [0, max > 0 ? 1.05 * max : 1], ...scale },
    },
    axes: [
      { ...axis, incrs: STEPS_S, space: 60, values: (_, marks) => marks.map(clock) },
      {
        ...axis,
        size: (_, marks) => 18 + 7 * Math.max(0, ...(marks ?? []).map((mark) => mark.length)),
        values: (_, marks) => marks.map((mark) => (isKnown(mark) ? written(mark) : "")),
      },
    ],
    cursor: { y: false, sync: { key: "load", setSeries: false }, points: { size: 6 } },
    ...more,
  };
  const chart = new uPlot(options, [at_s, ...lines.map(({ values }) => values)], place);
  charts.push(chart);
  return chart;
}

function drawThroughput() {
  const lines = [line("requests/s", "orange", series.requests_per_s), line("purchases/s", "blue", series.purchases_per_s)];
  if (plan.rate_per_s !== null) {
    lines.push(line("planned", "grey", series.at_s.map(() => plan.rate_per_s), { dash: [6, 4], width: 1.25 }));
  }
  draw("throughput", lines);
}

function drawLatency() {
  const positive = (values) => values.map((value) => (value > 0 ? value : null));
  const lines = [
    line("p50", "blue", positive(series.p50_ms)),
    line("p95", "green", positive(series.p95_ms), { dash: [8, 3] }),
    line("p99", "red", positive(series.p99_ms), { dash: [3, 3] }),
  ];
  const around = (_, min, max) => (isKnown(min) ? uPlot.rangeLog(min / 1.2, max * 1.2, 10, false) : [1, 10]);
  draw("latency", lines, { distr: 3, range: around });
}

const total = (counts) => counts.reduce((sum, count) => sum + count, 0);

// A bar for each second, or for as many as a long run needs: then it is their mean.
function means(values, width) {
  const found = [];
  for (let i = 0; i < values.length; i += width) {
    const part = values.slice(i, i + width);
    found.push(total(part) / part.length);
  }
  return found;
}

// What succeeded, then the most frequent codes, as many as there are colours; the rest together is the last.
function codes() {
  const rank = ([code, counts]) => (code === "succeeded" ? Infinity : total(counts));
  const sorted = Object.entries(series.outcomes).sort((a, b) => rank(b) - rank(a));
  const shown = sorted.slice(0, CODES_MAX);
  const rest = sorted.slice(CODES_MAX).map(([, counts]) => counts);
  if (rest.length) shown.push(["others", series.at_s.map((_, i) => total(rest.map((counts) => counts[i])))]);
  return shown;
}

// Each is drawn over the sum of all up to it, the largest sum first.
function drawOutcomes() {
  const width = Math.max(1, Math.ceil(series.at_s.length / BARS_MAX));
  const at_s = means(series.at_s, width);
  const shown = codes().map(([code, counts]) => [code, means(counts, width)]);
  const hidden = new Set();
  const sums = () => {
    const sum = at_s.map(() => 0);
    const stacked = shown.map(([code, counts]) => counts.map((count, i) => (sum[i] += hidden.has(code) ? 0 : count)));
    return stacked.reverse();
  };
  const paths = uPlot.paths.bars({ size: [0.9, 40] });
  const lines = sums().map((values, i) => {
    const place = shown.length - 1 - i;
    const [code, counts] = shown[place];
    const ink = colour(CODE_COLOURS[place]);
    const value = (_, __, ___, at) => (isKnown(at) ? written(counts[at]) : "–");
    return { values, label: code, paths, fill: ink, stroke: ink, width: 0, points: { show: false }, value };
  });
  const toggle = (u, index, { show }) => {
    if (show === undefined) return;
    const code = u.series[index].label;
    show ? hidden.delete(code) : hidden.add(code);
    const { min, max } = u.scales.x;
    u.setData([at_s, ...sums()], false);
    u.setScale("x", { min, max });
  };
  const chart = draw("outcomes", lines, {}, { hooks: { setSeries: [toggle] } }, at_s);
  if (!chart) return;
  // The legend begins with the lowest, which is the one that matters.
  for (const row of [...chart.root.querySelectorAll(".u-series")].slice(1).reverse()) row.parentNode.append(row);
  if (width > 1) chart.root.querySelector(".u-series .u-label").textContent = `mean of ${width} s, at`;
}

function drawServer() {
  const mebibytes = (values) => values.map((value) => (isKnown(value) ? value / 2 ** 20 : null));
  draw("under_way", [line("under way", "blue", series.under_way)]);
  draw("cpu", [line("cores", "blue", series.server_cpu)]);
  draw("memory", [
    line("server", "blue", mebibytes(series.server_memory_bytes)),
    line("store", "orange", mebibytes(series.store_memory_bytes), { dash: [8, 3] }),
  ]);
}

function drawAll() {
  charts.forEach((chart) => chart.destroy());
  charts = [];
  drawThroughput();
  drawLatency();
  drawOutcomes();
  drawServer();
}

function zoom(min, max) {
  const wide = Math.min(Math.max(max - min, 2), LAST - FIRST);
  const from = Math.min(Math.max(min, FIRST), LAST - wide);
  charts.forEach((chart) => chart.setScale("x", { min: from, max: from + wide }));
}

function press(event) {
  const chart = charts.find(({ root: drawn }) => event.currentTarget.contains(drawn));
  // With Ctrl and its like a key belongs to the browser.
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const { min, max } = chart.scales.x;
  const at_s = chart.data[0];
  const at = chart.cursor.idx ?? chart.valToIdx((min + max) / 2);
  const middle = at_s[at];
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
  if (step) {
    const to = Math.min(Math.max(at + step, 0), at_s.length - 1);
    chart.setCursor({ left: chart.valToPos(at_s[to], "x"), top: 10 }, true, true);
  } else if (factor) {
    zoom(middle - ((max - min) * factor) / 2, middle + ((max - min) * factor) / 2);
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

const places = document.querySelectorAll(".plot");
const widths = new ResizeObserver(() => requestAnimationFrame(fit));
places.forEach((place) => {
  widths.observe(place);
  place.addEventListener("keydown", press);
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
window.addEventListener("beforeprint", () => {
  root.classList.add("printing");
  drawAll();
});
window.addEventListener("afterprint", () => {
  root.classList.remove("printing");
  drawAll();
});
drawAll();
