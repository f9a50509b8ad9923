// The admin token, and the dead letters: see them, replay them, purge them.

import { ask, token } from "./api.js";
import { $, cell, h, say } from "./dom.js";

const LIMIT = 100;
const PATIENCE_MS = 60_000; // reading a long topic takes its time

/** Make the forms work, and show the letters if the token is there already. */
export function deadLetters() {
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.set($("token").value);
    $("token").value = "";
    read();
  });
  $("forget").addEventListener("click", () => {
    token.set("");
    $("letters").hidden = true;
    say($("letters-said"), "The token is forgotten.");
  });
  $("refresh").addEventListener("click", () => read());
  $("all-letters").addEventListener("change", () => {
    for (const box of boxes()) box.checked = $("all-letters").checked;
    offer();
  });
  $("letter-rows").addEventListener("change", offer);
  $("replay").addEventListener("click", () => change("replay", "replayed"));
  $("purge").addEventListener("click", () => {
    const count = chosen().length;
    if (confirm(`Forget ${count} dead letters for ever?`)) change("purge", "purged");
  });
  if (token.get()) read();
}

async function read(done = "") {
  say($("letters-said"), `${done}Reading…`);
  try {
    const answer = await ask(`v1/admin/dead-letters?limit=${LIMIT}`, {
      admin: true,
      patience: PATIENCE_MS,
    });
    const { dead_letters: letters, more } = answer;
    $("letter-rows").replaceChildren(...letters.map(row));
    $("all-letters").checked = false;
    $("letters").hidden = false;
    offer();
    const count = letters.length || "No";
    say($("letters-said"), `${done}${count} dead letters${more ? ", and more: the latest" : ""}.`);
  } catch (problem) {
    $("letters").hidden = true;
    if (problem.status === 401) token.set("");
    say($("letters-said"), `Dead letters cannot be read: ${problem.message}.`);
  }
}

async function change(verb, done) {
  const names = chosen();
  for (const name of ["replay", "purge"]) $(name).disabled = true;
  try {
    const body = { names };
    const answer = await ask(`v1/admin/dead-letters/${verb}`, {
      body,
      admin: true,
      patience: PATIENCE_MS,
    });
    await read(`${answer[done]} ${done}. `);
  } catch (problem) {
    say($("letters-said"), `Not ${done}: ${problem.message}.`);
    offer();
  }
}

function row(letter) {
  const choose = { type: "checkbox", value: letter.name, "aria-label": `Choose ${letter.key}` };
  return h(
    "tr",
    {},
    cell(h("input", choose)),
    cell(new Date(letter.died_at * 1000).toLocaleString()),
    cell(letter.lane),
    cell(String(letter.attempt)),
    cell(letter.code),
    cell(letter.message, { class: "free" }),
    cell(h("code", {}, letter.key), { class: "free" }),
  );
}

const boxes = () => [...$("letter-rows").querySelectorAll("input")];
const chosen = () => boxes().filter((box) => box.checked).map((box) => box.value);

function offer() {
  for (const name of ["replay", "purge"]) $(name).disabled = !chosen().length;
}
