// Prometheus' text, read; figures over time out of cumulative counters. No page, no network.

const LINE = /^(embark_\w+)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const MOST = 240;

/** Return the metrics of a text by name: lists of [labels, value]. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = LINE.exec(line);
    if (match === null) continue;
    const [, name, labels = "", value] = match;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push([readLabels(labels), number(value)]);
  }
  return found;
}

/** Return what the page keeps of one reading, `at` in ms. */
export function figures(metrics, at) {
  const all = (name) => metrics.get(name) ?? [];
  const total = (name) => all(name).reduce((sum, [, value]) => sum + value, 0);
  const requests = {};
  for (const [{ endpoint, le }, value] of all("embark_http_request_seconds_bucket")) {
    const buckets = (requests[endpoint] ??= {});
    buckets[le] = (buckets[le] ?? 0) + value;
  }
  return {
    at,
    items: sums(all("embark_lookup_items_total"), "status"),
    tiers: sums(all("embark_lookup_hits_total"), "tier"),
    refused: sums(all("embark_refused_requests_total"), "reason"),
    requests,
    depth: sums(all("embark_queue_depth"), "lane"),
    oldest: sums(all("embark_queue_oldest_seconds"), "lane"),
    dead: sums(all("embark_dead_letters_total"), "reason"),
    inference: sums(all("embark_inference_seconds_count"), "outcome"),
    consumed: sums(all("embark_consumed_total"), "outcome"),
    consumers: sums(all("embark_consumers"), "retina"),
    consumerStarts: total("embark_consumer_starts_total"),
    inFlight: total("embark_consumer_in_flight"),
    misses: sums(all("embark_misses_total"), "outcome"),
    late: { items: total("embark_archive_late_items_total") },
    corrupt: { records: total("embark_corrupt_records_total") },
    apart: total("embark_gateway_processes_apart"),
  };
}

/** Return the sum of all values of an object. */
export const sum = (values) => Object.values(values).reduce((whole, value) => whole + value, 0);

/** Return how much each counter of `after` grew; one that fell began again at 0. */
export function growth(before, after) {
  const grown = {};
  for (const [name, value] of Object.entries(after)) {
    const had = before[name] ?? 0;
    grown[name] = value >= had ? value - had : value;
  }
  return grown;
}

/** Return a quantile of a histogram's growth by its upper bounds, as Prometheus does, or null. */
export function quantile(q, grown) {
  const bounds = Object.keys(grown).sort((a, b) => number(a) - number(b));
  const total = grown["+Inf"] ?? 0;
  if (!total) return null;
  const rank = q * total;
  let low = 0;
  let below = 0;
  for (const bound of bounds) {
    const upTo = grown[bound];
    if (upTo >= rank) {
      if (bound === "+Inf") return low; // beyond the last bound, nothing more is known
      return low + ((number(bound) - low) * (rank - below)) / (upTo - below || 1);
    }
    [low, below] = [number(bound), upTo];
  }
  return low;
}

/** Return the share of hits in a growth of items, 0 to 1, or null if nothing was asked. */
export function hitShare(grown) {
  const total = sum(grown);
  return total ? (grown.hit ?? 0) / total : null;
}

/**
 * Readings since the page was opened, bounded. They are cumulative, so leaving out every other one
 * loses detail and no event; the longer the page is open, the coarser the past.
 */
export class History {
  readings = [];
  #every = 1;
  #count = 0;

  add(reading) {
    const { readings } = this;
    // The newest is always there; once it is not the newest, it stays only if it was its turn.
    if (readings.length > 1 && (this.#count - 1) % this.#every !== 0) readings.pop();
    readings.push(reading);
    this.#count += 1;
    if (readings.length > MOST) {
      this.readings = readings.filter((_, index) => index % 2 === 0);
      this.#every *= 2;
      this.#count = 1;
    }
  }

  /** Return the newest reading and one of about `ms` before it, or the oldest; null if none. */
  lately(ms) {
    const after = this.readings.at(-1);
    if (after === undefined) return null;
    const before = this.readings.findLast(({ at }) => at <= after.at - ms) ?? this.readings[0];
    return [before, after];
  }

  /** Return [time, value] of each interval; `value` is given both its ends. */
  series(value) {
    const { readings } = this;
    return readings.slice(1).map((after, index) => [after.at, value(readings[index], after)]);
  }
}

function sums(lines, label) {
  const found = {};
  for (const [labels, value] of lines) {
    found[labels[label]] = (found[labels[label]] ?? 0) + value;
  }
  return found;
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));
  }
  return labels;
}

function number(text) {
  return text === "+Inf" ? Infinity : Number(text);
}
