// Nearest neighbours with thumbnails. A picture comes from a file chosen in this tab, or from the
// archive with a key that may see it; from another site only if the person said so, and then the
// gateway's policy for this page allows it too.

import { ask, explained } from "./api.js";
import { $, h, many, say } from "./dom.js";

const MOST_PICTURES = 100;
const CHOICE = "embark-remote-images";

const pictures = new Map();

/** Keep a picture by its key, to show it again as somebody's neighbour; returns its address. */
export function keepPicture(key, file) {
  const digest = digestOf(key);
  if (!pictures.has(digest)) {
    pictures.set(digest, URL.createObjectURL(file));
    if (pictures.size > MOST_PICTURES) {
      const [oldest, address] = pictures.entries().next().value;
      URL.revokeObjectURL(address);
      pictures.delete(oldest);
    }
  }
  return pictures.get(digest);
}

/** Make the choice of remote pictures work. */
export function remoteChoice() {
  $("remote").checked = remoteAllowed();
  $("remote").addEventListener("change", () => {
    sessionStorage.setItem(CHOICE, $("remote").checked ? "yes" : "");
    location.search = $("remote").checked ? "?images=remote" : "";
  });
}

/** Show what is nearest to a key, as long as `current()`. */
export async function showNear(model, key, current) {
  say($("near-said"), "Searching…");
  try {
    const body = { model, items: [{ key }] };
    const [answer] = (await ask("v1/neighbours", { body, patience: 30_000 })).items;
    if (!current()) return;
    const found = answer.neighbours ?? [];
    const none = "None yet: it is the first of this generation, or its neighbours are not kept.";
    say($("near-said"), found.length ? `${many(found.length, "item")}, the nearest first.` : none);
    $("remote-choice").hidden = !found.some((near) => near.image_url);
    $("near").replaceChildren(...found.map(entry));
  } catch (problem) {
    if (current()) say($("near-said"), `No neighbours: ${explained(problem, "read")}.`);
  }
}

function entry(near) {
  const place = h("div", { class: "what" });
  const { cosine, text } = near;
  const meter = h("meter", { value: Math.max(0, cosine), "aria-hidden": "true" });
  if (text !== undefined) place.append(text || "(an empty text)");
  else showPicture(place, near);
  const words = h("div", { class: "cosine" }, meter, ` cosine ${cosine.toFixed(4)}`);
  return h("li", { class: "card" }, place, words);
}

async function showPicture(place, near) {
  const kept = pictures.get(digestOf(near.key));
  if (kept) place.append(picture(kept));
  else if (near.image_url !== undefined) showRemote(place, near.image_url);
  else await showArchived(place, near.key);
}

function showRemote(place, address) {
  if (remoteAllowed() && address.startsWith("https:")) place.append(picture(address));
  if (!/^https?:/.test(address)) return place.append(address);
  const link = { href: address, rel: "noreferrer noopener", target: "_blank" };
  place.append(h("a", link, address));
}

async function showArchived(place, key) {
  try {
    const file = await ask(`v1/admin/images/${encodeURIComponent(key)}`, { as: "blob" });
    place.append(picture(keepPicture(key, file)));
  } catch (problem) {
    place.append(h("code", {}, key), h("div", { class: "note" }, explained(problem, "admin")));
  }
}

const digestOf = (key) => key.split(":").at(-1);

function picture(address) {
  const said = { alt: "A neighbouring image", referrerpolicy: "no-referrer", loading: "lazy" };
  return h("img", { ...said, src: address });
}

function remoteAllowed() {
  const served = new URLSearchParams(location.search).get("images") === "remote";
  try {
    return served && sessionStorage.getItem(CHOICE) === "yes";
  } catch {
    return false;
  }
}
