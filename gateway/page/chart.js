// Line charts over time, each with a sentence and a table that say the same.

import { cell, h, say, svg } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 100;
const ROWS = 12;

/**
 * Make a chart. Returns `draw(series)`, one list of [time in ms, value or null] for each name.
 * @param {Element} place where it is appended
 * @param {string} title
 * @param {string[]} names of one or two lines; the second is dashed
 * @param {function(number): string} shown a value as text
 * @param {number} least the axis reaches at least so far up
 */
export function chart(place, title, names, shown, least) {
  const lines = names.map((_, index) => svg("path", index ? { class: "second" } : {}));
  const words = h("p");
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${title}: a line chart; the text and the table below say the same`,
    },
    ...lines,
  );
  const top = h("span");
  const since = h("span");
  const rows = h("tbody");
  const heads = ["Time", ...names].map((name) => h("th", { scope: "col" }, name));
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...heads)), rows);
  const details = h("details", {}, h("summary", {}, `${title} as a table`), table);
  let last = [];
  details.addEventListener("toggle", () => fillRows(details, rows, last, shown));
  const legend = names.length > 1 ? `${title}: ${names[0]} solid, ${names[1]} dashed` : title;
  place.append(
    h(
      "figure",
      {},
      h("figcaption", {}, legend),
      h("div", { class: "axis" }, top),
      picture,
      h("div", { class: "axis" }, since, h("span", {}, "now")),
      words,
      details,
    ),
  );

  return (series) => {
    last = series;
    const high = Math.max(least, ...series.flat().map(([, value]) => value ?? 0));
    say(top, shown(high));
    const first = series[0]?.[0]?.[0];
    const end = series[0]?.at(-1)?.[0];
    say(since, first === undefined ? "" : `${Math.round((end - first) / 1000)} s ago`);
    lines.forEach((line, index) => {
      line.setAttribute("d", path(series[index], first, end, high));
    });
    say(words, names.map((name, index) => sentence(name, series[index], shown)).join(" "));
    fillRows(details, rows, series, shown);
  };
}

function path(points, first, end, high) {
  let broken = true;
  let commands = "";
  for (const [time, value] of points) {
    if (value !== null) {
      const x = (WIDTH * (time - first)) / Math.max(1, end - first);
      const y = HEIGHT - 2 - ((HEIGHT - 4) * value) / high;
      // A value between two gaps is a short stroke, else it would not be seen.
      commands += `${broken ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}${broken ? "h1" : ""}`;
    }
    broken = value === null;
  }
  return commands;
}

function sentence(name, points, shown) {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  if (!values.length) return `${name}: nothing yet.`;
  const now = points.at(-1)[1];
  const range = `from ${shown(Math.min(...values))} to ${shown(Math.max(...values))}`;
  return `${name}: ${now === null ? "nothing asked just now" : `now ${shown(now)}`}, ${range}.`;
}

function fillRows(details, rows, series, shown) {
  if (!details.open || !series.length) return;
  const latest = series[0].slice(-ROWS).map(([time], index) => {
    const values = series.map((points) => points.slice(-ROWS)[index][1]);
    const cells = values.map((value) => cell(value === null ? "none" : shown(value)));
    const at = new Date(time).toLocaleTimeString();
    return h("tr", {}, h("th", { scope: "row" }, at), ...cells);
  });
  rows.replaceChildren(...latest.reverse());
}
