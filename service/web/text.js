// The words of the page in its languages; the elements with data-t (text) and data-label (aria-label) are given them.
const TEXTS = {
  en: {
    skip: "Skip to the content", views: "Views", tabSeries: "Series", tabDigit: "Digits", language: "Language", theme: "Colours", key: "Key",
    themeAuto: "Auto", themeLight: "Light", themeDark: "Dark", docs: "API", yourSeries: "Your series",
    pasteHint: "Paste numbers, a column of a spreadsheet or CSV, or drop a file (CSV, Excel)", openFile: "Open a file", examples: "Examples",
    choose: "choose …", exampleShop: "Sales of a shop, monthly", examplePower: "Electric load, hourly",
    exampleVisits: "Visits of two sites, daily", live: "Live demo", horizon: "Steps ahead", level: "Interval", forecast: "Forecast",
    which: "Series", download: "Download CSV", copyCurl: "Copy as curl", copyPython: "Copy as Python",
    backtest: "How good is it on this?", understood: "How the input was read", values: "The numbers", drawDigit: "Draw a digit",
    padLabel: "Drawing area: arrow keys move the pen, space inks",
    padHint: "Draw with a finger, the mouse, or arrow keys and space; or drop, paste or open a picture.", pen: "Pen", eraser: "Eraser",
    clear: "Clear", openPicture: "Open a picture", reading: "Reading, row by row", seen: "The 28 × 28 numbers that the network sees",
    past: "past", median: "forecast", step: "time", interval: "interval", copied: "Copied", working: "Working …",
    empty: "Paste a series, or choose an example.", noSeason: "no season", season: (n) => `season of ${n}`,
    summary: (o) => `${o.name}${o.count} values, ${o.season}. In ${o.steps} steps: ${o.mean}, with ${o.level} % between ${o.low} and ${o.high}.`,
    nothing: "Draw a digit, or choose an example.", verdict: (o) => `${o.label}, with a probability of ${o.score}. Decided after row ${o.row} of 28.`,
    undecided: (o) => `Perhaps ${o.label}: ${o.score}. Never sure.`, seenLabel: (n) => `What the network saw, marked at row ${n}`,
    offline: "The service cannot be reached.", scoresOf: "Errors on the past of this input (less is better)", method: "method",
    coverage: "in the interval", drawExample: (n) => `Draw ${n}`, inverted: "dark on light, turned round", box: "cut out of the picture",
    welcome: "Ready to try:", actual: "what came", forecasts: "forecast from before",
    tested: (o) => `${o.name}${o.count} forecasts of ${o.steps} steps, each from what was known before, beside what came.`,
    best: (name) => `The least error has: ${name}.`, anomalies: (n) => `${n} surprising so far.`,
    opened: (name) => `(${name})`,
    liveStatus: (n) => `Live: ${n} values sent one by one, the next is forecast.`,
  },
  es: {
    skip: "Ir al contenido", views: "Vistas", tabSeries: "Series", tabDigit: "Dígitos", language: "Idioma", theme: "Colores", key: "Clave",
    themeAuto: "Automático", themeLight: "Claro", themeDark: "Oscuro", docs: "API", yourSeries: "Tu serie",
    pasteHint: "Pega números, una columna de una hoja de cálculo o CSV, o suelta un archivo (CSV, Excel)", openFile: "Abrir archivo",
    examples: "Ejemplos", choose: "elige …", exampleShop: "Ventas de una tienda, por mes", examplePower: "Demanda eléctrica, por hora",
    exampleVisits: "Visitas de dos sitios, por día", live: "Demo en vivo", horizon: "Pasos por delante", level: "Intervalo",
    forecast: "Pronóstico", which: "Serie", download: "Descargar CSV", copyCurl: "Copiar como curl", copyPython: "Copiar como Python",
    backtest: "¿Qué tal acierta aquí?", understood: "Cómo se leyó la entrada", values: "Los números", drawDigit: "Dibuja un dígito",
    padLabel: "Área de dibujo: las flechas mueven el lápiz, espacio pinta",
    padHint: "Dibuja con el dedo, el ratón o las flechas y espacio; o suelta, pega o abre una imagen.", pen: "Lápiz", eraser: "Goma",
    clear: "Borrar", openPicture: "Abrir imagen", reading: "Lectura fila a fila", seen: "Los 28 × 28 números que ve la red",
    past: "pasado", median: "pronóstico", step: "tiempo", interval: "intervalo", copied: "Copiado", working: "Calculando …",
    empty: "Pega una serie o elige un ejemplo.", noSeason: "sin estacionalidad", season: (n) => `estacionalidad de ${n}`,
    summary: (o) => `${o.name}${o.count} valores, ${o.season}. En ${o.steps} pasos: ${o.mean}; el ${o.level} % entre ${o.low} y ${o.high}.`,
    nothing: "Dibuja un dígito o elige un ejemplo.", verdict: (o) => `${o.label}, con probabilidad ${o.score}. Decidido en la fila ${o.row} de 28.`,
    undecided: (o) => `Quizá ${o.label}: ${o.score}. Nunca seguro.`, seenLabel: (n) => `Lo que vio la red, con marca en la fila ${n}`,
    offline: "No se puede contactar con el servicio.", scoresOf: "Errores en el pasado de esta entrada (menos es mejor)", method: "método",
    coverage: "en el intervalo", drawExample: (n) => `Dibujar ${n}`, inverted: "oscuro sobre claro, invertido", box: "recortado de la imagen",
    welcome: "Para probar ahora mismo:", actual: "lo ocurrido", forecasts: "pronóstico de antes",
    tested: (o) => `${o.name}${o.count} pronósticos de ${o.steps} pasos, cada uno con lo conocido hasta entonces, junto a lo ocurrido.`,
    best: (name) => `El menor error lo tiene: ${name}.`, anomalies: (n) => `${n} sorprendentes hasta ahora.`,
    opened: (name) => `(${name})`,
    liveStatus: (n) => `En vivo: ${n} valores enviados uno a uno; se pronostica el siguiente.`,
  },
};
let language = "en";

export function t(key, argument) {
  const text = TEXTS[language][key];
  return typeof text === "function" ? text(argument) : text;
}

export function number(value, digits = 4) {
  return new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
}

export function percent(value) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 2 }).format(value);
}

export function setLanguage(name) {
  language = name in TEXTS ? name : "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  document.dispatchEvent(new CustomEvent("language"));
}

export function firstLanguage() {
  const stored = localStorage.getItem("language");
  return stored ?? (navigator.language.startsWith("es") ? "es" : "en");
}
