// Models, their generations, and on demand how much each generation can answer.

import { ask, token } from "./api.js";
import { $, cell, h, say } from "./dom.js";

// The gateway gives up after 20 seconds.
const PATIENCE_MS = 45_000;

let shown = "";

/** Show the models that the service knows; returns them, or null if it does not answer. */
export async function showModels() {
  try {
    const { models } = await ask("v1/models");
    say($("models-said"), "");
    // Written again only when something changed, so that a coverage stays and so does the focus.
    if (JSON.stringify(models) === shown) return models;
    shown = JSON.stringify(models);
    $("generations").replaceChildren(...models.flatMap(rows));
    offer("text", models);
    offer("image", models);
    return models;
  } catch (problem) {
    say($("models-said"), `The models cannot be read: ${problem.message}.`);
    return null;
  }
}

function rows(model) {
  return model.generations.map(({ generation, version, live }) => {
    const result = h("span", { role: "status" });
    const compute = async () => showCoverage(button, result, model.name, generation);
    const label = `Compute the coverage of ${model.name} ${generation}`;
    const button = h("button", { type: "button", click: compute, "aria-label": label }, "Compute");
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, model.name),
      cell(model.modality),
      cell(live ? String(model.dimension) : ""),
      cell(h("code", {}, generation)),
      cell(String(version)),
      cell(live ? "live" : "beside"),
      h("td", {}, button, " ", result),
    );
  });
}

async function showCoverage(button, result, name, generation) {
  if (!token.get()) {
    say(result, "enter the admin token below first");
    $("token").focus();
    return;
  }
  button.disabled = true;
  say(result, "reading…");
  try {
    const query = new URLSearchParams({ model: name, generation });
    const found = await ask(`v1/admin/coverage?${query}`, { admin: true, patience: PATIENCE_MS });
    const share = (100 * found.share).toFixed(1);
    const { covered, inputs, failed, uses } = found;
    const by = uses ? "of what is asked" : "of the inputs, no use is counted yet";
    say(result, `${share} % ${by}; ${covered} of ${inputs} inputs, ${failed} failed`);
  } catch (problem) {
    say(result, problem.message);
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
