/** Tasks: one row a name. */

import { historyChart } from "../charts/history.js";
import { stateBar, told } from "../charts/state-bar.js";
import { ask } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { count, lately, percent, plural, rate, span } from "../lib/format.js";
import { ENDINGS, WRONG, total } from "../lib/outcomes.js";
import { address } from "../lib/router.js";
import { steady } from "../lib/steady.js";
import { filters, textField } from "./filters.js";
import { breakable, empty, engineMark, legend, nameParts } from "./parts.js";

/** @typedef {import("../lib/types.js").Task} Task */
/** @typedef {import("../lib/types.js").Context} Context */
/** @typedef {{tasks: Task[], total: number, truncated: boolean}} Tasks */
/** @typedef {{id: string, label: string, below?: string, hint?: string, value: (task: Task) => number | string, first: "down" | "up"}} Column */

const QUANTILES = "p50, p95";
const down = /** @type {const} */ ("down");

/** @type {Column[]} */
const COLUMNS = [
  { id: "task", label: "Task", value: (task) => task.task.toLowerCase(), first: "up" },
  { id: "total", label: "Runs", hint: "How runs ended", value: (task) => task.total, first: down },
  { id: "rate", label: "Per min", value: (task) => task.per_minute, first: down },
  { id: "failing", label: "Wrong", hint: "The share that did not succeed", value: (task) => failing(task), first: down },
  { id: "wait", label: "Wait", below: QUANTILES, hint: "From scheduled to started", value: (task) => task.wait_s?.p95 ?? -1, first: down },
  { id: "thread", label: "Thread wait", below: QUANTILES, hint: "The wait for a worker thread", value: (task) => task.thread_wait_s?.p95 ?? -1, first: down },
  { id: "duration", label: "Duration", below: QUANTILES, hint: "Without the wait for a thread", value: (task) => task.duration_s?.p95 ?? -1, first: down },
];

const DEFAULT_SORT = "-failing";

/** @type {import("../lib/types.js").View<Tasks>} */
export const tasks = {
  title: "Tasks",

  load: (context, signal) => ask("tasks", { since: context.since }, signal),

  render(data, context) {
    const wanted = (context.params.q ?? "").toLowerCase();
    const shown = data.tasks.filter(({ task }) => task.toLowerCase().includes(wanted));
    const rows = steady(sorted(shown, context.params.sort), ({ task }) => task, ".task-table tbody");
    const states = Object.fromEntries(ENDINGS.filter((one) => shown.some(({ counts }) => counts[one])).map((one) => [one, 1]));
    return [
      h("h1", { id: "title", tabindex: "-1" }, "Tasks"),
      data.tasks.length === 0 ? null : h("p", { class: "lead" }, `${plural(data.total, "name")} in ${lately(context.since)}${extent(data)}.`),
      filters(context, ["q"], textField(context, "q", "Name", data.tasks.map(({ task }) => task)), legend(states)),
      rows.length ? table(rows, context) : nothing(data, context),
    ];
  },

  apply(data, change) {
    if (change.ended_total > change.ended.length) return null;
    const known = new Map(data.tasks.map((task) => [task.task, task]));
    for (const run of change.ended) {
      const task = known.get(run.task);
      const bucket = task?.history.at(-1);
      if (task === undefined || bucket === undefined || run.outcome === undefined) return null;
      const more = (/** @type {import("../lib/types.js").Counts} */ counts) => ({ ...counts, [run.outcome ?? ""]: (counts[run.outcome ?? "lost"] ?? 0) + 1 });
      const history = [...task.history.slice(0, -1), { ...bucket, counts: more(bucket.counts) }];
      known.set(run.task, { ...task, counts: more(task.counts), total: task.total + 1, history });
    }
    return { ...data, tasks: [...known.values()] };
  },
};

/**
 * @param {Tasks} data
 * @param {Context} context
 */
function nothing(data, context) {
  if (data.tasks.length) return empty(`No task is called like “${context.params.q ?? ""}”.`, h("p", null, "Clear the name to see all."));
  return empty(`No task was scheduled in ${lately(context.since)}.`, h("p", null, "Send a request that schedules one, or choose a longer time at the top."));
}

/**
 * What is left out, if anything is.
 * @param {Tasks} data
 */
function extent(data) {
  const names = data.tasks.length < data.total ? `; these are the ${count(data.tasks.length)} with the most runs` : "";
  return names + (data.truncated ? "; more runs have ended than are looked at, these are the newest" : "");
}

/** @param {Task} task */
function failing(task) {
  const ended = total(task.counts, ENDINGS);
  return ended ? total(task.counts, WRONG) / ended : 0;
}

/**
 * @param {Task[]} tasks
 * @param {string | undefined} sort
 */
function sorted(tasks, sort) {
  const { column, descends } = order(sort);
  const sign = descends ? -1 : 1;
  return [...tasks].sort((one, other) => {
    const [a, b] = [column.value(one), column.value(other)];
    if (a !== b) return a < b ? -sign : sign;
    return other.total - one.total || (one.task < other.task ? -1 : 1);
  });
}

/** @param {string | undefined} sort */
function order(sort = DEFAULT_SORT) {
  const descends = sort.startsWith("-");
  const column = COLUMNS.find(({ id }) => id === sort.replace(/^-/, ""));
  return column === undefined ? { column: /** @type {Column} */ (COLUMNS[3]), descends: true } : { column, descends };
}

/**
 * @param {Task[]} rows
 * @param {Context} context
 */
function table(rows, context) {
  return h(
    "table",
    { class: "task-table", role: "table" },
    h("caption", { class: "unseen" }, "Tasks by name; the buttons in the head sort"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((column) => heading(column, context)), h("th", { role: "columnheader", scope: "col", class: "of-history" }, "Over time"))),
    h("tbody", { role: "rowgroup" }, rows.map((task) => row(task, context))),
  );
}

/**
 * @param {Column} column
 * @param {Context} context
 */
function heading(column, context) {
  const now = order(context.params.sort);
  const isSorted = now.column.id === column.id;
  const descends = isSorted ? !now.descends : column.first === "down";
  const next = `${descends ? "-" : ""}${column.id}`;
  const sort = () => context.go({ sort: next === DEFAULT_SORT ? null : next });
  return h(
    "th",
    { role: "columnheader", scope: "col", class: `of-${column.id}`, "aria-sort": isSorted ? (now.descends ? "descending" : "ascending") : "none" },
    h("button", { type: "button", class: "sort", title: column.hint, onclick: sort }, column.label, h("span", { class: "arrow", "aria-hidden": "true" }, isSorted ? (now.descends ? "↓" : "↑") : "")),
    column.below ? h("span", { class: "sub" }, column.below) : null,
  );
}

/**
 * @param {Task} task
 * @param {Context} context
 */
function row(task, context) {
  const { since } = context.params;
  const bad = failing(task);
  return h(
    "tr",
    { role: "row", "data-key": task.task },
    h(
      "th",
      { role: "rowheader", scope: "row", class: "of-task" },
      h("a", { href: address("timeline", { since, task: task.task }), title: "Its requests on the timeline" }, name(task.task)),
      engineMark(task),
    ),
    h(
      "td",
      { role: "cell", class: "of-total" },
      h("a", { href: address("runs", { since, task: task.task }), class: "plain", "aria-label": `${plural(task.total, "run")} of ${task.task}: ${told(task.counts)}` }, h("b", { class: "number" }, count(task.total)), stateBar(task.counts, task.task)),
    ),
    cell("rate", "per min", rate(task.per_minute)),
    cell("failing", "wrong", h("span", { class: bad ? "bad" : "none" }, percent(bad))),
    cell("wait", "wait", quantiles(task.wait_s)),
    cell("thread", "thread wait", quantiles(task.thread_wait_s)),
    cell("duration", "duration", quantiles(task.duration_s)),
    h("td", { role: "cell", class: "of-history" }, historyChart(task.history, task.task)),
  );
}

/**
 * The name, and below it where it is from.
 * @param {string} full
 */
function name(full) {
  const parts = nameParts(full);
  const module = parts.slice(0, -1).join(".");
  return [h("b", null, breakable(parts.at(-1) ?? "")), module ? h("span", { class: "module below" }, breakable(module)) : null];
}

/**
 * @param {string} id
 * @param {string} label where there is no head above
 * @param {import("../lib/dom.js").Child} value
 */
function cell(id, label, value) {
  return h("td", { role: "cell", class: `of-${id} number`, "data-label": label }, value);
}

/** @param {import("../lib/types.js").Quantiles | undefined} of */
function quantiles(of) {
  if (typeof of?.p50 !== "number") return h("span", { class: "none", title: "not measured" }, "–");
  return [h("span", { class: "p50" }, span(of.p50)), h("span", { class: "p95" }, h("span", { class: "unseen" }, "p95 "), span(of.p95))];
}
