// Models, their generations, and on demand how much each generation can answer.

import { ask, explained } from "./api.js";
import { $, cell, count, h, percent, say } from "./dom.js";
import { askForKey } from "./key.js";

// The gateway gives up after 20 seconds.
const PATIENCE_MS = 45_000;

let shown = "";
let computations = [];

/** Show the models that the service knows. */
export async function showModels() {
  try {
    const { models } = await ask("v1/models");
    say($("models-said"), models.length ? "" : "No model is exported; `embark export` does it.");
    // Written again only when something changed, so that a coverage stays and so does the focus.
    if (JSON.stringify(models) === shown) return;
    shown = JSON.stringify(models);
    computations = [];
    $("generations").replaceChildren(...models.flatMap(rows));
    offer("text", models);
    offer("image", models);
  } catch (problem) {
    say($("models-said"), `The models cannot be read: ${explained(problem, "read")}.`);
  }
}

/** Make the button for all of them work. */
export function coverageOfAll() {
  $("cover-all").addEventListener("click", async () => {
    $("cover-all").disabled = true;
    for (const compute of computations) if (!(await compute())) break;
    $("cover-all").disabled = false;
  });
}

function rows(model) {
  return model.generations.map(({ generation, version, live }) => {
    const result = h("div", { role: "status" });
    const compute = () => showCoverage(button, result, model.name, generation);
    const label = `Compute the coverage of ${model.name} ${generation}`;
    const listens = { type: "button", class: "quiet", click: compute, "aria-label": label };
    const button = h("button", listens, "Compute");
    computations.push(compute);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, model.name),
      cell(model.modality),
      cell(live ? count(model.dimension) : "", { class: "number" }),
      cell(h("code", {}, generation)),
      cell(String(version), { class: "number" }),
      cell(h("span", { class: live ? "badge up" : "badge" }, live ? "live" : "beside")),
      cell(h("div", { class: "coverage" }, result, button)),
    );
  });
}

async function showCoverage(button, result, name, generation) {
  button.disabled = true;
  result.replaceChildren("reading…");
  try {
    const query = new URLSearchParams({ model: name, generation });
    const found = await ask(`v1/admin/coverage?${query}`, { patience: PATIENCE_MS });
    const { covered, inputs, failed, uses, share } = found;
    const meter = h("meter", { value: share, "aria-label": `Coverage of ${name} ${generation}` });
    const of = uses ? "of what is asked" : "of the inputs, as no use is counted yet";
    const known = `${count(covered)} of ${count(inputs)} inputs, ${count(failed)} failed`;
    const told = inputs
      ? [meter, h("strong", {}, percent(share)), ` ${of}`, h("div", { class: "note" }, known)]
      : ["nothing was asked of it yet"];
    result.replaceChildren(...told);
    return true;
  } catch (problem) {
    result.replaceChildren(explained(problem, "admin"));
    if (problem.denied) askForKey();
    return false;
  } finally {
    button.disabled = false;
  }
}

function offer(modality, models) {
  const select = $(`${modality}-model`);
  const had = select.value;
  const fitting = models.filter((model) => model.modality === modality);
  select.replaceChildren(...fitting.map(({ name }) => h("option", {}, name)));
  if (fitting.some(({ name }) => name === had)) select.value = had;
  for (const control of $(`${modality}-form`).elements) control.disabled = !fitting.length;
}
