// What is up, what is down, and what to do: shown.

import { ask, Problem } from "./api.js";
import { diagnosed } from "./diagnosis.js";
import { $, h, mark, say } from "./dom.js";
import { askForKey } from "./key.js";
import { showLanes } from "./queue.js";

const WORDS = { up: "up", down: "down", warn: "in trouble", unknown: "not seen" };
const SIGNS = { up: "✓", down: "✕", warn: "!", unknown: "?" };

const cards = new Map();
const seen = { health: null, problem: null, took: 0, unmeasured: null, letters: null };
let answered = null;
let told = "";

/** Ask for the service's health; not ready is an answer too. */
export async function readHealth() {
  const began = performance.now();
  try {
    const answer = await ask("v2/health/ready", { also: 503, open: true });
    // Turned away is no answer.
    if (!answer.dependencies) throw new Problem(answer.error?.message ?? "no state in the answer");
    seen.health = answer;
    seen.problem = null;
    seen.took = performance.now() - began;
    answered = new Date();
  } catch (problem) {
    seen.health = null;
    seen.problem = problem;
  }
}

/** Take note of something that was learnt elsewhere: `unmeasured` or `letters`. */
export function note(learnt) {
  Object.assign(seen, learnt);
}

/** Show everything that is known, once the gateway's health or its silence is. */
export function showState(history) {
  if (!seen.health && !seen.problem) return;
  const { parts, troubles } = diagnosed({ ...seen, history });
  for (const part of parts) showPart(part);
  const worst = troubles[0]?.level ?? "up";
  mark($("banner"), worst);
  const others = troubles.length - 1;
  const title = troubles.length ? troubles[0].title : "Everything works";
  say($("summary"), others > 0 ? `${title}, and ${others} more` : title);
  const at = answered?.toLocaleTimeString();
  say($("checked"), seen.problem ? `last answer: ${at ?? "none"}` : `as of ${at}`);
  document.title = troubles.length ? `${SIGNS[worst]} ${title} · EmbArk` : "EmbArk";
  showTroubles(troubles);
  if (seen.health) showLanes(seen.health.dependencies.queue.lanes);
}

// Made again only when there are others, so that the focus stays.
function showTroubles(troubles) {
  const titles = troubles.map(({ title }) => title).join();
  if (titles !== told) $("troubles").replaceChildren(...troubles.map(trouble));
  told = titles;
  troubles.forEach(({ detail }, index) => {
    say($("troubles").children[index].querySelector(".detail"), detail ?? "");
  });
}

function trouble({ level, title, remedy, href }) {
  const more = href && h("a", { href, click: href === "#access" ? openKey : () => {} }, "Go there");
  return h(
    "li",
    { class: level },
    h("strong", {}, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[level]), title),
    h("span", { class: "detail" }),
    h("span", { class: "remedy" }, ...withCode(remedy), " ", more ?? ""),
  );
}

// What stands between backticks is code.
function withCode(words) {
  return words.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

function openKey(event) {
  event.preventDefault();
  askForKey();
}

function showPart({ name, what, state, facts }) {
  if (!cards.has(name)) {
    const parts = { item: h("li"), sign: h("span", { class: "sign", "aria-hidden": "true" }) };
    parts.word = h("span", { class: "word" });
    parts.facts = h("span", { class: "facts" });
    const head = h("div", {}, h("strong", {}, name), parts.sign, parts.word);
    parts.item.append(head, h("span", { class: "note" }, what), parts.facts);
    cards.set(name, parts);
    $("parts").append(parts.item);
  }
  const parts = cards.get(name);
  mark(parts.item, state);
  say(parts.sign, SIGNS[state]);
  say(parts.word, WORDS[state]);
  say(parts.facts, facts);
}
