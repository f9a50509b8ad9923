// The page: asks the service every few seconds, hands the answers to the modules that show them.

import { ask, explained } from "./api.js";
import { $ } from "./dom.js";
import { keyForm } from "./key.js";
import { History, figures, parse, sum } from "./metrics.js";
import { coverageOfAll, showModels } from "./models.js";
import { remoteChoice } from "./near.js";
import { playground } from "./playground.js";
import { deadLetters, readLetters } from "./queue.js";
import { note, readHealth, showState } from "./state.js";
import { traffic } from "./traffic.js";

const PERIOD_MS = 3000;
const HIDDEN_PERIOD_MS = 15_000;
const THEME = "embark-theme";

const history = new History();
const showTraffic = traffic();
let timer;

async function look() {
  clearTimeout(timer);
  try {
    const show = () => showState(history);
    await Promise.all([readHealth().then(show), readMetrics().then(show), showModels()]);
  } finally {
    again();
  }
}

function again() {
  clearTimeout(timer);
  timer = setTimeout(look, document.hidden ? HIDDEN_PERIOD_MS : PERIOD_MS);
}

async function readMetrics() {
  try {
    const before = history.readings.at(-1);
    const now = figures(parse(await ask("metrics", { as: "text" })), Date.now());
    history.add(now);
    note({ unmeasured: null });
    showTraffic(history);
    if (before && sum(now.dead) > sum(before.dead)) readLetters();
  } catch (problem) {
    // The charts keep what they have; that the gateway is silent is said once, by its state.
    if (problem.status === undefined) throw problem;
    problem.message = explained(problem, "read");
    note({ unmeasured: problem.status ? problem : null });
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
keyForm();
remoteChoice();
playground();
coverageOfAll();
deadLetters((letters) => note({ letters }));
$("endpoint").addEventListener("change", () => showTraffic(history));
document.addEventListener("key", look);
document.addEventListener("visibilitychange", () => document.hidden || look());
look();
