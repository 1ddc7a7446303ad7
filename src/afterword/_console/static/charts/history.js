/** A small chart of how runs ended over time. */

import { s } from "../lib/dom.js";
import { moment, plural } from "../lib/format.js";
import { ENDINGS, WRONG, paint, total } from "../lib/outcomes.js";
import { now } from "../lib/clock.js";

/** @typedef {import("../lib/types.js").Bucket} Bucket */

const HEIGHT = 28;
const STEP = 3;

/** Drawn from below: what went wrong, then what did not. */
const ORDER = [...WRONG, ENDINGS[0] ?? "succeeded"];

/**
 * @param {Bucket[]} history the oldest first
 * @param {string} name of the task
 */
export function historyChart(history, name) {
  const highest = Math.max(1, ...history.map(({ counts }) => total(counts, ENDINGS)));
  /** @type {Map<string, string>} */
  const paths = new Map();
  history.forEach(({ counts }, index) => {
    let y = HEIGHT;
    for (const ending of ORDER) {
      const value = counts[ending] ?? 0;
      if (value === 0) continue;
      const height = Math.max(1, (value / highest) * (HEIGHT - 1));
      y = Math.max(0, y - height);
      paths.set(ending, `${paths.get(ending) ?? ""}M${index * STEP} ${y.toFixed(1)}h2v${height.toFixed(1)}h-2z`);
    }
  });
  const drawn = ORDER.filter((ending) => paths.has(ending)).map((ending) =>
    s("path", { d: paths.get(ending) ?? "", fill: paint(ending) }),
  );
  const width = history.length * STEP || 1;
  const baseline = s("path", { d: `M0 ${HEIGHT - 0.5}H${width}`, class: "baseline" });
  const shape = { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none" };
  return s("svg", { class: "history", role: "img", "aria-label": told(history, name), ...shape }, baseline, drawn);
}

/**
 * @param {Bucket[]} history
 * @param {string} name
 */
function told(history, name) {
  const all = history.reduce((sum, { counts }) => sum + total(counts, ENDINGS), 0);
  const wrong = history.reduce((sum, { counts }) => sum + total(counts, WRONG), 0);
  const worst = history.reduce(
    (/** @type {Bucket | null} */ most, one) => (total(one.counts, WRONG) > total(most?.counts ?? {}, WRONG) ? one : most),
    null,
  );
  const when = worst === null ? "" : `, most of them at ${moment(Date.parse(worst.at), now())}`;
  return `${name} over time: ${plural(all, "run")}, ${wrong === 0 ? "none" : wrong} went wrong${when}`;
}
