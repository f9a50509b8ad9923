// Hit rate, latency and queue lag over time.

import { chart } from "./chart.js";
import { $, h } from "./dom.js";
import { growth, hitShare, quantile } from "./metrics.js";

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const milliseconds = (value) => `${value.toFixed(1)} ms`;
const seconds = (value) => `${value.toFixed(1)} s`;
const count = (value) => String(Math.round(value));
const rate = (value) => `${value.toFixed(1)}/s`;
const LANES = ["interactive", "bulk"];

/** Make the charts; returns `show(history)`. */
export function traffic() {
  const place = $("charts");
  const hits = chart(place, "Hit rate", ["share of hits"], percent, 1);
  const asked = chart(place, "Items asked", ["items a second"], rate, 1);
  const latency = chart(place, "Latency", ["median", "99th percentile"], milliseconds, 1);
  const depth = chart(place, "Queue depth", LANES, count, 1);
  const age = chart(place, "Oldest in the queue", LANES, seconds, 1);

  return (history) => {
    offerEndpoints(history.readings.at(-1).requests);
    const endpoint = $("endpoint").value;
    const items = (before, after) => growth(before.items, after.items);
    const later = (q) => (before, after) => {
      const found = quantile(q, growth(before.requests[endpoint] ?? {}, after.requests[endpoint] ?? {}));
      return found === null ? null : found * 1000;
    };
    hits([history.series((before, after) => hitShare(items(before, after)))]);
    asked([
      history.series((before, after) => {
        const total = Object.values(items(before, after)).reduce((sum, value) => sum + value, 0);
        return (1000 * total) / (after.at - before.at);
      }),
    ]);
    latency([history.series(later(0.5)), history.series(later(0.99))]);
    depth(LANES.map((lane) => history.series((_, after) => after.depth[lane] ?? null)));
    age(LANES.map((lane) => history.series((_, after) => after.oldest[lane] ?? null)));
  };
}

function offerEndpoints(requests) {
  const offered = new Set([...$("endpoint").options].map((option) => option.value));
  // The page's own questions are no traffic.
  const ours = /^\/($|page|metrics|unknown|v2\/health|v1\/admin)|^unknown$/;
  for (const endpoint of Object.keys(requests)) {
    if (!offered.has(endpoint) && !ours.test(endpoint)) {
      $("endpoint").append(h("option", {}, endpoint));
    }
  }
}
