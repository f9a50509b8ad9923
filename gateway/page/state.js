// What is up, what is down, and how much waits.

import { $, h, say } from "./dom.js";
import { growth } from "./metrics.js";

const LATELY = 10; // readings

const cards = new Map();

/** Show the answer of /v2/health/ready, or why there is none. */
export function showHealth(health, problem) {
  if (problem) {
    card("Gateway", "down", problem.message);
    for (const name of ["Archive", "Queue"]) card(name, "unknown", "the gateway does not answer");
  } else {
    card("Gateway", "up", "answers");
    const { archive, queue } = health.dependencies;
    card("Archive", archive.state, archive.detail ?? "answers");
    card("Queue", queue.state, queue.detail ?? waiting(queue.lanes));
    if (queue.lanes) say($("lag"), lag(queue.lanes));
  }
  const down = [...cards].filter(([, { state }]) => state === "down").map(([name]) => name);
  say($("summary"), down.length ? `Down: ${down.join(", ")}` : "Everything that was asked is up");
}

/** Show what only the metrics tell: Retina and the consumers, as far as they share them. */
export function showMetrics(readings) {
  const now = readings.at(-1);
  const before = readings.at(-Math.min(LATELY, readings.length));
  const grown = growth(before.inference, now.inference);
  const bad = grown.unavailable ?? 0;
  if (grown.ok) {
    card("Retina", "up", `${grown.ok} inference requests answered lately, ${bad} not`);
  } else if (bad) card("Retina", "down", `${bad} inference requests found it unavailable lately`);
  else if (now.inference.ok) card("Retina", "unknown", "nothing was asked of it lately");
  else card("Retina", "unknown", "nothing was asked of it yet, as far as is known here");
  showConsumers(before, now);
  const dead = Object.entries(now.dead).filter(([, count]) => count);
  const reasons = dead.map(([reason, count]) => `${reason} ${count}`).join(", ");
  say($("dead-count"), `Dead letters since the consumers started: ${reasons || "none"}.`);
}

function showConsumers(before, now) {
  const finished = Object.values(growth(before.consumed, now.consumed)).reduce(add, 0);
  const waits = Object.values(now.depth).reduce(add, 0);
  const told = `${finished} requests finished lately, ${now.inFlight} in work`;
  if (finished || now.inFlight) card("Consumers", "up", told);
  else if (waits) card("Consumers", "unknown", `nothing finished lately, and ${waits} wait`);
  else card("Consumers", "unknown", "nothing to do lately, or their metrics are not shared");
}

const add = (sum, value) => sum + value;

function card(name, state, detail) {
  if (!cards.has(name)) {
    const parts = { word: h("span"), detail: h("span") };
    cards.set(name, parts);
    $("dependencies").append(
      h("li", {}, h("strong", {}, name), parts.word, " · ", parts.detail),
    );
  }
  const parts = cards.get(name);
  parts.state = state;
  say(parts.word, state, state);
  say(parts.detail, detail);
}

function waiting(lanes) {
  const depth = Object.values(lanes).reduce((sum, lane) => sum + lane.depth, 0);
  return depth ? `${depth} requests wait` : "nothing waits";
}

function lag(lanes) {
  const told = Object.entries(lanes).map(
    ([name, { depth, oldest_seconds: oldest }]) =>
      `${name}: ${depth} wait${depth ? `, the oldest for ${oldest.toFixed(1)} s` : ""}`,
  );
  return `${told.join("; ")}.`;
}
