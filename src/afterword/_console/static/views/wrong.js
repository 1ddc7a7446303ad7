/** What is wrong, first: one line a cause, and beside it whether the account can be believed. */

import { stateBar } from "../charts/state-bar.js";
import { ask } from "../lib/api.js";
import { heard, since as ago } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { count, lately, plural, short } from "../lib/format.js";
import { ENDINGS, LOOKS, WRONG, total } from "../lib/outcomes.js";
import { address } from "../lib/router.js";
import { steady } from "../lib/steady.js";
import { badge, engineMark, taskName, empty, parted, prose, requestCode, runLink, sentence } from "./parts.js";
import { checksCard, processesCard, sourceCard, wordsCard } from "./health.js";

/** @typedef {import("../lib/types.js").Summary} Summary */
/** @typedef {import("../lib/types.js").Cause} Cause */
/** @typedef {import("../lib/types.js").Context} Context */

const ALL = 500;

/** @type {import("../lib/types.js").View<Summary>} */
export const wrong = {
  title: "What is wrong",

  async load(context, signal) {
    const wantsAll = context.params.all !== undefined;
    const [summary, causes] = await Promise.all([
      ask("summary", { since: context.since }, signal),
      wantsAll ? ask("causes", { since: context.since, limit: ALL }, signal) : null,
    ]);
    heard(summary.now);
    return causes === null ? summary : { ...summary, causes: causes.causes, causes_total: causes.total };
  },

  render(summary, context) {
    return h(
      "div",
      { class: "wrong" },
      h("section", { class: "verdict", "aria-labelledby": "title" }, headline(summary, context)),
      h("section", { class: "causes", "aria-label": "Causes" }, causeList(summary, context)),
      h(
        "aside",
        { class: "health", "aria-label": "Health" },
        checksCard(summary),
        processesCard(summary),
        sourceCard(summary),
        wordsCard(summary),
      ),
    );
  },

  apply(summary, change) {
    const outcomes = { ...summary.outcomes };
    const causes = new Map(summary.causes.map((cause) => [keyOf(cause), cause]));
    if (change.ended_total > change.ended.length) return null;
    for (const run of change.ended) {
      const { outcome } = run;
      if (outcome === undefined) return null;
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (outcome === "succeeded") continue;
      const known = causes.get(keyOf({ ...run, outcome }));
      if (known === undefined) return null; // a new cause: only the server says what to do about it
      const last_at = run.ended_at ?? change.at;
      const newest = last_at >= known.last_at ? { last_at, example: run.task_run } : {};
      causes.set(keyOf(known), { ...known, count: known.count + 1, ...newest });
    }
    const sorted = [...causes.values()].sort((one, other) => other.count - one.count || (other.last_at < one.last_at ? -1 : 1));
    return { ...summary, outcomes, causes: sorted, pending: change.pending, running: change.running };
  },
};

/** @param {Pick<Cause, "task" | "outcome" | "reason" | "http_method" | "http_route" | "error_type">} of */
function keyOf(of) {
  return [of.task, of.outcome, of.reason, of.http_method, of.http_route, of.error_type].join("\u001f");
}

/**
 * @param {Summary} summary
 * @param {Context} context
 */
function headline(summary, context) {
  const all = total(summary.outcomes, ENDINGS);
  const bad = total(summary.outcomes, WRONG);
  const flight = [summary.running && `${count(summary.running)} running`, summary.pending && `${count(summary.pending)} pending`];
  const rest = flight.filter(Boolean).join(", ");
  return [
    h("h1", { id: "title", tabindex: "-1" }, verdict(all, bad, context.since)),
    summary.truncated ? h("p", { class: "lead" }, "More have ended than are looked at; these are the newest.") : null,
    all ? stateBar(summary.outcomes, "How tasks ended") : null,
    h(
      "ul",
      { class: "tally" },
      ENDINGS.map((ending) => {
        const value = summary.outcomes[ending] ?? 0;
        const href = address("runs", { ...sinceParam(context), outcome: ending });
        return h("li", { class: value ? null : "none", title: LOOKS[ending].meaning }, h("a", { href }, h("b", null, count(value)), " ", badge(ending)));
      }),
      h("li", { class: rest ? null : "none" }, h("a", { href: address("now") }, rest || "nothing in flight")),
    ),
  ];
}

/**
 * @param {number} all
 * @param {number} bad
 * @param {number} since
 */
function verdict(all, bad, since) {
  if (all === 0) return `No task has ended in ${lately(since)}.`;
  if (bad === 0) return `Nothing is wrong: ${all === 1 ? "the one task" : `all ${count(all)} tasks`} of ${lately(since)} succeeded.`;
  return h("span", null, h("em", null, `${count(bad)} of ${count(all)}`), ` tasks in ${lately(since)} did not do their work.`);
}

/**
 * @param {Summary} summary
 * @param {Context} context
 */
function causeList(summary, context) {
  if (summary.causes.length === 0) {
    return total(summary.outcomes, ENDINGS) === 0
      ? empty(
          "Waiting for the first task.",
          h("p", null, "Send the application a request that schedules one. It shows up here at once, whatever becomes of it."),
          h("p", null, "Is it longer ago? Choose a longer time at the top."),
        )
      : empty("No cause to tell.", h("p", null, "A task that fails, is skipped, dropped or lost appears here, with the reason and what to do."));
  }
  const causes = steady(summary.causes, keyOf, ".cause-list");
  const more = summary.causes_total - summary.causes.length;
  return [
    h("h2", { class: "cause-head" }, `${plural(summary.causes_total, "cause")}, the most frequent first`),
    h("ol", { class: "cause-list" }, causes.map((cause) => causeItem(cause, context))),
    more > 0
      ? h(
          "p",
          { class: "more" },
          `${plural(more, "more cause")}. `,
          summary.causes.length < ALL && context.params.all === undefined
            ? h("a", { href: address("wrong", { ...sinceParam(context), all: "1" }) }, "Show them")
            : "Choose a shorter time to see fewer.",
        )
      : null,
  ];
}

/**
 * @param {Cause} cause
 * @param {Context} context
 */
function causeItem(cause, context) {
  const request = requestCode(cause);
  const [happened, todo] = parted(cause.detail);
  const times = cause.count > 1 ? ["first ", ago(cause.first_at), " · newest ", ago(cause.last_at)] : [ago(cause.last_at)];
  const same = { ...sinceParam(context), task: cause.task, outcome: cause.outcome, reason: cause.reason, route: cause.http_route, error_type: cause.error_type };
  return h(
    "li",
    { class: "cause", "data-key": keyOf(cause) },
    h("span", { class: "cause-count number", "aria-hidden": "true" }, h("b", null, count(cause.count)), " ×"),
    h(
      "div",
      { class: "cause-text" },
      h(
        "p",
        { class: "cause-what" },
        h("a", { href: address("runs", same) }, taskName(cause.task)),
        engineMark(cause),
        " ",
        badge(cause.outcome),
        ` ${count(cause.count)} × `,
        request ? ["in ", request] : null,
        happened ? [": ", prose(happened)] : null,
        cause.error_type && cause.error_type !== cause.reason && !happened.includes(cause.error_type) ? [" (", h("code", null, cause.error_type), ")"] : null,
        ".",
      ),
      todo ? h("p", { class: "todo" }, prose(sentence(todo))) : null,
      h("p", { class: "meta" }, times, " · ", runLink(cause.example, ["example ", h("code", null, short(cause.example))])),
    ),
  );
}

/** @param {Context} context */
function sinceParam(context) {
  return { since: context.params.since };
}
