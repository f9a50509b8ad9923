// The API key: typed, kept in this tab, forgotten.

import { key } from "./api.js";
import { $, say } from "./dom.js";

/** Make the form work. */
export function keyForm() {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = $("key").value.trim();
    // Headers hold printable ASCII only.
    const wrong = !/^[\x21-\x7e]+$/.test(typed);
    $("key").setCustomValidity(wrong ? "A key has letters, digits and signs, no blanks." : "");
    if (!$("key-form").reportValidity()) return;
    $("key").value = "";
    $("access").open = false;
    key.set(typed);
    $("access").firstElementChild.focus();
  });
  $("key").addEventListener("input", () => $("key").setCustomValidity(""));
  $("forget").addEventListener("click", () => key.set(""));
  document.addEventListener("key", show);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !$("access").open) return;
    $("access").open = false;
    $("access").firstElementChild.focus();
  });
  show();
}

/** Open the form, ready to type. */
export function askForKey() {
  $("access").open = true;
  $("key").focus();
}

function show() {
  say($("key-state"), key.get() ? "in use" : "none");
}
