/** Timeline: recent requests with their tasks as bars. */

import { domainOf, requestLane, runLane } from "../charts/lanes.js";
import { ask } from "../lib/api.js";
import { at, now } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { lately, moment, plural, span } from "../lib/format.js";
import { stateOf } from "../lib/outcomes.js";
import { steady } from "../lib/steady.js";
import { choice, filters, textField } from "./filters.js";
import { engineMark, empty, legend, reasonOf, requestCode, runLink, swatch, taskName } from "./parts.js";

/** @typedef {import("../lib/types.js").RequestRuns} RequestRuns */
/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {import("../lib/types.js").Context} Context */
/** @typedef {import("../charts/lanes.js").Domain} Domain */
/** @typedef {{requests: RequestRuns[], more: boolean}} Requests */

const SCALES = /** @type {const} */ ([
  ["own", "each its own"],
  ["same", "the same for all"],
  ["clock", "the clock"],
]);
const MORE = 50;
const MOST = 500;

/** @type {import("../lib/types.js").View<Requests>} */
export const timeline = {
  title: "Timeline",

  load(context, signal) {
    const { task, route } = context.params;
    return ask("requests", { since: context.since, task, route, limit: limitOf(context) }, signal);
  },

  render(data, context) {
    const requests = steady(data.requests, keyOf, ".requests");
    const domains = domainsOf(data.requests, context.params.scale);
    const states = Object.fromEntries(data.requests.flatMap(({ runs }) => runs.map((run) => [stateOf(run), 1])));
    return [
      h("h1", { id: "title", tabindex: "-1" }, "Timeline"),
      h("p", { class: "lead" }, `What requests of ${lately(context.since)} left to be done after their answer, the newest first.`),
      filters(
        context,
        ["task", "route", "scale"],
        textField(context, "task", "Task", data.requests.flatMap(({ runs }) => runs.map(({ task }) => task))),
        textField(context, "route", "Route", data.requests.map(({ http_route }) => http_route)),
        choice(context, "scale", "Scale", SCALES),
      ),
      key(states, data.requests.some(isAnswered)),
      data.requests.length === 0 ? nothing(context) : null,
      h("ol", { class: "requests" }, requests.map((one) => requestItem(one, domains(one), context))),
      data.more && limitOf(context) < MOST
        ? h("p", { class: "more" }, h("button", { type: "button", onclick: () => context.go({ limit: String(limitOf(context) + MORE) }) }, "Older requests"))
        : null,
    ];
  },

  apply(data, change) {
    if (change.ended_total > change.ended.length) return null;
    const waiting = new Map(data.requests.flatMap(({ runs }) => runs).map((run) => [run.task_run, run]));
    const news = new Map(change.ended.map((run) => [run.task_run, run]));
    if ([...news.keys()].some((id) => !waiting.has(id))) return null; // of a request that is not here yet
    const requests = data.requests.map((request) => ({ ...request, runs: request.runs.map((run) => ({ ...run, ...news.get(run.task_run) })) }));
    return { ...data, requests };
  },
};

/** @param {Context} context */
function limitOf(context) {
  return Math.min(MOST, Math.max(1, Number(context.params.limit) || MORE));
}

/** @param {RequestRuns} request */
function keyOf(request) {
  return request.runs[0]?.task_run ?? `${request.trace_id} ${request.first_at}`;
}

/** @param {Context} context */
function nothing(context) {
  const { task, route } = context.params;
  if (task || route) return empty("No request here.", h("p", null, "Clear the filters, or choose a longer time at the top."));
  return empty(`No request scheduled a task in ${lately(context.since)}.`, h("p", null, "Send one that does, or choose a longer time at the top."));
}

/**
 * Which part of time each request's line shows.
 * @param {RequestRuns[]} requests
 * @param {string | undefined} scale
 * @returns {(request: RequestRuns) => Domain}
 */
function domainsOf(requests, scale) {
  const domains = requests.map(domainOf);
  if (scale === "clock") {
    const all = { from: Math.min(...domains.map(({ from }) => from)), to: Math.max(...domains.map(({ to }) => to)) };
    return () => all;
  }
  if (scale === "same") {
    const longest = Math.max(1, ...domains.map(({ from, to }) => to - from));
    return (request) => {
      const { from } = domainOf(request);
      return { from, to: from + longest };
    };
  }
  return domainOf;
}

/** @param {RequestRuns} request */
function isAnswered({ began_at, answered_at }) {
  return began_at !== undefined && answered_at !== undefined;
}

/**
 * What the lines and colours mean.
 * @param {import("../lib/types.js").Counts} states
 * @param {boolean} withAnswers
 */
function key(states, withAnswers) {
  const sample = (/** @type {string} */ kind, /** @type {string} */ text) => h("li", null, h("span", { class: `sample ${kind}`, "aria-hidden": "true" }), text);
  return h(
    "div",
    { class: "key" },
    h("ul", { class: "legend", "aria-label": "Lines" }, withAnswers ? sample("answer", "until the answer") : null, sample("wait", "waits"), sample("thread-wait", "waits for a thread"), sample("run", "runs")),
    legend(states),
  );
}

/**
 * @param {RequestRuns} request
 * @param {Domain} domain
 * @param {Context} context
 */
function requestItem(request, domain, context) {
  const seconds = (domain.to - domain.from) / 1000;
  return h(
    "li",
    { class: "request-item", "data-key": keyOf(request) },
    h(
      "div",
      { class: "request-head" },
      at(request.began_at ?? request.first_at),
      " ",
      requestCode(request) ?? h("span", { class: "none" }, "outside a request"),
      request.request_id ? h("span", { class: "meta" }, ` ${request.request_id}`) : null,
      h("span", { class: "length number", title: "The length of the line" }, context.params.scale === "clock" ? clockLabel(domain) : span(seconds)),
    ),
    h("div", { class: "lanes" }, isAnswered(request) ? lane("answer", h("span", { class: "meta" }, request.answered_at_derived ? "request → first start" : "request → answer"), requestLane(request, domain)) : null, request.runs.map((run) => runRow(run, domain))),
    (request.total ?? 0) > request.runs.length ? h("p", { class: "meta" }, `and ${plural((request.total ?? 0) - request.runs.length, "more task")}`) : null,
  );
}

/** @param {Domain} domain */
function clockLabel({ from, to }) {
  return `${moment(from, now())} – ${moment(to, now())}`;
}

/**
 * @param {string} key
 * @param {import("../lib/dom.js").Child} label
 * @param {SVGElement} drawing
 * @param {string} [times]
 */
function lane(key, label, drawing, times = "") {
  return h("div", { class: "lane-row", "data-key": key }, h("div", { class: "lane-label" }, label), drawing, h("div", { class: "lane-times number" }, times));
}

/**
 * @param {Run} run
 * @param {Domain} domain
 */
function runRow(run, domain) {
  const known = [
    run.wait_s && `wait\u00a0${span(run.wait_s)}`,
    run.thread_wait_s && `thread\u00a0${span(run.thread_wait_s)}`,
    run.duration_s !== undefined && `ran\u00a0${span(run.duration_s)}`,
  ];
  const times = known.filter(Boolean).join(" · ") || reasonOf(run);
  const label = [swatch(stateOf(run)), runLink(run.task_run, taskName(run.task), { "aria-label": `${run.task}, ${stateOf(run)}` }), engineMark(run)];
  return lane(run.task_run, label, runLane(run, domain), times);
}

/**
 * The runs of one request on one line of time: for the page of a run.
 * @param {Run[]} runs
 * @param {string} current
 */
export function batch(runs, current) {
  const domain = domainOf({ runs });
  return h(
    "div",
    { class: "lanes batch" },
    runs.map((run) => {
      const row = runRow(run, domain);
      if (run.task_run === current) row.classList.add("current");
      return row;
    }),
    h("p", { class: "meta axis number" }, h("span", null, moment(domain.from, now())), h("span", null, `${span((domain.to - domain.from) / 1000)} later`)),
  );
}
