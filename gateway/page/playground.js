// One input on its way: OOV at once, then a hit; its vector and what is near to it.

import { ask, explained } from "./api.js";
import { $, duration, h, say } from "./dom.js";
import { keepPicture, showNear } from "./near.js";
import { showVector } from "./vector.js";

const GIVE_UP_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 1500;
const ASK_AGAIN_MS = 15_000; // the gateway does not queue a key again sooner
const EXAMPLES = [
  "a red leather jacket for women",
  "a kettle that is quiet and quick",
  "walking shoes for wet autumn days",
  "ten recipes with roasted pumpkin",
  "the night train from Paris to Vienna",
];

let run = 0;

/** Make both forms work. */
export function playground() {
  let next = 0;
  $("example").addEventListener("click", () => {
    $("text").value = EXAMPLES[next++ % EXAMPLES.length];
  });
  $("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUp($("text-model").value, { text: $("text").value }, null);
  });
  $("image-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUpFile($("image").files[0]);
  });
  dropping($("drop"));
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
    if (!file) return step("failed", "What was dropped is no file", "Save the image first.", true);
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
    step("failed", "The file cannot be read", "", true);
  }
}

async function lookUp(model, item, file) {
  const mine = ++run;
  const current = () => mine === run;
  const began = performance.now();
  const passed = () => performance.now() - began;
  $("near").replaceChildren();
  say($("near-said"), "");
  $("answer").hidden = true;
  step("unknown", "Asked", `of ${model}`, true);
  try {
    let answer = await lookup(model, item, "oov");
    if (!current()) return;
    if (answer.key && file) keepPicture(answer.key, file);
    showPreview(answer.key, file);
    if (answer.status === "oov") {
      step("oov", "OOV", told(answer, passed()));
      showVector(answer);
      answer = await waitFor(model, item, answer, current, passed);
      if (answer === null || !current()) return;
    }
    showVector(answer);
    step(KIND[answer.status], WORD[answer.status], told(answer, passed()));
    if (answer.status === "hit") await showNear(model, answer.key, current);
  } catch (problem) {
    if (current()) step("failed", "Not answered", `${explained(problem, "read")}.`);
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
  return { ...answer, status: "late" };
}

async function lookup(model, item, onMiss) {
  const body = { model, items: [item], on_miss: onMiss, partial: true };
  const { items } = await ask("v1/lookup", { body, patience: 30_000 });
  return items[0];
}

const STUCK =
  "Do consumers run, and is Retina ready? See the state above. A key needs the scope enqueue.";
const KIND = { hit: "hit", failed: "failed", invalid: "failed", late: "oov" };
const WORD = { hit: "Hit", failed: "Failed", invalid: "Not served", late: "Still OOV" };

function told(answer, passed) {
  const after = `after ${duration(passed / 1000)}`;
  switch (answer.status) {
    case "hit":
      return `${after}: the vector is in the archive.`;
    case "oov":
      return answer.queued
        ? `${after}: the archive does not have it. It is queued, its vector is awaited…`
        : `${after}: the archive does not have it. Not known to be queued yet; waiting…`;
    case "failed":
      return `${after}: ${answer.reason.message} (${answer.reason.code}).`;
    case "invalid":
      return `${answer.error.message} (${answer.error.code}).`;
    default:
      return `after a minute. ${STUCK}`;
  }
}

function step(kind, word, words, first = false) {
  if (first) $("steps").replaceChildren();
  $("steps").append(h("li", {}, h("span", { class: `badge ${kind}` }, word), " ", words));
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
