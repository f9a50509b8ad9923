// What is wrong, how bad it is, and what to do about it. No page, no network.

import { count, duration, many } from "./dom.js";
import { growth, sum } from "./metrics.js";

const LATE_SECONDS = 30; // a new input that waits longer waits too long
const LATELY_MS = 30_000;
const SILENT = "the gateway does not say";

/**
 * Return `{parts, troubles}` of what is known now.
 *
 * `parts` are {name, what, state, facts}: state is up, warn, down or unknown. `troubles` are
 * {level, title, detail, remedy, href}, the worst first.
 * @param {object} seen `health` (an answer or null), `problem` (why there is none), `took` in ms,
 *   `history`, `unmeasured` (why there are no metrics, or null), `letters` (as listed, or null)
 */
export function diagnosed(seen) {
  const [before, now] = seen.history.lately(LATELY_MS) ?? [null, null];
  const troubles = [];
  const tell = (level, title, detail, remedy, href = null) =>
    troubles.push({ level, title, detail, remedy, href });
  const parts = [
    gateway(seen, before, now, tell),
    archive(seen, before, now, tell),
    queue(seen, before, now, tell),
    ...behind(seen, before, now, tell),
  ];
  letters(seen, now, tell);
  troubles.sort((a, b) => (a.level === "down" ? 0 : 1) - (b.level === "down" ? 0 : 1));
  return { parts, troubles };
}

function gateway({ problem, took, unmeasured }, before, now, tell) {
  const part = { name: "Gateway", what: "answers lookups" };
  if (problem) {
    const remedy =
      "Does the process run, and is this computer connected to it? What is shown below is old.";
    tell("down", "The gateway does not answer", problem.message, remedy);
    return { ...part, state: "down", facts: problem.message };
  }
  if (unmeasured?.denied) {
    const remedy = "Enter one at the top of the page.";
    tell("warn", "The metrics need an API key", unmeasured.message, remedy, "#access");
  } else if (unmeasured) {
    const remedy = "The charts stand still until they can.";
    tell("warn", "The metrics cannot be read", unmeasured.message, remedy);
  }
  const shed = before ? (growth(before.refused, now.refused).shed ?? 0) : 0;
  if (shed) {
    const remedy = "More comes than can be answered in time. More processes or machines help.";
    tell("warn", "Requests are turned away", `${count(shed)} in the last half minute`, remedy);
  }
  return { ...part, state: shed ? "warn" : "up", facts: `answered in ${duration(took / 1000)}` };
}

function archive({ health }, before, now, tell) {
  const part = { name: "Archive", what: "keeps vectors" };
  if (!health) return { ...part, state: "unknown", facts: SILENT };
  const { state, detail } = health.dependencies.archive;
  if (state !== "up") {
    const remedy =
      "Lookups are still answered, with the OOV vector where memory has none. Look at Cassandra," +
      " or at the disk of the data folder; `embark doctor` checks both.";
    tell("down", "The archive is down", detail, remedy);
    return { ...part, state: "down", facts: detail };
  }
  const late = before ? growth(before.late, now.late).items : 0;
  if (late) {
    const remedy = "Is it overloaded? They count as OOV; the next lookups ask again.";
    const detail = `${many(late, "item")} came too late in the last half minute`;
    tell("warn", "The archive is slow", detail, remedy);
  }
  const corrupt = before ? growth(before.corrupt, now.corrupt).records : 0;
  if (corrupt) {
    const remedy = "They were refused and are computed again. Check the disks.";
    const detail = `${many(corrupt, "record")} in the last half minute`;
    tell("warn", "Records are damaged", detail, remedy);
  }
  const condition = late || corrupt ? "warn" : "up";
  return { ...part, state: condition, facts: late ? "slow" : "answers reads" };
}

function queue({ health }, before, now, tell) {
  const part = { name: "Queue", what: "holds what is missing" };
  if (!health) return { ...part, state: "unknown", facts: SILENT };
  const { state, detail, lanes } = health.dependencies.queue;
  if (state !== "up") {
    const remedy =
      "Lookups are answered as before. New inputs are not queued and are asked for again by the" +
      " next lookup. Look at Kafka, or at the disk of the data folder.";
    tell("down", "The queue is down", detail, remedy);
    return { ...part, state: "down", facts: detail };
  }
  const grown = before ? growth(before.misses, now.misses) : {};
  const lost = (grown.dropped ?? 0) + (grown.failed ?? 0);
  if (lost) {
    const remedy = "The next lookup asks for them again. Is the queue slow?";
    tell("warn", "Misses were not queued", `${count(lost)} in the last half minute`, remedy);
  }
  const depth = Object.values(lanes ?? {}).reduce((all, lane) => all + lane.depth, 0);
  const facts = depth ? `${many(depth, "request")} waiting` : "nothing waits";
  return { ...part, state: lost ? "warn" : "up", facts };
}

// What is behind the queue, the gateway knows only if it shares their metrics, and by what waits.
function behind({ health, unmeasured }, before, now, tell) {
  const consumers = { name: "Consumers", what: "fetch, batch and write" };
  const retina = { name: "Retina", what: "Triton: computes vectors" };
  if (!health) {
    const silent = { state: "unknown", facts: SILENT };
    return [
      { ...consumers, ...silent },
      { ...retina, ...silent },
    ];
  }
  const lane = health.dependencies.queue.lanes?.interactive;
  const waits = lane && lane.depth > 0 && lane.oldest_seconds > LATE_SECONDS;
  if (!now || unmeasured || !now.consumerStarts) {
    const facts = !now || unmeasured ? "no metrics" : "measured elsewhere";
    if (waits) late(lane, "Do consumers run, and is Triton up?", tell);
    return [
      { ...consumers, state: waits ? "warn" : "unknown", facts },
      { ...retina, state: "unknown", facts },
    ];
  }
  const running = sum(now.consumers);
  if (!running) {
    const remedy =
      "New inputs stay OOV until one does; nothing is lost. `embark up` starts them again by" +
      " itself; why they end is in `logs/consumer-1.log` of the data folder.";
    tell("down", "No consumer runs", "", remedy);
    return [
      { ...consumers, state: "down", facts: "none runs" },
      { ...retina, state: "unknown", facts: "no consumer to ask it" },
    ];
  }
  const away = now.consumers.away ?? 0;
  if (away) {
    const remedy =
      "New inputs stay OOV; requests are held back and use up no attempt. Triton says why in" +
      " `logs/retina.log`; loading its models takes it some seconds.";
    const whom = away === running ? "" : `for ${count(away)} of ${many(running, "consumer")}`;
    tell("down", "Retina is not ready", whom, remedy);
  } else if (waits) {
    late(lane, "Are more consumers needed? See the logs of consumers and Triton.", tell);
  }
  const finished = sum(growth(before.consumed, now.consumed));
  const busy = now.inFlight ? `, ${count(now.inFlight)} in work` : "";
  const ended = finished ? `, ${count(finished)} done lately` : "";
  const done = growth(before.inference, now.inference).ok ?? 0;
  const batches = done ? `, ${count(done)} ${done === 1 ? "batch" : "batches"} lately` : "";
  return [
    {
      ...consumers,
      state: waits && !away ? "warn" : "up",
      facts: `${count(running)} running${busy}${ended}`,
    },
    {
      ...retina,
      state: away ? "down" : "up",
      facts: away ? "not ready" : `ready${batches}`,
    },
  ];
}

function late(lane, remedy, tell) {
  const detail = `the oldest of ${count(lane.depth)} for ${duration(lane.oldest_seconds)}`;
  tell("warn", "New inputs wait too long", detail, remedy);
}

// Those of the listing, or if it may not be read, what consumers counted since they started.
function letters({ letters: listed }, now, tell) {
  const reasons = listed ? listed.reasons : (now?.dead ?? {});
  const number = sum(reasons);
  if (!number) return;
  const each = Object.entries(reasons).filter(([, value]) => value);
  const told = each.map(([reason, value]) => `${reason} ${count(value)}`).join(", ");
  const detail = listed ? told : `since the consumers started: ${told}`;
  const title = many(number, "dead letter");
  const remedy = "See why, then replay or purge them.";
  tell("warn", listed?.more ? `More than ${title}` : title, detail, remedy, "#queue");
}
