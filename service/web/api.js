// Requests to the service that sent this page, also below a prefix of its path.
import { t } from "./text.js";

export const base = new URL("..", import.meta.url);

export class Problem extends Error {}

// The key of a service that wants one: asked for when it is missed, and kept until the tab is closed.
const field = document.getElementById("key");
field.value = sessionStorage.getItem("ritmo-key") ?? "";
field.parentElement.hidden = !field.value;
field.addEventListener("change", () => sessionStorage.setItem("ritmo-key", field.value.trim()));
const key = () => field.value.trim();

function askForKey() {
  field.parentElement.hidden = false;
  field.focus();
}

export async function post(path, body, type, accept = "application/json", signal = undefined) {
  const headers = { "Content-Type": type, Accept: accept };
  if (key()) headers["X-API-Key"] = key();
  let response;
  try {
    response = await fetch(new URL(path, base), { method: "POST", body, signal, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(t("offline"));
  }
  if (response.ok) return accept === "application/json" ? response.json() : response.text();
  if (response.status === 401) askForKey();
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  const details = (problem.errors ?? []).map((fault) => fault.detail);
  throw new Problem(details.length ? details.slice(0, 3).join("\n") : problem.detail);
}

export function socket(path) {
  const address = new URL(path, base);
  address.protocol = address.protocol.replace("http", "ws");
  return new WebSocket(address, key() ? ["ritmo", `ritmo.key.${key()}`] : []);
}

// Sends messages one after the other, each when the one before is answered.
export function conversation(path, opening) {
  const connection = socket(path);
  const waiting = [];
  const opened = new Promise((resolve, reject) => {
    connection.onopen = () => { connection.send(JSON.stringify(opening)); resolve(); };
    connection.onerror = () => { reject(new Problem(t("offline"))); for (const one of waiting.splice(0)) one.reject(new Problem(t("offline"))); };
  });
  connection.onmessage = (event) => {
    const answer = JSON.parse(event.data);
    const { resolve, reject } = waiting.shift() ?? { resolve() {}, reject() {} };
    if (answer.code) reject(new Problem(answer.detail)); else resolve(answer);
  };
  return {
    async ask(message) {
      await opened;
      return new Promise((resolve, reject) => { waiting.push({ resolve, reject }); connection.send(JSON.stringify(message)); });
    },
    close: () => connection.close(),
  };
}
