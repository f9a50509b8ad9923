// One input on its way: OOV at once, then a hit; its vector and what is near to it.

import { ask } from "./api.js";
import { $, h, say, svg } from "./dom.js";
import { showNear, keepPicture } from "./near.js";

const GIVE_UP_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 1500;
const ASK_AGAIN_MS = 15_000; // the gateway does not queue a key again sooner

let run = 0;

/** Make both forms work. */
export function playground() {
  $("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUp($("text-model").value, { text: $("text").value }, null);
  });
  $("image-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUpFile($("image").files[0]);
  });
  dropping($("image-form"));
}

function dropping(box) {
  // A file dropped beside the box must not replace the page.
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => event.preventDefault());
  }
  box.addEventListener("dragover", () => box.classList.add("over"));
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    box.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (!file) return say($("outcome"), "What was dropped is no file; save the image first.");
    $("image").files = event.dataTransfer.files;
    lookUpFile(file);
  });
}

async function lookUpFile(file) {
  const model = $("image-model").value;
  if (!file || !model) return;
  try {
    lookUp(model, { image: await base64(file) }, file);
  } catch {
    say($("outcome"), "The file cannot be read.", "failed");
  }
}

async function lookUp(model, item, file) {
  const mine = ++run;
  const current = () => mine === run;
  const began = performance.now();
  const passed = () => Math.round(performance.now() - began);
  $("near").replaceChildren();
  say($("near-said"), "");
  say($("outcome"), "Asking…");
  try {
    let answer = await lookup(model, item, "oov");
    if (!current()) return;
    if (answer.key && file) keepPicture(answer.key, file);
    showPreview(answer.key, file);
    const first = passed();
    if (answer.status === "oov") {
      const then = answer.queued ? "It is queued; waiting for its vector…" : "Waiting…";
      say($("outcome"), `OOV after ${first} ms: the archive does not have it. ${then}`, "oov");
      showVector(answer);
      answer = await waitFor(model, item, answer, current, passed);
      if (answer === null || !current()) return;
    }
    showVector(answer);
    const before = answer.status === "hit" && passed() > first ? `, OOV after ${first} ms` : "";
    say($("outcome"), outcome(answer, passed(), before), answer.status);
    if (answer.status === "hit") await showNear(model, answer.key, current);
  } catch (problem) {
    if (current()) say($("outcome"), `Not answered: ${problem.message}.`, "failed");
  }
}

/** Look again until the input has a vector or has failed; null if another one was asked. */
async function waitFor(model, item, answer, current, passed) {
  let pause = FIRST_PAUSE_MS;
  let asked = performance.now();
  while (passed() < GIVE_UP_MS) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (!current()) return null;
    pause = Math.min(LAST_PAUSE_MS, pause * 1.3);
    const again = performance.now() - asked > ASK_AGAIN_MS;
    if (again) asked = performance.now();
    const next = again
      ? await lookup(model, item, "oov")
      : await lookup(model, { key: answer.key }, "skip");
    if (next.status !== "oov") return next;
  }
  return answer;
}

async function lookup(model, item, onMiss) {
  const body = { model, items: [item], on_miss: onMiss, partial: true };
  const { items } = await ask("v1/lookup", { body, patience: 30_000 });
  return items[0];
}

function outcome(answer, passed, before) {
  switch (answer.status) {
    case "hit":
      return `Hit after ${passed} ms${before}: the vector is in the archive.`;
    case "failed":
      return `Failed: ${answer.reason.message} (${answer.reason.code}).`;
    case "invalid":
      return `Not served: ${answer.error.message} (${answer.error.code}).`;
    default:
      return "Still OOV after a minute. Do the consumers run, and is Retina up?";
  }
}

function showVector(answer) {
  $("answer").hidden = answer.status === "invalid";
  if ($("answer").hidden) return;
  const { embedding: vector, status } = answer;
  say($("vector-heading"), status === "hit" ? "Vector" : "Placeholder: the model's OOV vector");
  const norm = Math.hypot(...vector);
  const facts = { Model: answer.model, Generation: answer.generation, Key: answer.key };
  Object.assign(facts, { Dimension: vector.length, Length: norm.toPrecision(5) });
  if ("age_ms" in answer) facts["Computed"] = `${(answer.age_ms / 1000).toFixed(1)} s ago`;
  const pairs = Object.entries(facts).flatMap(([name, value]) => [
    h("dt", {}, name),
    h("dd", {}, String(value)),
  ]);
  const numbers = h("pre", { tabindex: 0, "aria-label": "All numbers" }, vector.join(", "));
  const all = h("details", {}, h("summary", {}, `All ${vector.length} numbers`), numbers);
  $("vector").replaceChildren(bars(vector), h("dl", {}, ...pairs), all);
}

function bars(vector) {
  const high = Math.max(...vector.map(Math.abs)) || 1;
  const strokes = vector.map((value, index) => `M${index + 0.5} 50V${50 - (48 * value) / high}`);
  const [least, most] = [Math.min(...vector), Math.max(...vector)];
  return svg(
    "svg",
    {
      viewBox: `0 0 ${vector.length} 100`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${vector.length} numbers from ${least.toFixed(4)} to ${most.toFixed(4)}`,
    },
    svg("path", { d: strokes.join("") }),
  );
}

function showPreview(key, file) {
  const preview = $("preview");
  preview.hidden = !file || !key;
  if (!preview.hidden) preview.src = keepPicture(key, file);
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = reject;
    reader.readAsDataURL(file);
  });
}
