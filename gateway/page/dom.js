// Elements. Whatever the service or a person says becomes a text node, never markup.

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
  element.classList.remove("up", "down", "unknown", "hit", "oov", "failed");
  if (kind) element.classList.add(kind);
}

export const cell = (content, properties = {}) => h("td", properties, content);

function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
}
