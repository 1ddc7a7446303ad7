/** Runs: every single one, with filters and pages. */

import { ask } from "../lib/api.js";
import { at, now } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { count, lately, millis, request, span } from "../lib/format.js";
import { ENDINGS } from "../lib/outcomes.js";
import { address } from "../lib/router.js";
import { choice, chosenOutcomes, filters, outcomeChoice, textField } from "./filters.js";
import { ENGINES, badgeOf, engineMark, taskName, empty, reasonOf, requestCode, runLink } from "./parts.js";

/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {import("../lib/types.js").Context} Context */
/** @typedef {{runs: Run[], next: string | null, held: Run[]}} Runs those held back would push away what is read */

const FILTERS = ["outcome", "state", "engine", "task", "route", "reason", "error_type", "trace"];
const STATES = /** @type {const} */ ([
  ["", "ended"],
  ["pending", "pending"],
  ["running", "running"],
]);
const CHOICES = /** @type {const} */ ([["", "any"], ...Object.entries(ENGINES)]);
const PAGE = 50;
const MOST = 500;

/** @type {import("../lib/types.js").View<Runs>} */
export const runs = {
  title: "Runs",

  async load(context, signal) {
    const { cursor } = context.params;
    const wanted = Object.fromEntries(FILTERS.map((name) => [name, context.params[name]]));
    const answer = await ask("runs", { ...wanted, since: context.since, cursor, limit: PAGE }, signal);
    return { runs: answer.runs, next: answer.next ?? null, held: [] };
  },

  render(data, context) {
    const { cursor } = context.params;
    const reasons = data.runs.map(({ reason }) => reason);
    return [
      h("h1", { id: "title", tabindex: "-1" }, "Runs"),
      filters(
        context,
        [...FILTERS, "cursor"],
        outcomeChoice(context, chosenOutcomes(context).has("returned") ? [...ENDINGS, "returned"] : ENDINGS),
        choice(context, "state", "State", STATES),
        context.params.engine || data.runs.some(({ engine }) => engine === "celery") ? choice(context, "engine", "Engine", CHOICES) : null,
        textField(context, "task", "Task", data.runs.map(({ task }) => task)),
        textField(context, "route", "Route", data.runs.map(({ http_route }) => http_route)),
        textField(context, "reason", "Reason", reasons),
        textField(context, "error_type", "Error", data.runs.map(({ error_type }) => error_type)),
        textField(context, "trace", "Trace"),
      ),
      h(
        "p",
        { class: "news" },
        cursor === undefined
          ? data.held.length
            ? h("button", { type: "button", onclick: context.reload }, `Show ${count(data.held.length)} newer`)
            : h("span", { class: "meta" }, `The newest of ${lately(context.since)} first; it goes on by itself.`)
          : h("a", { href: address("runs", { ...context.params, cursor: undefined }) }, "Back to the newest"),
      ),
      data.runs.length ? table(data.runs) : nothing(context),
      h("p", { class: "more" }, data.next === null ? h("span", { class: "meta" }, data.runs.length ? "These are all." : "") : h("a", { class: "button", rel: "next", href: address("runs", { ...context.params, cursor: data.next }) }, "Older runs")),
    ];
  },

  apply(data, change, context) {
    if (context.params.cursor !== undefined) return data; // an older page does not change
    if (context.params.state || change.ended_total > change.ended.length) return null;
    const known = new Set([...data.runs, ...data.held].map(keyOf));
    const news = change.ended.filter((run) => !known.has(keyOf(run)) && isWanted(run, context));
    const newestFirst = news.sort((one, other) => millis(other.ended_at) - millis(one.ended_at));
    if (newestFirst.length === 0) return data;
    if (isBeingRead()) return { ...data, held: [...newestFirst, ...data.held].slice(0, MOST) };
    return { ...data, runs: [...newestFirst, ...data.held, ...data.runs].slice(0, MOST), held: [] };
  },
};

/**
 * What tells a row from the others: a task of Celery's may have more than one end under its id.
 * @param {Run} run
 */
function keyOf(run) {
  return run.engine === "celery" ? `${run.task_run} ${run.ended_at ?? ""}` : run.task_run;
}

/** Whether something new at the top would push away what somebody looks at. */
function isBeingRead() {
  const list = document.querySelector(".run-table tbody");
  return scrollY > 200 || (list !== null && (list.contains(document.activeElement) || list.matches(":hover")));
}

/**
 * @param {Run} run
 * @param {Context} context
 */
function isWanted(run, context) {
  const { task, engine, route, reason, error_type, trace } = context.params;
  const outcomes = chosenOutcomes(context);
  const same = (/** @type {string | undefined} */ wanted, /** @type {string | undefined} */ value) => !wanted || wanted === value;
  return (
    (outcomes.size === 0 || outcomes.has(run.outcome ?? "")) &&
    same(task, run.task) &&
    same(engine, run.engine) &&
    same(route, run.http_route) &&
    same(reason, run.reason) &&
    same(error_type, run.error_type) &&
    (!trace || trace === run.trace_id || trace === run.parent_trace_id)
  );
}

/** @param {Context} context */
function nothing(context) {
  if (FILTERS.some((name) => context.params[name])) return empty("No run is like that.", h("p", null, "Names, routes, reasons and errors are compared as a whole. Clear a filter, or choose a longer time at the top."));
  return empty(`No run has ended in ${lately(context.since)}.`, h("p", null, "Send a request that schedules a task, or choose a longer time at the top."));
}

/** @param {Run[]} list */
function table(list) {
  const heads = ["Ended", "Task", "Outcome", "Why", "Request", "Wait", "Ran", "Run"];
  return h(
    "table",
    { class: "run-table", role: "table" },
    h("caption", { class: "unseen" }, "Runs, the newest first"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map((text) => h("th", { role: "columnheader", scope: "col" }, text)))),
    h("tbody", { role: "rowgroup" }, list.map(row)),
  );
}

/** @param {Run} run */
function row(run) {
  const time = run.ended_at ?? run.started_at ?? run.scheduled_at;
  const waited = (run.wait_s ?? 0) + (run.thread_wait_s ?? 0);
  return h(
    "tr",
    { role: "row", "data-key": keyOf(run) },
    cell("when", at(time)),
    h("th", { role: "rowheader", scope: "row", class: "of-task" }, runLink(run.task_run, taskName(run.task), { "aria-label": `${run.task}, ${run.task_run.slice(0, 8)}` }), engineMark(run)),
    cell("outcome", badgeOf(run)),
    cell("why", reasonOf(run)),
    cell("request", request(run) ? requestCode(run) : null),
    cell("wait number", run.wait_s === undefined ? "" : span(waited), "wait"),
    cell("ran number", run.outcome === undefined ? `since ${span((now() - millis(run.started_at ?? run.scheduled_at)) / 1000)}` : span(run.duration_s), "ran"),
    cell("id", h("code", null, run.task_run.slice(0, 8))),
  );
}

/**
 * @param {string} kind
 * @param {import("../lib/dom.js").Child} value
 * @param {string} [label] where there is no head above
 */
function cell(kind, value, label) {
  return h("td", { role: "cell", class: `of-${kind}`, "data-label": label }, value);
}
