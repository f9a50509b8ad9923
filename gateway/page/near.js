// Nearest neighbours with thumbnails. A picture comes from a file chosen in this tab, or from the
// archive with the admin token; from another site only if the person said so, and then the
// gateway's policy for this page allows it too.

import { ask, token } from "./api.js";
import { $, h, say } from "./dom.js";

const MOST_PICTURES = 100;
const CHOICE = "embark-remote-images";

const pictures = new Map();

/** Keep a picture by its key, to show it again as somebody's neighbour; returns its address. */
export function keepPicture(key, file) {
  const digest = key.split(":").at(-1);
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
    say($("near-said"), found.length ? `${found.length} found.` : "None yet.");
    $("remote-choice").hidden = !found.some((near) => near.image_url);
    $("near").replaceChildren(...found.map(entry));
  } catch (problem) {
    if (current()) say($("near-said"), `No neighbours: ${problem.message}.`);
  }
}

function entry(near) {
  const place = h("div");
  const cosine = `cosine ${near.cosine.toFixed(4)}`;
  if (near.text !== undefined) place.append(near.text);
  else showPicture(place, near);
  return h("li", {}, h("span", { class: "note" }, cosine), place);
}

async function showPicture(place, near) {
  const kept = pictures.get(near.key.split(":").at(-1));
  if (kept) place.append(picture(kept));
  else if (near.image_url !== undefined) showRemote(place, near.image_url);
  else if (token.get()) await showArchived(place, near.key);
  else place.append(near.key, " (its file is shown only with the admin token)");
}

function showRemote(place, address) {
  if (remoteAllowed() && address.startsWith("https:")) place.append(picture(address));
  if (!/^https?:/.test(address)) return place.append(address);
  const link = { href: address, rel: "noreferrer noopener", target: "_blank" };
  place.append(h("a", link, address));
}

async function showArchived(place, key) {
  try {
    const file = await ask(`v1/admin/images/${encodeURIComponent(key)}`, { admin: true, as: "blob" });
    place.append(picture(keepPicture(key, file)));
  } catch (problem) {
    place.append(`${key} (${problem.message})`);
  }
}

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
