/** The server's clock, as far as its answers tell, and the texts that tick by it. */

import * as format from "./format.js";
import { h } from "./dom.js";

let ahead = 0;

/**
 * Learn what time it is on the server.
 * @param {string | undefined} iso
 */
export function heard(iso) {
  const at = format.millis(iso);
  if (!Number.isNaN(at)) ahead = at - Date.now();
}

/** What time it is on the server, in milliseconds since the epoch. */
export function now() {
  return Date.now() + ahead;
}

/**
 * Say how long ago something was; it ticks.
 * @param {string} iso
 */
export function since(iso) {
  return h("time", { datetime: iso, title: format.precise(iso), "data-tick": "ago" }, text("ago", iso));
}

/**
 * Say how old something is; it ticks.
 * @param {string} iso
 */
export function ageOf(iso) {
  return h("time", { datetime: iso, "data-tick": "age", class: "number" }, text("age", iso));
}

/**
 * Say when something was.
 * @param {string} iso
 */
export function at(iso) {
  const label = format.moment(format.millis(iso), now());
  return h("time", { datetime: iso, title: format.precise(iso), class: "number" }, label);
}

/** Let everything that ticks tick, each second in which somebody looks. */
export function startTicking() {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[data-tick]")) {
      const value = text(element.getAttribute("data-tick") ?? "", element.getAttribute("datetime") ?? "");
      if (element.textContent !== value) element.textContent = value;
    }
  }, 1000);
}

/**
 * @param {string} kind
 * @param {string} iso
 */
function text(kind, iso) {
  const seconds = (now() - format.millis(iso)) / 1000;
  return kind === "age" ? format.age(seconds) : format.ago(seconds);
}
