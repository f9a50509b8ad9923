// A vector: its numbers as bars, as facts, and in full.

import { $, duration, h, say, svg } from "./dom.js";

/** Show the vector of an answer to a lookup; what cannot be served has none. */
export function showVector(answer) {
  $("answer").hidden = answer.status === "invalid";
  if ($("answer").hidden) return;
  const { embedding: vector, status } = answer;
  const placeholder = "The placeholder: the model's OOV vector";
  say($("vector-heading"), status === "hit" ? "Its vector" : placeholder);
  const facts = { Model: answer.model, Generation: answer.generation, Key: answer.key };
  Object.assign(facts, { Dimension: vector.length, Norm: Math.hypot(...vector).toPrecision(5) });
  if ("age_ms" in answer) facts.Computed = `${duration(answer.age_ms / 1000)} ago`;
  const pairs = Object.entries(facts).flatMap(([name, value]) => [
    h("dt", {}, name),
    h("dd", {}, String(value)),
  ]);
  const scrolled = { tabindex: 0, role: "region", "aria-label": "All numbers" };
  const numbers = h("pre", scrolled, vector.join(", "));
  const all = h("details", {}, h("summary", {}, `All ${vector.length} numbers`), numbers);
  $("vector").replaceChildren(bars(vector), h("dl", {}, ...pairs), all);
}

function bars(vector) {
  const high = Math.max(...vector.map(Math.abs)) || 1;
  const end = (value) => (50 - (48 * value) / high).toFixed(2);
  const strokes = vector.map((value, index) => `M${index + 0.5} 50V${end(value)}`);
  const [least, most] = [Math.min(...vector), Math.max(...vector)];
  return svg(
    "svg",
    {
      viewBox: `0 0 ${vector.length} 100`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${vector.length} numbers from ${least.toFixed(4)} to ${most.toFixed(4)}`,
    },
    svg("path", { class: "grid", d: `M0 50H${vector.length}` }),
    svg("path", { class: "bars", d: strokes.join("") }),
  );
}
