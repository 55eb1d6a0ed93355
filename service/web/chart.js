// The fan chart: the past as a line, the forecast as a line with two bands, drawn by uPlot on a canvas.
import { t, number } from "./text.js";

const PAST = 4; // values of the past for each step ahead, and at least 60

export class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize({ width: this.width(), height: 320 })).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  width() { return Math.max(240, this.element.clientWidth); }

  clear() { this.plot?.destroy(); this.plot = null; this.last = null; this.element.setAttribute("aria-label", ""); }

  redraw() { if (this.last) this.draw(...this.last); }

  // target: values and nulls; times: their texts, or undefined; prediction of the service; a sentence for readers of screens
  draw(target, times, prediction, sentence) {
    this.last = [target, times, prediction, sentence];
    const steps = prediction.mean.length;
    const first = Math.max(0, target.length - Math.max(60, PAST * steps));
    const past = target.slice(first);
    const keys = Object.keys(prediction.quantiles).sort((a, b) => a - b);
    const rows = keys.map((key) => prediction.quantiles[key]);
    const middle = prediction.quantiles["0.5"] ?? prediction.mean;
    const gap = Array(past.length).fill(null);
    if (past.length) gap[past.length - 1] = past.at(-1);
    const labels = times ? [...times.slice(first), ...prediction.timestamps] : null;
    const x = [...past, ...middle].map((_, index) => first + index + 1);
    const data = [x, [...past, ...middle.map(() => null)], [...gap, ...middle], ...rows.map((row) => [...gap, ...row])];
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink"), line = css.getPropertyValue("--line"), band = css.getPropertyValue("--band");
    const name = (index) => labels ? labels[index - first - 1] ?? "" : String(index);
    const bands = [];
    for (let i = 0; i < Math.floor(keys.length / 2); i++) bands.push({ series: [2 + keys.length - i, 3 + i], fill: `rgba(${band}, 0.2)` });
    const axis = { stroke: ink, grid: { stroke: "rgba(128,128,128,0.25)" }, ticks: { stroke: "rgba(128,128,128,0.25)" } };
    const options = {
      width: this.width(), height: 320, bands,
      scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? name(tick) : ""), space: labels ? 90 : 50 },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => number(tick, 6)) }],
      series: [{ label: t("step"), value: (_, index) => index === null ? "–" : name(index) },
        { label: t("past"), stroke: ink, width: 1.5, value: (_, value) => value === null ? "–" : number(value, 6) },
        { label: t("median"), stroke: line, width: 2.5, value: (_, value) => value === null ? "–" : number(value, 6) },
        ...keys.map((key) => ({ label: key, stroke: `rgba(${band}, 0.35)`, width: 1, points: { show: false }, value: (_, value) => value === null ? "–" : number(value, 6) }))],
    };
    this.plot?.destroy();
    this.plot = new window.uPlot(options, data, this.element);
    this.element.setAttribute("aria-label", sentence);
  }
}
