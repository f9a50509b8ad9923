// The page: asks the service every few seconds, and hands the answers to the modules that show them.

import { ask } from "./api.js";
import { $ } from "./dom.js";
import { History, figures, parse } from "./metrics.js";
import { showModels } from "./models.js";
import { remoteChoice } from "./near.js";
import { playground } from "./playground.js";
import { deadLetters } from "./queue.js";
import { showHealth, showMetrics } from "./state.js";
import { traffic } from "./traffic.js";

const PERIOD_MS = 3000;
const HIDDEN_PERIOD_MS = 15_000;
const THEME = "embark-theme";

const history = new History();
const showTraffic = traffic();

async function look() {
  await Promise.all([health(), metrics(), showModels()]);
  setTimeout(look, document.hidden ? HIDDEN_PERIOD_MS : PERIOD_MS);
}

async function health() {
  try {
    // Not ready is an answer too.
    showHealth(await ask("v2/health/ready", { also: 503 }), null);
  } catch (problem) {
    showHealth(null, problem);
  }
}

async function metrics() {
  try {
    const text = await ask("metrics", { as: "text" });
    history.add(figures(parse(text), Date.now()));
    showMetrics(history.readings);
    showTraffic(history);
  } catch (problem) {
    // The charts keep what they have; that the gateway is silent is said once, by its state.
    if (problem.status !== 0) console.error(problem);
  }
}

function theme() {
  const chosen = $("theme");
  const apply = () => {
    if (chosen.value) document.documentElement.dataset.theme = chosen.value;
    else delete document.documentElement.dataset.theme;
  };
  chosen.addEventListener("change", () => {
    apply();
    try {
      localStorage.setItem(THEME, chosen.value);
    } catch {
      // for this page only, then
    }
  });
  try {
    chosen.value = localStorage.getItem(THEME) ?? "";
  } catch {
    return;
  }
  apply();
}

theme();
remoteChoice();
playground();
deadLetters();
$("endpoint").addEventListener("change", () => showTraffic(history));
look();
