// Series and strokes to try; made by formulas, so that nobody owns them.
function noise(seed) {
  let state = seed;
  return () => { state = (state * 16807) % 2147483647; return state / 2147483647 - 0.5; };
}

function table(header, rows) { return [header, ...rows].join("\n"); }

const day = (start, add) => new Date(Date.UTC(...start) + add * 86400000).toISOString().slice(0, 10);

export const SERIES = {
  shop() {
    const next = noise(7), season = [-18, -22, -5, 0, 6, 14, 20, 16, 2, -4, 10, 48];
    return { horizon: 12, text: table("month,sales", Array.from({ length: 72 }, (_, i) =>
      `${2019 + Math.floor(i / 12)}-${String(i % 12 + 1).padStart(2, "0")},${(120 + i * 1.4 + season[i % 12] + next() * 14).toFixed(1)}`)) };
  },
  power() {
    const next = noise(11);
    return { horizon: 48, text: table("time;load", Array.from({ length: 24 * 14 }, (_, i) => {
      const hour = i % 24, weekend = Math.floor(i / 24) % 7 > 4 ? 0.82 : 1;
      const load = (38 + 14 * Math.sin((hour - 8) / 24 * 2 * Math.PI) + 7 * Math.sin((hour - 3) / 12 * 2 * Math.PI)) * weekend + next() * 3;
      return `${day([2024, 4, 6], Math.floor(i / 24))} ${String(hour).padStart(2, "0")}:00;${load.toFixed(2).replace(".", ",")}`;
    })) };
  },
  visits() {
    const next = noise(3), week = [1.1, 1.2, 1.15, 1.1, 1, 0.7, 0.65];
    const rows = [];
    for (const [site, scale] of [["blog", 320], ["shop", 1450]])
      for (let i = 0; i < 98; i++) if (i % 31 !== 30) rows.push(`${site},${day([2024, 0, 1], i)},${Math.round(scale * (1 + i / 400) * week[i % 7] * (1 + next() * 0.15))}`);
    return { horizon: 21, text: table("site,date,visits", rows) };
  },
};

// Points of strokes on a pad of 280 x 280.
const round = (cx, cy, rx, ry, from, to) => Array.from({ length: 25 }, (_, i) => {
  const angle = (from + (to - from) * i / 24) * Math.PI / 180;
  return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)];
});

export const STROKES = {
  0: [round(140, 140, 55, 85, 0, 360)],
  1: [[[115, 85], [150, 55], [150, 230]]],
  2: [[...round(140, 100, 52, 48, 190, 400), [95, 225], [195, 225]]],
  3: [[...round(130, 98, 50, 44, 200, 440), ...round(130, 184, 56, 46, -80, 150)]],
  4: [[[150, 50], [80, 165], [205, 165]], [[165, 110], [165, 235]]],
  5: [[[195, 58], [110, 58], [103, 130], ...round(140, 175, 55, 52, -110, 140)]],
  6: [[[175, 50], [115, 120], ...round(140, 180, 46, 48, 200, 560)]],
  7: [[[80, 62], [195, 62], [125, 230]]],
  8: [[...round(140, 98, 40, 42, 90, 450), ...round(140, 186, 50, 46, -90, 270)]],
  9: [[...round(140, 105, 44, 46, 0, 360), [184, 110], [165, 232]]],
};
