// Charts over time, each with its newest value, the range, and a table that says the same.

import { cell, h, say, svg } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;
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
  const area = svg("path", { class: "area" });
  const lines = names.map((_, index) => svg("path", index ? { class: "second" } : {}));
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${title}: a line chart; the table below says the same`,
    },
    svg("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}` }),
    area,
    ...lines,
  );
  const legends = names.map((name, index) => legend(name, index, names.length));
  const top = h("span", { class: "top" });
  const since = h("span");
  const rows = h("tbody");
  const heads = ["Time", ...names].map((name) => h("th", { scope: "col" }, name));
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...heads)), rows);
  const details = h("details", {}, h("summary", {}, `${title} as a table`), table);
  let last = [];
  details.addEventListener("toggle", () => fillRows(details, rows, last, shown));
  place.append(
    h(
      "figure",
      { class: "card" },
      h("figcaption", {}, title),
      h("div", { class: "now" }, ...legends.map(({ place }) => place), top),
      picture,
      h("div", { class: "axis" }, since, h("span", {}, "now")),
      details,
    ),
  );

  return (series) => {
    last = series;
    const high = Math.max(least, ...series.flat().map(([, value]) => value ?? 0));
    say(top, shown(high));
    const first = series[0]?.[0]?.[0];
    const end = series[0]?.at(-1)?.[0];
    say(since, first === undefined ? "" : ago((end - first) / 1000));
    lines.forEach((line, index) => line.setAttribute("d", path(series[index], first, end, high)));
    area.setAttribute("d", filled(series[0], first, end, high));
    legends.forEach((one, index) => one.show(series[index], shown));
    fillRows(details, rows, series, shown);
  };
}

function legend(name, index, lines) {
  const value = h("strong", {}, "–");
  const range = h("span", { class: "note" });
  const stroke = lines > 1 ? h("span", { class: index ? "key second" : "key" }) : null;
  return {
    place: h("p", {}, value, h("span", {}, stroke, name), range),
    show(points, shown) {
      const values = points.map(([, one]) => one).filter((one) => one !== null);
      say(value, values.length ? shown(values.at(-1)) : "–");
      const idle = points.at(-1)?.[1] === null ? "idle; " : "";
      const [least, most] = [Math.min(...values), Math.max(...values)].map(shown);
      const told = least === most ? `always ${least}` : `${least} to ${most}`;
      say(range, values.length ? `${idle}${told}` : "nothing yet");
    },
  };
}

const ago = (seconds) =>
  seconds < 120 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`;

function place([time, value], first, end, high) {
  const x = (WIDTH * (time - first)) / Math.max(1, end - first);
  return [x, HEIGHT - 2 - ((HEIGHT - 6) * value) / high].map((one) => one.toFixed(1));
}

// Stretches of points without a gap.
function stretches(points) {
  const found = [];
  let broken = true;
  for (const point of points) {
    if (point[1] === null) broken = true;
    else if (broken) found.push([point]);
    else found.at(-1).push(point);
    if (point[1] !== null) broken = false;
  }
  return found;
}

function path(points, first, end, high) {
  return stretches(points)
    .map((stretch) => {
      const places = stretch.map((point) => place(point, first, end, high).join(" "));
      // A value between two gaps is a short stroke, else it would not be seen.
      return `M${places.join("L")}${places.length > 1 ? "" : "h-2h4"}`;
    })
    .join("");
}

function filled(points, first, end, high) {
  return stretches(points)
    .map((stretch) => {
      const places = stretch.map((point) => place(point, first, end, high));
      return `M${places[0][0]} ${HEIGHT}L${places.join("L")}L${places.at(-1)[0]} ${HEIGHT}Z`;
    })
    .join("");
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
