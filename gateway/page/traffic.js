// Hit rate, latency and queue lag over time.

import { chart } from "./chart.js";
import { $, count, duration, h, percent, say } from "./dom.js";
import { growth, hitShare, quantile, sum } from "./metrics.js";

const rate = (value) => `${value < 9.95 ? value.toFixed(1) : count(value)}/s`;
const LANES = ["interactive", "bulk"];

/** Make the charts; returns `show(history)`. */
export function traffic() {
  const place = $("charts");
  const hits = chart(place, "Hit rate", ["of the items asked", "from memory"], percent, 1);
  const latency = chart(place, "Latency", ["median", "99th percentile"], duration, 0.001);
  const asked = chart(place, "Items asked", ["a second"], rate, 1);
  const depth = chart(place, "Queue lag: requests", LANES, count, 1);
  const age = chart(place, "Queue lag: age of the oldest", LANES, duration, 1);

  return (history) => {
    offerEndpoints(history.readings.at(-1).requests);
    const endpoint = $("endpoint").value;
    const items = (before, after) => growth(before.items, after.items);
    const later = (q) => (before, after) =>
      quantile(q, growth(before.requests[endpoint] ?? {}, after.requests[endpoint] ?? {}));
    const fromMemory = (before, after) => {
      const all = sum(items(before, after));
      return all ? Math.min(1, (growth(before.tiers, after.tiers).l1 ?? 0) / all) : null;
    };
    hits([
      history.series((before, after) => hitShare(items(before, after))),
      history.series(fromMemory),
    ]);
    const perSecond = (before, after) =>
      (1000 * sum(items(before, after))) / (after.at - before.at);
    asked([history.series(perSecond)]);
    latency([history.series(later(0.5)), history.series(later(0.99))]);
    depth(LANES.map((lane) => history.series((_, after) => after.depth[lane] ?? null)));
    age(LANES.map((lane) => history.series((_, after) => after.oldest[lane] ?? null)));
    if (history.readings.at(-1).apart) say($("scope"), ALONE, "warn");
  };
}

const ALONE =
  "These are of one process at a time, each counting for itself, so they jump. Start the gateway" +
  " with PROMETHEUS_MULTIPROC_DIR set to an empty folder, and they are of all processes together.";

function offerEndpoints(requests) {
  const offered = new Set([...$("endpoint").options].map((option) => option.value));
  // The page's own questions are no traffic.
  const ours = /^\/($|page|metrics|v2\/health|v1\/admin|v1\/models|openapi)|^unknown$/;
  for (const endpoint of Object.keys(requests)) {
    if (!offered.has(endpoint) && !ours.test(endpoint)) {
      $("endpoint").append(h("option", {}, endpoint));
    }
  }
}
