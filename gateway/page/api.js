// The service's endpoints, asked with a time limit. Paths are relative, so that the page also works
// behind a proxy that serves it below a folder. The API key lives in this tab only.

const PATIENCE_MS = 10_000;
const PLACE = "embark-key";

let memory = "";

/** What went wrong: `message` for people, `code` for us, `status` 0 if there was no answer. */
export class Problem extends Error {
  constructor(message, code = "", status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }

  /** Whether another key would help. */
  get denied() {
    return this.status === 401 || this.status === 403;
  }
}

export const key = {
  get() {
    try {
      return sessionStorage.getItem(PLACE) ?? memory;
    } catch {
      return memory; // storage is forbidden here
    }
  },
  set(value) {
    memory = value;
    try {
      if (value) sessionStorage.setItem(PLACE, value);
      else sessionStorage.removeItem(PLACE);
    } catch {
      // kept in memory
    }
    document.dispatchEvent(new Event("key"));
  },
};

/**
 * Ask one endpoint.
 * @param {string} path relative to the page
 * @param {object} options `body` makes it a POST; `as` is how the answer is read (json, text,
 *   blob); `also` is a status that is an answer too; `open`: it needs no key, so that a wrong one
 *   does not matter; `patience` in ms
 */
export async function ask(path, options = {}) {
  const { body, as = "json", also = 200, open = false, patience = PATIENCE_MS } = options;
  const request = { signal: AbortSignal.timeout(patience), headers: {}, cache: "no-store" };
  if (body !== undefined) {
    request.method = "POST";
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = "application/json";
  }
  if (key.get() && !open) request.headers.Authorization = `Bearer ${key.get()}`;
  try {
    const answer = await fetch(path, request);
    if (!answer.ok && answer.status !== also) throw await problem(answer);
    return await answer[as]();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const late = error.name === "TimeoutError";
    throw new Problem(late ? `no answer in ${patience / 1000} s` : "the gateway cannot be reached");
  }
}

async function problem(answer) {
  let error;
  try {
    ({ error } = await answer.json());
  } catch {
    // not one of our answers: a proxy's
  }
  const message = typeof error === "string" ? error : error?.message;
  return new Problem(message ?? `HTTP ${answer.status}`, error?.code ?? "", answer.status);
}

/** Say what to do about a problem with something that needs a scope. */
export function explained(problem, scope) {
  if (!problem.denied) return problem.message;
  const needs = key.get()
    ? `the API key above does not do: this needs one with the scope ${scope}`
    : `this needs an API key with the scope ${scope}, above`;
  return `${needs} (${problem.message})`;
}
