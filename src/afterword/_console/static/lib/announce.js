/** Says to a screen reader what others see change. */

import { h } from "./dom.js";

const polite = h("p", { class: "unseen", role: "status", "aria-live": "polite" });

/** The element that is read out; it has to be in the page from the beginning. */
export function region() {
  return polite;
}

/** @param {string} text */
export function announce(text) {
  polite.textContent = polite.textContent === text ? `${text}\u00a0` : text; // the same text again is no change
}
