/** Beside the causes: whether the account can be believed, processes, where this is read from, what the words mean. */

import { since as ago } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { ENDINGS, LOOKS } from "../lib/outcomes.js";
import { badge, prose, sentence } from "./parts.js";

/** @typedef {import("../lib/types.js").Summary} Summary */

/** @type {Record<string, string>} */
const NAMES = {
  account: "The account",
  stuck: "Stuck tasks",
  threads: "Worker threads",
  event_loop: "The event loop",
};

const SIGNS = { good: "✓", bad: "!", unknown: "?" };

/** @param {Summary} summary */
export function checksCard(summary) {
  if (summary.checks.length === 0) return null;
  const checks = summary.checks.map(({ name, state, detail }) =>
    h(
      "li",
      { class: `check is-${state}`, "data-key": name },
      h("span", { class: "sign", role: "img", "aria-label": state }, SIGNS[state] ?? "?"),
      h("div", null, h("b", null, NAMES[name] ?? name), " ", h("span", null, prose(sentence(detail)))),
    ),
  );
  return card("Checks", h("ul", { class: "checks" }, checks));
}

/** @param {Summary} summary */
export function processesCard(summary) {
  if (summary.processes.length === 0) return null;
  const processes = summary.processes.slice(0, 20).map((process) =>
    h(
      "li",
      { class: process.alive === false ? "dead" : null, "data-key": process.process },
      h("span", { class: "number" }, process.pid === undefined ? process.process : String(process.pid)),
      " ",
      process.alive === false
        ? h("b", null, process.in_flight ? `died; ${plural(process.in_flight, "task")} lost` : "died")
        : h("span", null, process.in_flight ? `${process.in_flight} in flight` : "idle"),
    ),
  );
  const more = summary.processes.length > 20 ? h("li", null, `and ${summary.processes.length - 20} more`) : null;
  return card("Processes", h("ul", { class: "processes" }, processes, more));
}

/** @param {Summary} summary */
export function sourceCard({ source }) {
  return card(
    "Read from",
    h("p", null, prose(sentence(source.detail))),
    source.oldest_at ? h("p", { class: "meta" }, "The oldest run is from ", ago(source.oldest_at), ".") : null,
  );
}

/**
 * What became of tasks, in words, for whoever reads the page for the first time.
 * @param {Summary} summary
 */
export function wordsCard({ outcomes }) {
  const there = ENDINGS.filter((ending) => outcomes[ending]);
  if (there.length === 0) return null;
  const words = there.map((ending) =>
    h("div", { "data-key": ending }, h("dt", null, badge(ending)), h("dd", null, LOOKS[ending].meaning)),
  );
  return card("In words", h("dl", { class: "words" }, words));
}

/**
 * @param {string} title
 * @param {...(Node | null)} content
 */
function card(title, ...content) {
  return h("section", { class: "card" }, h("h2", null, title), content);
}
