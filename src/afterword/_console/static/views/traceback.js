/** A traceback as text, in which the lines of code stand out and the rest stands back. */

import { h } from "../lib/dom.js";

const MOST = 2000;

/** @param {string} text */
export function traceback(text) {
  const lines = text.replace(/\n+$/, "").split("\n");
  const shown = lines.slice(0, MOST).map((line) => h("span", { class: kindOf(line) }, `${line}\n`));
  const rest = lines.length - MOST;
  return h("pre", { class: "traceback", tabindex: "0", role: "region", "aria-label": "Traceback" }, shown, rest > 0 ? `… and ${rest} lines more\n` : null);
}

/** @param {string} line */
function kindOf(line) {
  if (/^[\s|]*File "/.test(line)) return /site-packages|lib\/python\d/.test(line) ? "frame foreign" : "frame";
  if (/^[\s|]*[\^~]+\s*$/.test(line)) return "carets";
  if (/^ /.test(line)) return "source";
  if (/^(Traceback|The above|During|\.\.\.)/.test(line)) return "aside-line";
  return line.trim() ? "raised" : "aside-line";
}
