/** A button that copies a text. */

import { announce } from "./announce.js";
import { h } from "./dom.js";

/**
 * @param {string} text
 * @param {string} what is copied: "the id"
 * @param {string} [label]
 */
export function copyButton(text, what, label = "copy") {
  /** @param {Event} event */
  async function copy(event) {
    const button = /** @type {HTMLButtonElement} */ (event.currentTarget ?? event.target);
    const done = await write(text);
    button.textContent = done ? "copied" : "not copied";
    announce(done ? `Copied ${what}` : `The browser did not let ${what} be copied`);
    setTimeout(() => (button.textContent = label), 1500);
  }
  return h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, onclick: copy }, label);
}

/** @param {string} text */
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return selectAndCopy(text); // without https there is no clipboard to write to
  }
}

/** @param {string} text */
function selectAndCopy(text) {
  const field = h("textarea", { class: "unseen", "aria-hidden": "true", value: text });
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  return done;
}
