/** Light, dark, or as the system has it. */

const NAME = "afterword-theme";

/** @typedef {"auto" | "light" | "dark"} Theme */
/** @type {Theme[]} */
export const THEMES = ["auto", "light", "dark"];

/** @returns {Theme} */
export function theme() {
  const stored = storage()?.getItem(NAME);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

/** @param {Theme} chosen */
export function setTheme(chosen) {
  if (chosen === "auto") storage()?.removeItem(NAME);
  else storage()?.setItem(NAME, chosen);
  show(chosen);
}

/** @param {Theme} chosen */
export function show(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null; // forbidden in this browser: the choice holds until the page is left
  }
}
