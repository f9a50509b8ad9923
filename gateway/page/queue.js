// What waits in the queue, and the dead letters: see them, replay them, purge them.

import { ask, explained } from "./api.js";
import { $, cell, count, duration, h, many, say } from "./dom.js";

const LIMIT = 100;
const PATIENCE_MS = 60_000; // reading a long topic takes its time
const WHO = { interactive: "lookups that missed", bulk: "nobody: prefetched or filled" };

let learnt = () => {};
let partly = false; // whether there are more than are shown

/**
 * Make the buttons work, and show the letters if that is allowed.
 * @param {function(object | null)} tell told {number, more, reasons}, null if that is not known
 */
export function deadLetters(tell) {
  learnt = tell;
  document.addEventListener("key", () => readLetters());
  $("refresh").addEventListener("click", () => readLetters());
  $("all-letters").addEventListener("change", () => {
    for (const box of boxes()) box.checked = $("all-letters").checked;
    offer();
  });
  $("letter-rows").addEventListener("change", offer);
  $("replay").addEventListener("click", () => change("replay", "replayed"));
  $("purge").addEventListener("click", () => {
    const told = many(chosen().length, "dead letter");
    if (confirm(`Forget ${told} for ever?`)) change("purge", "purged");
  });
  readLetters();
}

/** Show how much waits in each lane. */
export function showLanes(lanes) {
  if (!lanes) return;
  const rows = Object.entries(lanes).map(([name, { depth, oldest_seconds: oldest }]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      cell(count(depth), { class: "number" }),
      cell(depth ? duration(oldest) : "–"),
      cell(WHO[name] ?? ""),
    ),
  );
  $("lanes").replaceChildren(...rows);
}

/** Read the dead letters again. */
export async function readLetters(done = "") {
  say($("letters-said"), `${done}Reading…`);
  try {
    const path = `v1/admin/dead-letters?limit=${LIMIT}`;
    const { dead_letters: letters, more } = await ask(path, { patience: PATIENCE_MS });
    const kept = new Set(ticked());
    $("letter-rows").replaceChildren(...letters.map((letter) => row(letter, kept)));
    $("all-letters").checked = false;
    $("letters").hidden = !letters.length;
    partly = more;
    offer();
    const told = letters.length ? many(letters.length, "dead letter") : "No dead letters";
    say($("letters-said"), `${done}${told}${more ? ", and more: these are the latest" : ""}.`);
    learnt({ number: letters.length, more, reasons: reasonsOf(letters) });
  } catch (problem) {
    $("letters").hidden = true;
    say($("letters-said"), `${done}They cannot be read: ${explained(problem, "admin")}.`);
    learnt(null);
  }
}

async function change(verb, done) {
  const names = chosen();
  for (const name of ["replay", "purge"]) $(name).disabled = true;
  try {
    const options = { body: { names }, patience: PATIENCE_MS };
    const answer = await ask(`v1/admin/dead-letters/${verb}`, options);
    await readLetters(`${many(answer[done], "dead letter")} ${done}. `);
  } catch (problem) {
    say($("letters-said"), `Not ${done}: ${explained(problem, "admin")}.`);
    offer();
  }
  $("letters-heading").focus();
}

function row(letter, kept) {
  const choose = { type: "checkbox", value: letter.name, "aria-label": `Choose ${letter.key}` };
  const reason = [h("strong", {}, letter.code), h("div", {}, letter.message)];
  return h(
    "tr",
    {},
    cell(h("input", { ...choose, checked: kept.has(letter.name) })),
    cell(new Date(letter.died_at * 1000).toLocaleString()),
    h("td", { class: "free" }, ...reason),
    cell(letter.lane),
    cell(String(letter.attempt), { class: "number" }),
    cell(h("code", {}, letter.key), { class: "free" }),
  );
}

function reasonsOf(letters) {
  const found = {};
  for (const { code } of letters) found[code] = (found[code] ?? 0) + 1;
  return found;
}

const boxes = () => [...$("letter-rows").querySelectorAll("input")];
const ticked = () => boxes().filter((box) => box.checked).map((box) => box.value);

// All that are shown, unless some are ticked.
function chosen() {
  const some = ticked();
  return some.length ? some : boxes().map((box) => box.value);
}

function offer() {
  const some = ticked().length;
  for (const name of ["replay", "purge"]) $(name).disabled = false;
  const which = some ? `the ${some} chosen` : `${partly ? "these" : "all"} ${boxes().length}`;
  say($("replay"), `Replay ${which}`);
  say($("purge"), `Purge ${which}…`);
}
