// Tabs, language and colours; the two views are in series.js and digit.js.
import * as digit from "./digit.js";
import * as series from "./series.js";
import { firstLanguage, setLanguage } from "./text.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  select(tab);
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

function select(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  document.dispatchEvent(new CustomEvent("theme"));
}

const language = document.getElementById("language"), theme = document.getElementById("theme");
language.value = firstLanguage();
theme.value = localStorage.getItem("theme") ?? "auto";
setLanguage(language.value);
series.start();
digit.start();
setTheme(theme.value);
document.addEventListener("picture", () => choose(tabs[1]));
document.addEventListener("table", () => choose(tabs[0]));
// A file that is dropped beside the views is opened as well: the browser would leave the page for it.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const file = event.dataTransfer.files[0];
  if (event.defaultPrevented || !file) return;
  event.preventDefault();
  document.dispatchEvent(new CustomEvent(file.type.startsWith("image/") ? "picture" : "table", { detail: file }));
});
language.addEventListener("change", () => { localStorage.setItem("language", language.value); setLanguage(language.value); });
theme.addEventListener("change", () => setTheme(theme.value));
select(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
document.documentElement.dataset.ready = "true";
