// The service's endpoints, asked with a time limit. Paths are relative, so that the page also works
// behind a proxy that serves it below a folder. The admin token lives in this tab only.

const PATIENCE_MS = 10_000;
const PLACE = "embark-admin-token";

let memory = "";

/** What went wrong: `message` for people, `code` for us, `status` 0 if there was no answer. */
export class Problem extends Error {
  constructor(message, code = "", status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export const token = {
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
    document.dispatchEvent(new Event("token"));
  },
};

/**
 * Ask one endpoint.
 * @param {string} path relative to the page
 * @param {object} options `body` makes it a POST; `admin` sends the token; `as` is how the answer
 *   is read (json, text, blob); `also` is a status that is an answer too; `patience` in ms
 */
export async function ask(path, options = {}) {
  const { body, admin = false, as = "json", also = 200, patience = PATIENCE_MS } = options;
  const request = { signal: AbortSignal.timeout(patience), headers: {}, cache: "no-store" };
  if (body !== undefined) {
    request.method = "POST";
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = "application/json";
  }
  if (admin) {
    // Headers hold Latin-1 only; a token that does not fit is a wrong one.
    if (/[^\x20-\x7e]/.test(token.get())) throw new Problem("the token has letters it cannot have");
    request.headers.Authorization = `Bearer ${token.get()}`;
  }
  try {
    const answer = await fetch(path, request);
    if (!answer.ok && answer.status !== also) throw await problem(answer);
    return await answer[as]();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const late = error.name === "TimeoutError";
    throw new Problem(late ? `no answer in ${patience / 1000} s` : "the service cannot be reached");
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
