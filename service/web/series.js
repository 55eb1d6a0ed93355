// The view of series: text in, fan chart out.
import { Problem, conversation, post } from "./api.js";
import { Chart } from "./chart.js";
import { SERIES } from "./examples.js";
import { curl, python } from "./snippets.js";
import { number, percent, t } from "./text.js";

const $ = (id) => document.getElementById(id);
const chart = new Chart($("chart")), tested = new Chart($("tested"));
let answer = null, scores = null, timer = 0, running = null, stream = null;
let opened = null; // a file as it is, until the text is changed: its bytes are sent, since the service finds its encoding

const PARQUET = "application/vnd.apache.parquet";
const SHOWN = 200_000; // characters of a file that the text area holds
const body = () => opened?.file ?? $("text").value;
const kind = () => (opened && /\.parquet$/i.test(opened.file.name) ? PARQUET : "text/csv");

function query() {
  const level = Number($("level").value) / 100, side = (p) => Number(((1 - p) / 2).toFixed(4));
  const levels = [side(level), 0.25, 0.5, 0.75, 1 - side(level)].map((value) => Number(value.toFixed(4)));
  return new URLSearchParams({ prediction_length: $("horizon").value, quantile_levels: [...new Set(levels)].sort().join(",") });
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) console.error(error);
  answer = null;
  chart.clear();
  show();
  $("series-error").textContent = error.message;
  $("series-error").hidden = false;
}

function later(wait = 250) { clearTimeout(timer); timer = setTimeout(() => { ask().catch(fail); }, wait); }

async function ask() {
  stopLive();
  $("series-error").hidden = true;
  running?.abort();
  if (!opened && !$("text").value.trim()) { answer = null; chart.clear(); show(); return; }
  $("status").textContent = t("working");
  running = new AbortController();
  const options = query();
  options.set("include", "series");
  answer = await post(`forecast?${options}`, body(), kind(), "application/json", running.signal);
  forget();
  choices();
  show();
}

function choices() {
  const selected = $("which").selectedIndex;
  $("which").replaceChildren(...answer.predictions.map((one, index) => new Option(one.item_id ?? String(index + 1), index)));
  $("which").selectedIndex = selected < answer.predictions.length && selected > 0 ? selected : 0;
  $("which-label").hidden = answer.predictions.length < 2;
}

// What a backtest of an earlier input showed.
function forget() { scores = null; $("scores").replaceChildren(); tested.clear(); }

function show() {
  $("welcome").hidden = Boolean(answer || stream || !$("series-error").hidden || $("text").value.trim());
  for (const id of ["actions", "understood", "values"]) $(id).hidden = !answer;
  if (!answer) { $("status").textContent = t("empty"); $("which-label").hidden = true; forget(); return; }
  const index = Math.max(0, $("which").selectedIndex);
  const prediction = answer.predictions[index], series = answer.series[index];
  const keys = Object.keys(prediction.quantiles).sort((a, b) => a - b);
  const season = prediction.context.season_length;
  const sentence = t("summary", {
    name: prediction.item_id ? `${prediction.item_id}: ` : "", count: number(prediction.context.observations, 6),
    season: season > 1 ? t("season", season) : t("noSeason"), steps: prediction.mean.length, mean: number(prediction.mean.at(-1)),
    level: Math.round((keys.at(-1) - keys[0]) * 100), low: number(prediction.quantiles[keys[0]].at(-1)), high: number(prediction.quantiles[keys.at(-1)].at(-1)),
  });
  $("status").textContent = sentence;
  chart.forecast(series.target, series.timestamps, prediction, sentence);
  showBacktest(index);
  const table = answer.table, lines = [`${table.layout}: ${table.rows} × ${table.series}`, ...["id", "time", "value"].filter((name) => table[name]?.length && table.header).map((name) => `${name}: ${table[name].join(", ")}`)];
  for (const name of ["freq", "delimiter", "decimal", "date_order"]) if (table[name]) lines.push(`${name}: ${JSON.stringify(table[name]).slice(1, -1)}`);
  $("understood").querySelector("ul").replaceChildren(...[...lines, ...(table.notes ?? [])].map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  numbers(prediction, keys);
}

function numbers(prediction, keys) {
  const table = $("values").querySelector("table");
  table.replaceChildren();
  const head = table.createTHead().insertRow();
  for (const name of [t("step"), "mean", ...keys]) head.append(Object.assign(document.createElement("th"), { textContent: name, scope: "col" }));
  const body = table.createTBody();
  prediction.mean.forEach((mean, step) => {
    const row = body.insertRow();
    for (const value of [prediction.timestamps?.[step] ?? step + 1, number(mean, 6), ...keys.map((key) => number(prediction.quantiles[key][step], 6))]) row.insertCell().textContent = value;
  });
}

// What a command reads: the text, or the name of a file that is no text or too long for a command.
const source = () => (opened && (opened.text === null || opened.text.length > SHOWN) ? { name: opened.file.name, type: kind() } : { text: opened?.text ?? $("text").value });

async function copy(text) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  $("copied").textContent = t("copied");
  setTimeout(() => { $("copied").textContent = ""; }, 3000);
}

async function download() {
  const text = await post(`forecast?${query()}`, body(), kind(), "text/csv");
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "forecast.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function backtest() {
  $("copied").textContent = t("working");
  const options = new URLSearchParams({ prediction_length: $("horizon").value, include: "forecasts" });
  scores = await post(`backtest?${options}`, body(), kind());
  $("copied").textContent = "";
  const table = document.createElement("table");
  table.createCaption().textContent = t("scoresOf");
  const head = table.createTHead().insertRow();
  for (const name of [t("method"), "MASE", "WQL", t("coverage")]) head.append(Object.assign(document.createElement("th"), { textContent: name, scope: "col" }));
  const rows = table.createTBody();
  const ranked = Object.entries(scores.methods).sort(([, a], [, b]) => (a.mase ?? Infinity) - (b.mase ?? Infinity));
  for (const [name, score] of ranked) {
    const row = rows.insertRow();
    row.classList.toggle("best", name === scores.best);
    for (const value of [name.replaceAll("_", " "), ...[score.mase, score.wql].map((one) => one === null ? "–" : number(one, 3)), score.coverage === null ? "–" : percent(score.coverage)]) row.insertCell().textContent = value;
  }
  $("scores").replaceChildren(table, Object.assign(document.createElement("p"), { className: "quiet", textContent: scores.best ? t("best", scores.best.replaceAll("_", " ")) : "" }));
  showBacktest(Math.max(0, $("which").selectedIndex));
}

function showBacktest(index) {
  const entry = scores?.series[index], forecasts = entry?.forecasts;
  if (!forecasts?.length) { tested.clear(); return; }
  const series = answer.series[index];
  const name = entry.item_id ? `${entry.item_id}: ` : "";
  tested.backtest(series.target, series.timestamps, forecasts, t("tested", { name, count: forecasts.length, steps: forecasts[0].median.length }));
}

// A series of a machine, sent value by value over one connection.
async function live() {
  if (stream) { stopLive(); return; }
  $("live").setAttribute("aria-pressed", "true");
  $("series-error").hidden = true;
  answer = null;
  const mine = stream = conversation("forecast/stream", { parameters: { prediction_length: 24, quantile_levels: [0.1, 0.25, 0.5, 0.75, 0.9], include: ["anomaly"] } });
  show();
  const values = [], surprises = [];
  while (stream === mine && values.length < 2000) {
    const i = values.length;
    values.push(50 + 20 * Math.sin(i / 24 * 2 * Math.PI) + 4 * Math.sin(i * 1.7) + (Math.random() - 0.5) * 4 + (i % 97 === 80 ? 45 : 0));
    const prediction = await mine.ask({ target: [values.at(-1)] });
    if (stream !== mine) break;
    if (prediction.anomalies.length) surprises.push(i);
    const sentence = `${t("liveStatus", values.length)} ${t("anomalies", surprises.length)}`;
    $("status").textContent = sentence;
    chart.forecast(values, undefined, prediction, sentence, surprises);
    await new Promise((resolve) => { setTimeout(resolve, matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 120); });
  }
  mine.close();
}

function stopLive() { stream?.close(); stream = null; $("live").setAttribute("aria-pressed", "false"); }

// What a file holds, as text: UTF-8, UTF-16 by its mark, else Windows-1252; nothing of a workbook or Parquet.
function decoded(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  if (start === "PK\x03\x04" || start === "PAR1" || start.startsWith("\x1f\x8b")) return null;
  if (start.startsWith("\xff\xfe")) return new TextDecoder("utf-16le").decode(bytes);
  if (start.startsWith("\xfe\xff")) return new TextDecoder("utf-16be").decode(bytes);
  try { return new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { return new TextDecoder("windows-1252").decode(bytes); }
}

async function open(file) {
  if (!file) return;
  if (file.type.startsWith("image/")) { document.dispatchEvent(new CustomEvent("picture", { detail: file })); return; }
  const text = decoded(new Uint8Array(await file.arrayBuffer()));
  opened = { file, text };
  $("text").value = text === null ? t("opened", file.name) : text.slice(0, SHOWN);
  later(0);
}

function begin(name) {
  const example = SERIES[name]?.();
  if (!example) return;
  opened = null;
  $("text").value = example.text;
  $("horizon").value = example.horizon;
  $("horizon-out").textContent = example.horizon;
  later(0);
}

export function start() {
  $("text").addEventListener("input", () => { opened = null; later(); });
  $("file").addEventListener("change", (event) => { open(event.target.files[0]).catch(fail); event.target.value = ""; });
  document.addEventListener("table", (event) => { open(event.detail).catch(fail); });
  $("example").addEventListener("change", (event) => begin(event.target.value));
  for (const option of $("example").querySelectorAll("option[value]:not([value=''])")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: option.textContent });
    button.dataset.t = option.dataset.t;
    button.addEventListener("click", () => { $("example").value = option.value; begin(option.value); });
    $("starts").append(button);
  }
  for (const [id, unit] of [["horizon", ""], ["level", " %"]])
    $(id).addEventListener("input", () => { $(`${id}-out`).textContent = $(id).value + unit; if ($("text").value.trim()) later(120); });
  $("which").addEventListener("change", show);
  $("download").addEventListener("click", () => { download().catch(fail); });
  $("curl").addEventListener("click", () => copy(curl(source(), query())));
  $("python").addEventListener("click", () => copy(python(source(), query())));
  $("backtest").addEventListener("click", () => { backtest().catch((error) => { $("copied").textContent = error.message; }); });
  $("live").addEventListener("click", () => { live().catch((error) => { stopLive(); fail(error); }); });
  const zone = $("series");
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("dropping"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("dropping"));
  zone.addEventListener("drop", (event) => { zone.classList.remove("dropping"); if (!event.dataTransfer.files.length) return; event.preventDefault(); open(event.dataTransfer.files[0]).catch(fail); });
  document.addEventListener("language", () => { if (!stream) { show(); chart.redraw(); } });
  document.addEventListener("theme", () => { chart.redraw(); tested.redraw(); });
  show();
}
