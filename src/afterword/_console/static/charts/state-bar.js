/** One bar over all outcomes: how many ended how. */

import { s } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { STATES, paint, total } from "../lib/outcomes.js";

const LEAST = 0.8;

/**
 * @param {import("../lib/types.js").Counts} counts
 * @param {string} [name] what the bar is about
 */
export function stateBar(counts, name = "") {
  const all = total(counts, STATES);
  const label = `${name && `${name}: `}${told(counts) || "none"}`;
  const parts = [];
  let x = 0;
  for (const [state, width] of widths(counts, all)) {
    const title = s("title", null, `${count(counts[state] ?? 0)} ${state}`);
    parts.push(s("rect", { x: `${x}%`, width: `${width}%`, height: "100%", fill: paint(state) }, title));
    if (x > 0) parts.push(s("rect", { x: `${x}%`, width: 1, height: "100%", class: "gap" }));
    x += width;
  }
  return s("svg", { class: "state-bar", role: "img", "aria-label": label }, parts);
}

/**
 * Counts as words: "12 succeeded, 3 dropped".
 * @param {import("../lib/types.js").Counts} counts
 */
export function told(counts) {
  return STATES.filter((state) => counts[state])
    .map((state) => `${count(counts[state] ?? 0)} ${state}`)
    .join(", ");
}

/**
 * What there is can be seen, however small its share; the others make room for it.
 * @param {import("../lib/types.js").Counts} counts
 * @param {number} all
 * @returns {[import("../lib/types.js").State, number][]}
 */
function widths(counts, all) {
  const present = STATES.filter((state) => counts[state]);
  const wanted = present.map((state) => Math.max(LEAST, (100 * (counts[state] ?? 0)) / all));
  const sum = wanted.reduce((one, other) => one + other, 0);
  return present.map((state, index) => [state, round((100 * (wanted[index] ?? 0)) / sum)]);
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 1000) / 1000;
}
