// Charts on a canvas by uPlot: the fan of a forecast, and the forecasts of a backtest beside what came.
import { t, number } from "./text.js";

const PAST = 4; // values of the past for each step ahead, and at least 60
const HEIGHT = 320;

export class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    new ResizeObserver(() => { if (this.plot && this.element.clientWidth) this.plot.setSize({ width: this.width(), height: HEIGHT }); }).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  width() { return Math.max(240, this.element.clientWidth); }

  clear() { this.plot?.destroy(); this.plot = null; this.last = null; this.element.setAttribute("aria-label", ""); this.element.hidden = true; }

  redraw() { if (this.last) this.last(); }

  // target: values and nulls; times: their texts, or undefined; prediction of the service; a sentence for readers of screens
  forecast(target, times, prediction, sentence, marks = []) {
    this.last = () => this.forecast(target, times, prediction, sentence, marks);
    const steps = prediction.mean.length;
    const first = Math.max(0, target.length - Math.max(60, PAST * steps));
    const past = target.slice(first);
    const keys = Object.keys(prediction.quantiles).sort((a, b) => a - b);
    const middle = prediction.quantiles["0.5"] ?? prediction.mean;
    const gap = Array(past.length).fill(null);
    if (past.length) gap[past.length - 1] = past.at(-1);
    const labels = times ? [...times.slice(first), ...prediction.timestamps] : null;
    const pairs = [];
    for (let i = 0; i < Math.floor(keys.length / 2); i++) pairs.push([prediction.quantiles[keys[i]], prediction.quantiles[keys.at(-1 - i)]].map((row) => [...gap, ...row]));
    const share = keys.length > 1 ? Math.round((keys.at(-1) - keys[0]) * 100) : 0;
    this.draw({
      first, labels, sentence, pairs, share, now: past.length - 1, marks: marks.map((index) => index - first),
      past: [...past, ...middle.map(() => null)], ahead: [...gap, ...middle], names: [t("past"), t("median")],
    });
  }

  // forecasts of a backtest: their first index, median, lower and upper ends
  backtest(target, times, forecasts, sentence) {
    this.last = () => this.backtest(target, times, forecasts, sentence);
    const steps = forecasts[0].median.length;
    const first = Math.max(0, forecasts[0].index - Math.max(60 - steps * forecasts.length, 2 * steps));
    const past = target.slice(first);
    const [ahead, low, high] = ["median", "lower", "upper"].map((name) => {
      const row = Array(past.length).fill(null);
      for (const one of forecasts) one[name].forEach((value, step) => { row[one.index - first + step] = value; });
      return row;
    });
    this.draw({ first, labels: times?.slice(first), sentence, pairs: [[low, high]], share: 80, past, ahead, names: [t("actual"), t("forecasts")], marks: [], breaks: forecasts.map((one) => one.index - first) });
  }

  draw({ first, labels, sentence, pairs, share, past, ahead, names, marks, now, breaks = [] }) {
    const css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink"), line = css.getPropertyValue("--line"), band = css.getPropertyValue("--band"), wrong = css.getPropertyValue("--wrong");
    const x = past.map((_, index) => first + index + 1);
    const name = (index) => labels ? labels[index - first - 1] ?? "" : String(index);
    const show = (_, value) => value === null || value === undefined ? "–" : number(value, 6);
    const axis = { stroke: ink, grid: { stroke: "rgba(128,128,128,0.2)", width: 1 }, ticks: { stroke: "rgba(128,128,128,0.2)", width: 1 } };
    const interval = (u, _, __, index) => {
      if (index === null || index === undefined || !pairs.length) return "–";
      const [low, high] = pairs[0].map((row) => row[index]);
      return low === null || low === undefined || high === low ? "–" : `${number(low)} … ${number(high)}`;
    };
    const bounds = pairs.flatMap(([low, high]) => [high, low]);
    const series = [{ label: t("step"), value: (_, index) => index === null ? "–" : name(index) },
      { label: names[0], stroke: ink, width: 1.5, points: { show: false }, value: show },
      { label: names[1], stroke: line, width: 2.5, points: { show: past.length < 3 }, value: show },
      ...bounds.map((_, index) => index ? { class: "bound", stroke: `rgba(${band}, 0.3)`, width: 1, points: { show: false } }
        : { label: `${share} %`, stroke: `rgba(${band}, 0.3)`, fill: undefined, width: 1, points: { show: false }, value: interval })];
    this.element.hidden = false;
    const options = {
      width: this.width(), height: HEIGHT, series, scales: { x: { time: false } },
      bands: pairs.map((_, index) => ({ series: [3 + 2 * index, 4 + 2 * index], fill: `rgba(${band}, 0.18)` })),
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? shorter(name(tick)) : ""), space: labels ? 60 + 6 * shorter(labels[0] ?? "").length : 50 },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => number(tick, 6)) }],
      hooks: { draw: [(u) => overlay(u, { x, past, marks, now, breaks, ink, wrong })] },
    };
    this.plot?.destroy();
    this.plot = new window.uPlot(options, [x, past, ahead, ...bounds], this.element);
    this.element.setAttribute("aria-label", sentence);
  }
}

// A time as an axis shows it: without what is the same for nearly all (seconds of zero, the distance from UTC).
function shorter(time) { return time.replace(/(T\d\d:\d\d)(:00)?(\.0+)?(Z|[+-]\d\d:\d\d)?(\[.*\])?$/, "$1").replace("T", " "); }

// A dashed line where a forecast begins, and a ring around each value that was a surprise.
function overlay(u, { x, past, marks, now, breaks, ink, wrong }) {
  const context = u.ctx;
  context.save();
  context.strokeStyle = ink; context.globalAlpha = 0.4; context.lineWidth = devicePixelRatio; context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const index of now === undefined ? breaks : [now]) {
    if (index < 0) continue;
    const place = u.valToPos(x[index], "x", true);
    context.beginPath(); context.moveTo(place, u.bbox.top); context.lineTo(place, u.bbox.top + u.bbox.height); context.stroke();
  }
  context.globalAlpha = 1; context.setLineDash([]); context.strokeStyle = wrong; context.lineWidth = 2 * devicePixelRatio;
  for (const index of marks) {
    if (index < 0) continue;
    context.beginPath(); context.arc(u.valToPos(x[index], "x", true), u.valToPos(past[index], "y", true), 6 * devicePixelRatio, 0, 2 * Math.PI); context.stroke();
  }
  context.restore();
}
