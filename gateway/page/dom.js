// Elements and words. Whatever the service or a person says becomes a text node, never markup.

const KINDS = ["up", "down", "unknown", "warn", "hit", "oov", "failed"];

export const $ = (id) => document.getElementById(id);

/** Make an element; a property that is a function listens to the event of its name. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  set(element, properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, properties);
  element.append(...children);
  return element;
}

/** Change a text only if it differs: a live region that is written again is read out again. */
export function say(element, text, kind = "") {
  if (element.textContent !== text) element.textContent = text;
  mark(element, kind);
}

/** Show of what kind an element is. */
export function mark(element, kind) {
  element.classList.remove(...KINDS);
  if (kind) element.classList.add(kind);
}

export const cell = (content, properties = {}) => h("td", properties, content);

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A count: whole up to a hundred thousand, then short. */
export const count = (value) => (value < 1e5 ? whole : short).format(value);

/** A share, 0 to 1. */
export const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 1 ? 1 : 0)} %`;

/** A number of things: `1 item`, `2 items`. */
export const many = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;

/** A duration in seconds, in the unit that people would use. */
export function duration(seconds) {
  if (!seconds) return "0 s";
  if (seconds < 0.9995) return `${(1000 * seconds).toFixed(seconds < 0.0095 ? 1 : 0)} ms`;
  if (seconds < 99.5) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
}
