/** A run: all that is known of it. */

import { ApiError, ask } from "../lib/api.js";
import { since as ago } from "../lib/clock.js";
import { copyButton } from "../lib/copy.js";
import { h } from "../lib/dom.js";
import { precise, short, span } from "../lib/format.js";
import { LOOKS, stateOf } from "../lib/outcomes.js";
import { address } from "../lib/router.js";
import { ENGINES, badge, breakable, engineMark, taskName, empty, parted, prose, reasonOf, requestCode, sentence } from "./parts.js";
import { batch } from "./timeline.js";
import { traceback } from "./traceback.js";

/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {import("../lib/dom.js").Child} Child */
/** @typedef {{run: Run, others?: Run[] | null, attempts?: Run[], trace_url?: string} | {missing: string}} OneRun */

/** @type {import("../lib/types.js").View<OneRun>} */
export const run = {
  title: "A run",

  async load(context, signal) {
    try {
      return await ask(`runs/${encodeURIComponent(context.id)}`, {}, signal);
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 400)) return { missing: error.message };
      throw error;
    }
  },

  render(data, context) {
    if ("missing" in data) {
      return [h("h1", { id: "title", tabindex: "-1" }, "No such run"), empty(sentence(data.missing), h("p", null, "It may have been so long ago that it is no longer kept. "), h("p", null, h("a", { href: address("runs") }, "See the runs that are")))];
    }
    const { run } = data;
    return h(
      "article",
      { class: "one-run" },
      head(run, context.id),
      h("div", { class: "run-main" }, why(run), attempts(data), others(data), run.error || run.traceback ? failure(run) : null),
      h("aside", { class: "run-facts", "aria-label": "Facts" }, facts(run, data.trace_url)),
    );
  },

  apply(data, change) {
    if ("missing" in data) return null;
    const shown = new Set([data.run, ...(data.others ?? [])].filter(({ outcome }) => outcome === undefined || outcome === "returned").map(({ task_run }) => task_run));
    const isOfThis = (/** @type {Run} */ run) => run.parent_span_id !== undefined && run.parent_span_id === data.run.parent_span_id;
    return change.ended.some((one) => shown.has(one.task_run) || isOfThis(one)) || (shown.size && change.ended_total > change.ended.length) ? null : data;
  },
};

/**
 * @param {Run} run
 * @param {string} id
 */
function head(run, id) {
  const state = stateOf(run);
  return h(
    "header",
    { class: "run-head" },
    h("p", { class: "crumbs" }, h("a", { href: address("runs") }, "Runs"), " / ", h("a", { href: address("runs", { task: run.task }) }, run.task), " / ", h("code", null, short(id))),
    h("h1", { id: "title", tabindex: "-1" }, taskName(run.task), engineMark(run), " ", h("span", { class: "ended" }, badge(state))),
    h("p", { class: "lead" }, requestCode(run) ?? "Outside a request", ", ", ago(run.ended_at ?? run.scheduled_at), run.started_at === undefined && run.outcome !== undefined ? ". It never ran." : run.duration_s === undefined ? "." : `. It ran ${span(run.duration_s)}.`),
  );
}

/** @param {Run} run */
function why(run) {
  const state = stateOf(run);
  if (state === "succeeded" || !(run.detail || run.reason)) return null;
  const raised = run.reason === "exception" ? `it raised ${run.error_type ?? "an exception"}` : null; // which is below
  const [happened, todo] = parted(raised ?? run.detail ?? LOOKS[state].meaning);
  return h(
    "section",
    { class: `why edge-${state}`, "aria-label": "Why" },
    h("p", { class: "cause-what" }, prose(sentence(happened))),
    todo ? h("p", { class: "todo" }, prose(sentence(todo))) : null,
  );
}

/**
 * What Celery has tried, the first attempt first; nothing where there was but one.
 * @param {{run: Run, attempts?: Run[]}} data
 */
function attempts({ run, attempts = [] }) {
  if (attempts.length === 0) return null;
  const all = run.started_at === undefined && run.outcome === undefined ? attempts : [...attempts, run];
  const heads = ["Attempt", "Ended", "How", "Why", "Ran", "Worker"];
  return h(
    "section",
    { "aria-label": "Attempts" },
    h("h2", null, "Attempts"),
    h(
      "table",
      { class: "attempts", role: "table" },
      h("caption", { class: "unseen" }, "Attempts, the first one first"),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map((text) => h("th", { role: "columnheader", scope: "col" }, text)))),
      h("tbody", { role: "rowgroup" }, all.map(attemptRow)),
    ),
  );
}

/** @param {Run} one */
function attemptRow(one) {
  const cell = (/** @type {string} */ kind, /** @type {Child} */ value, /** @type {string} */ label = "") => h("td", { role: "cell", class: `of-${kind}`, "data-label": label || null }, value);
  return h(
    "tr",
    { role: "row", "data-key": `${one.outcome} ${one.ended_at}` },
    cell("number", one.attempt === undefined ? "–" : String(one.attempt), "attempt"),
    cell("when", one.ended_at === undefined ? "" : precise(one.ended_at)),
    cell("outcome", badge(stateOf(one))),
    cell("why", reasonOf(one)),
    cell("ran", span(one.duration_s), "ran"),
    cell("worker", one.worker ? h("code", null, breakable(one.worker)) : ""),
  );
}

/** @param {{run: Run, others?: Run[] | null}} data */
function others({ run, others }) {
  const all = [run, ...(others ?? [])].sort((one, other) => (one.scheduled_at < other.scheduled_at ? -1 : 1));
  if (isQueued(run) && !run.http_method) return null; // published by beat, a script, or another task
  const told = others === null || others === undefined ? "Which others its request scheduled is not known: it has neither a trace nor a request id." : others.length ? null : "Its request scheduled no other task.";
  return h("section", { "aria-label": "Its request" }, h("h2", null, "Its request’s tasks"), batch(all, run.task_run), told ? h("p", { class: "meta" }, told) : null);
}

/** @param {Run} run */
function failure(run) {
  const text = run.traceback ?? run.error ?? "";
  return h(
    "section",
    { class: "failure", "aria-label": "Exception" },
    h("h2", null, run.outcome === "dropped" ? "The request’s exception" : "Exception", h("span", { class: "beside" }, copyButton(text, "the exception"))),
    run.error ? h("p", { class: "error-text" }, run.error_type && !run.error.startsWith(run.error_type) ? h("b", null, `${run.error_type}: `) : null, run.error) : null,
    run.traceback ? traceback(run.traceback) : null,
  );
}

/**
 * @param {Run} run
 * @param {string | undefined} traceUrl
 */
function facts(run, traceUrl) {
  const trace = run.trace_id ?? run.parent_trace_id;
  /** @type {[string, Child, string?][]} */
  const known = [
    ["run", h("code", null, run.task_run), run.task_run],
    ["engine", isQueued(run) ? (ENGINES[run.engine ?? ""] ?? run.engine) : ""],
    ["attempt", isQueued(run) && run.attempt !== undefined ? String(run.attempt) : ""],
    ["worker", run.worker && h("code", null, breakable(run.worker))],
    ["queue", run.queue && h("code", null, breakable(run.queue))],
    ["function", run.function && h("code", null, breakable(run.function))],
    ["reason", run.reason && h("a", { href: address("runs", { reason: run.reason }) }, run.reason)],
    ["error", run.error_type && h("a", { href: address("runs", { error_type: run.error_type }) }, breakable(run.error_type))],
    ["request", requestCode(run)],
    ["request id", run.request_id && h("code", null, run.request_id), run.request_id],
    ["scheduled", precise(run.scheduled_at)],
    ["started", run.started_at && precise(run.started_at)],
    ["ended", run.ended_at && precise(run.ended_at)],
    ["waited", span(run.wait_s)],
    ["thread wait", span(run.thread_wait_s)],
    ["ran", span(run.duration_s)],
    ["trace", trace && h("code", null, trace), trace],
    ["span", run.span_id && h("code", null, run.span_id), run.span_id],
    ["parent", run.parent_span_id !== run.span_id && run.parent_span_id ? h("code", null, run.parent_span_id) : ""],
    ["process", process(run)],
    ["told", run.recovered ? "by another process, after its own had died; perhaps a second time" : ""],
  ];
  return [
    h("p", { class: "actions" }, link(traceUrl), copyButton(location.href, "the address of this page", "copy link")),
    h("dl", { class: "facts" }, known.map(([name, value, copied]) => (value ? h("div", null, h("dt", null, name), h("dd", null, value, copied ? copyButton(copied, name === "run" ? "the id" : `the ${name}`) : null)) : null))),
  ];
}

/** @param {string | undefined} traceUrl */
function link(traceUrl) {
  if (traceUrl === undefined || !/^https?:/i.test(traceUrl)) return null;
  return h("a", { class: "button", href: traceUrl, target: "_blank", rel: "noopener noreferrer" }, "Open its trace ↗");
}

/** @param {Run} run */
function isQueued({ engine }) {
  return engine !== undefined && engine !== "starlette";
}

/** @param {Run} run */
function process(run) {
  const life = run.alive === undefined ? "" : run.alive ? "alive" : "dead";
  return [run.pid, run.process, life].filter((one) => one !== undefined && one !== "").join(" · ");
}
