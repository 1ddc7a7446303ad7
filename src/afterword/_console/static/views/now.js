/** Now: what is running and what waits, by process, the oldest first. What a dead process had does not tick. */

import { ask } from "../lib/api.js";
import { ageOf, heard, since as ago } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { age, plural } from "../lib/format.js";
import { filters, textField } from "./filters.js";
import { badge, breakable, engineMark, taskName, empty, requestCode, runLink } from "./parts.js";

/** @typedef {import("../lib/types.js").ProcessNow} ProcessNow */
/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {import("../lib/types.js").Context} Context */
/** @typedef {{now: string, processes: ProcessNow[]}} Now */

const MOST = 500;

/** @type {import("../lib/types.js").View<Now>} */
export const now = {
  title: "Now",

  async load(context, signal) {
    const data = await ask("now", { task: context.params.task }, signal);
    heard(data.now);
    return data;
  },

  render(data, context) {
    const runs = data.processes.flatMap((process) => process.runs);
    return [
      h("h1", { id: "title", tabindex: "-1" }, "Now"),
      runs.length ? h("p", { class: "lead" }, lead(data)) : null,
      filters(context, ["task"], textField(context, "task", "Task", runs.map(({ task }) => task))),
      runs.length === 0 && context.params.task ? empty("Nothing of this name is in flight.", h("p", null, "Clear the name to see all.")) : null,
      runs.length === 0 && !context.params.task
        ? empty("Nothing is in flight.", h("p", null, "A task shows up here between its request and its end. What has ended is under ", h("a", { href: "#/runs" }, "Runs"), "."))
        : null,
      h("div", { class: "now" }, data.processes.map(processSection)),
    ];
  },

  apply: () => null, // what began is not told, only what ended
};

/** @param {Now} data */
function lead(data) {
  const living = data.processes.filter(({ alive }) => alive !== false);
  const dead = data.processes.filter(({ alive }) => alive === false);
  const sum = (/** @type {ProcessNow[]} */ processes) => processes.reduce((all, { runs }) => all + runs.length, 0);
  const lost = dead.length ? `; ${plural(sum(dead), "task")} lost with ${plural(dead.length, "dead process", "dead processes")}` : "";
  return `${plural(sum(living), "task")} in flight in ${plural(living.length, "process", "processes")}${lost}.`;
}

/** @param {ProcessNow} process */
function processSection(process) {
  const isDead = process.alive === false;
  const name = process.pid === undefined ? process.process : `Process ${process.pid}`;
  const shown = process.runs.slice(0, MOST);
  return h(
    "section",
    { class: `card process ${isDead ? "dead" : ""}`, "data-key": process.process, "aria-label": name },
    h(
      "h2",
      null,
      name,
      " ",
      process.runs[0]?.worker ? h("span", { class: "meta" }, h("code", null, breakable(process.runs[0].worker)), " ") : null,
      h("span", { class: "meta" }, isDead ? ["lost", process.seen_at ? [": last seen ", ago(process.seen_at)] : ""] : plural(process.runs.length, "task")),
    ),
    shown.length ? h("ol", { class: "flight" }, shown.map((run) => item(run, isDead))) : h("p", { class: "meta" }, "Idle."),
    process.runs.length > MOST ? h("p", { class: "meta" }, `and ${process.runs.length - MOST} more`) : null,
  );
}

/**
 * @param {Run} run
 * @param {boolean} isDead
 */
function item(run, isDead) {
  const begun = run.state === "pending" ? run.scheduled_at : (run.started_at ?? run.scheduled_at);
  return h(
    "li",
    { class: "flight-item", "data-key": run.task_run },
    h("span", { class: "flight-age number" }, isDead ? (run.age_s === undefined ? "–" : age(run.age_s)) : ageOf(begun)),
    badge(isDead ? "lost" : (run.state ?? "pending")),
    h("span", { class: "flight-task" }, runLink(run.task_run, taskName(run.task), { "aria-label": `${run.task}, ${run.task_run.slice(0, 8)}` }), engineMark(run)),
    requestCode(run),
  );
}
