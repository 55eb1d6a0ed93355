// The view of digits: a drawing or a picture in, and how it is read from the first row to the last.
import { Problem, conversation, post } from "./api.js";
import { STROKES } from "./examples.js";
import { percent, t } from "./text.js";

const $ = (id) => document.getElementById(id);
const SURE = 0.9, INK = 18;
const pad = $("pad"), pen = pad.getContext("2d", { willReadFrequently: true });
let drawing = null, erasing = false, timer = 0, turn = 0, last = null;
const cursor = { x: 140, y: 60, inks: false };

function wipe() { pen.fillStyle = "#fff"; pen.fillRect(0, 0, 280, 280); }

function line(from, to) {
  pen.strokeStyle = erasing ? "#fff" : "#000";
  pen.lineWidth = erasing ? 2 * INK : INK;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
}

function place(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * 280, (event.clientY - box.top) / box.height * 280];
}

function later() { clearTimeout(timer); timer = setTimeout(() => pad.toBlob((blob) => { read(blob).catch(fail); }), 350); }

function fail(error) {
  if (!(error instanceof Problem)) console.error(error);
  last = null;
  $("verdict").textContent = "";
  $("digit-error").textContent = error.message;
  $("digit-error").hidden = false;
}

async function read(picture) {
  const mine = ++turn;
  $("digit-error").hidden = true;
  const prepared = await post("prepare-digit", picture, picture.type || "image/png");
  if (mine !== turn) return;
  const rows = prepared.rows;
  $("prepared").textContent = [prepared.preprocessing.inverted ? t("inverted") : "", `${t("box")}: ${prepared.preprocessing.box.join(", ")}`].filter(Boolean).join("; ");
  const slow = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const stream = conversation("classify-digit/stream", {});
  const answers = [];
  try {
    for (const [index, row] of rows.entries()) {
      answers.push(await stream.ask({ rows: [row] }));
      if (mine !== turn) return;
      if (slow) { show(rows, index + 1, answers); await new Promise((resolve) => { setTimeout(resolve, 35); }); }
      if (mine !== turn) return;
    }
  } finally { stream.close(); }
  last = [rows, rows.length, answers];
  show(...last);
  verdict(answers);
}

function decision(answers) {
  const label = answers.at(-1).label;
  let row = answers.length;
  while (row > 0 && answers[row - 1].label === label && answers[row - 1].score >= SURE) row--;
  return { label, score: percent(answers.at(-1).score), row: row + 1, sure: row < answers.length };
}

function verdict(answers) {
  const found = decision(answers);
  $("verdict").textContent = t(found.sure ? "verdict" : "undecided", found);
  show(last[0], 28, answers, found.sure ? found.row : 0);
}

function show(rows, count, answers, mark = 0) {
  const canvas = $("seen"), context = canvas.getContext("2d");
  context.fillStyle = "#000"; context.fillRect(0, 0, 224, 224);
  rows.forEach((row, y) => row.forEach((ink, x) => {
    context.fillStyle = `rgb(${ink},${ink},${ink})`;
    context.fillRect(x * 8, y * 8, 8, 8);
  }));
  context.fillStyle = "rgba(121,184,255,0.35)";
  if (count < rows.length) context.fillRect(0, count * 8 - 8, 224, 8);
  if (mark) { context.fillStyle = "#79b8ff"; context.fillRect(0, mark * 8 - 2, 224, 2); }
  canvas.setAttribute("aria-label", t("seenLabel", mark || count));
  bars(answers.at(-1)?.probabilities ?? Array(10).fill(0));
}

function bars(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const items = $("bars").children;
  if (items.length !== probabilities.length) makeBars(probabilities.length);
  probabilities.forEach((value, digit) => {
    const item = items[digit];
    item.classList.toggle("best", digit === best && value > 0);
    item.querySelector("meter").value = value;
    item.querySelector("span:last-child").textContent = percent(value);
  });
}

function makeBars(count = 10) {
  $("bars").replaceChildren();
  for (let digit = 0; digit < count; digit++) {
    const item = document.createElement("li");
    const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: 0 });
    meter.setAttribute("aria-label", String(digit));
    item.append(Object.assign(document.createElement("span"), { textContent: digit }), meter, Object.assign(document.createElement("span"), { textContent: "" }));
    $("bars").append(item);
  }
}

function draw(strokes) {
  wipe();
  setTool(false);
  for (const points of strokes) for (let i = 1; i < points.length; i++) line(points[i - 1], points[i]);
  later();
}

function setTool(eraser) {
  erasing = eraser;
  $("pen").setAttribute("aria-pressed", String(!eraser));
  $("eraser").setAttribute("aria-pressed", String(eraser));
}

function clear() {
  clearTimeout(timer);
  turn++; last = null;
  wipe();
  $("verdict").textContent = t("nothing");
  $("prepared").textContent = "";
  $("digit-error").hidden = true;
  show([], 28, []);
}

function showNib(shown) {
  const nib = $("nib");
  nib.hidden = !shown;
  nib.style.left = `${cursor.x / 2.8}%`;
  nib.style.top = `${cursor.y / 2.8}%`;
  nib.classList.toggle("inks", cursor.inks);
}

function keyboard(event) {
  const moves = { ArrowUp: [0, -8], ArrowDown: [0, 8], ArrowLeft: [-8, 0], ArrowRight: [8, 0] };
  if (event.key === " ") { cursor.inks = !cursor.inks; event.preventDefault(); showNib(true); return; }
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  const from = [cursor.x, cursor.y];
  cursor.x = Math.min(270, Math.max(10, cursor.x + move[0]));
  cursor.y = Math.min(270, Math.max(10, cursor.y + move[1]));
  if (cursor.inks) { line(from, [cursor.x, cursor.y]); later(); }
  showNib(true);
}

async function picture(file) {
  if (!file) return;
  if (!file.type.startsWith("image/") && /\.(csv|tsv|tab|txt|dat|sql|xlsx|parquet)$/i.test(file.name)) { document.dispatchEvent(new CustomEvent("table", { detail: file })); return; }
  const image = await createImageBitmap(file).catch(() => null);
  wipe();
  if (image) {
    const scale = Math.min(280 / image.width, 280 / image.height);
    pen.drawImage(image, (280 - image.width * scale) / 2, (280 - image.height * scale) / 2, image.width * scale, image.height * scale);
  }
  await read(file);
}

export function start() {
  makeBars();
  clear();
  pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); drawing = place(event); line(drawing, drawing); });
  pad.addEventListener("pointermove", (event) => { if (drawing) { const to = place(event); line(drawing, to); drawing = to; } });
  for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => { if (drawing) { drawing = null; later(); } });
  pad.addEventListener("keydown", keyboard);
  pad.addEventListener("focus", () => showNib(pad.matches(":focus-visible")));
  for (const name of ["blur", "pointerdown"]) pad.addEventListener(name, () => showNib(false));
  $("pen").addEventListener("click", () => setTool(false));
  $("eraser").addEventListener("click", () => setTool(true));
  $("clear").addEventListener("click", clear);
  $("picture").addEventListener("change", (event) => { picture(event.target.files[0]).catch(fail); event.target.value = ""; });
  document.addEventListener("picture", (event) => { picture(event.detail).catch(fail); });
  for (const digit of Object.keys(STROKES)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: digit });
    button.setAttribute("aria-label", t("drawExample", digit));
    button.addEventListener("click", () => draw(STROKES[digit]));
    $("strokes").append(button);
  }
  const zone = $("digit");
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => { event.preventDefault(); picture(event.dataTransfer.files[0]).catch(fail); });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file && !zone.hidden) { event.preventDefault(); picture(file).catch(fail); }
  });
  document.addEventListener("language", () => {
    for (const button of $("strokes").children) button.setAttribute("aria-label", t("drawExample", button.textContent));
    if (last) verdict(last[2]); else if ($("digit-error").hidden) $("verdict").textContent = t("nothing");
  });
}
