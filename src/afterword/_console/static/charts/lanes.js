/**
 * Runs on a line of time. Thin: it waits to be called. Dotted: it waits for a thread. Thick: it runs, in the colour,
 * pattern and letter of how it ended. A letter on a thin line: it never ran, and that was known there.
 */

import { now } from "../lib/clock.js";
import { s } from "../lib/dom.js";
import { millis, request, span } from "../lib/format.js";
import { LOOKS, paint, stateOf } from "../lib/outcomes.js";

/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {{from: number, to: number}} Domain milliseconds since the epoch */

const HEIGHT = 18;
const MIDDLE = HEIGHT / 2;
const LEAST = 0.004; // so much of the line is drawn of what took no time
const LETTER_NEEDS = 0.02;
const ROOM = 0.95;

/**
 * From when until when runs and their request are drawn.
 * @param {{began_at?: string, answered_at?: string, runs: Run[]}} of
 * @returns {Domain}
 */
export function domainOf(of) {
  const points = [of.began_at, of.answered_at].map(millis);
  for (const run of of.runs) points.push(millis(run.scheduled_at), millis(run.started_at), endOf(run));
  const known = points.filter((point) => !Number.isNaN(point));
  const from = Math.min(...known);
  return { from, to: Math.max(from + 1, ...known) };
}

/**
 * When a run ended; for one in flight, the moment until which it is known to be.
 * @param {Run} run
 */
export function endOf(run) {
  if (run.ended_at !== undefined) return millis(run.ended_at);
  if (run.age_s !== undefined && run.alive === false) return millis(run.scheduled_at) + run.age_s * 1000;
  return run.alive === false ? (millis(run.started_at) || millis(run.scheduled_at)) : now();
}

/**
 * The lane of a run.
 * @param {Run} run
 * @param {Domain} domain
 */
export function runLane(run, domain) {
  const x = scale(domain);
  const state = stateOf(run);
  const scheduled = millis(run.scheduled_at);
  const started = millis(run.started_at);
  const end = Math.max(endOf(run), scheduled);
  const shapes = [];
  if (Number.isNaN(started)) {
    shapes.push(line(x(scheduled), x(end), "wait"), mark(x(end), state));
  } else {
    const begun = Math.min(end, started + (run.thread_wait_s ?? 0) * 1000);
    shapes.push(line(x(scheduled), x(started), "wait"));
    if (begun > started) shapes.push(line(x(started), x(begun), "thread-wait"));
    shapes.push(...block(x(begun), x(end), state, run.outcome === undefined && run.alive !== false));
  }
  return s("svg", { class: "lane", height: HEIGHT, role: "img", "aria-label": laneTold(run) }, shapes);
}

/**
 * The lane of a request: from its beginning to its answer.
 * @param {{began_at?: string, answered_at?: string, http_method?: string, http_route?: string}} of
 * @param {Domain} domain
 */
export function requestLane(of, domain) {
  const x = scale(domain);
  const [from, to] = [x(millis(of.began_at)), x(millis(of.answered_at))];
  const label = `${request(of)} took ${span((millis(of.answered_at) - millis(of.began_at)) / 1000)} to be answered`;
  return s(
    "svg",
    { class: "lane", height: HEIGHT, role: "img", "aria-label": label },
    s("rect", { x: pc(from), width: pc(Math.max(0.002, to - from)), y: 5, height: 8, class: "answer" }),
    s("rect", { x: pc(Math.min(to, 0.998)), width: 2, y: 1, height: HEIGHT - 2, class: "answer-end" }),
  );
}

/**
 * What a lane shows, in words.
 * @param {Run} run
 */
export function laneTold(run) {
  const known = [
    run.wait_s !== undefined && `waited ${span(run.wait_s)}`,
    run.thread_wait_s ? `waited ${span(run.thread_wait_s)} for a thread` : "",
    run.duration_s !== undefined && `ran ${span(run.duration_s)}`,
    run.started_at === undefined && run.outcome !== undefined && "never ran",
  ].filter(Boolean);
  return `${run.task} ${[stateOf(run), ...known].join(", ")}`;
}

/**
 * @param {Domain} domain
 * @returns {(at: number) => number} from 0 to 1
 */
function scale({ from, to }) {
  return (at) => Math.min(1, Math.max(0, (at - from) / (to - from)));
}

/** @param {number} share */
function pc(share) {
  return `${(share * 100).toFixed(3)}%`;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {string} kind
 */
function line(from, to, kind) {
  return s("line", { x1: pc(from), x2: pc(to), y1: MIDDLE, y2: MIDDLE, class: kind });
}

/**
 * @param {number} from
 * @param {number} to
 * @param {import("../lib/types.js").State} state
 * @param {boolean} goesOn
 */
function block(from, to, state, goesOn) {
  const width = Math.max(LEAST, to - from);
  const begin = Math.min(from, 1 - width);
  const shape = { x: pc(begin), width: pc(width), y: 2, height: HEIGHT - 4 };
  const bar = s("rect", { ...shape, fill: paint(state), class: `run ${goesOn ? "goes-on" : ""} edge-${state}` });
  if (state === "succeeded") return [bar];
  if (width > LETTER_NEEDS) return [bar, letter(begin + width / 2, state)];
  return [bar, begin < ROOM ? letter(begin + width, state, 9) : letter(begin, state, -9)]; // beside it
}

/**
 * The end of what never ran.
 * @param {number} at
 * @param {import("../lib/types.js").State} state
 */
function mark(at, state) {
  // an inner drawing, so that the mark stays within the lane at both ends
  const inner = { x: pc(at), width: HEIGHT - 2, height: HEIGHT, class: "mark" };
  const shift = `translate(${(-(HEIGHT - 2) * at).toFixed(1)} 0)`;
  return s(
    "svg",
    { ...inner, overflow: "visible" },
    s(
      "g",
      { transform: shift },
      s("rect", { width: HEIGHT - 2, height: HEIGHT - 2, y: 1, rx: 3, class: `fill-${state}` }),
      s("text", { x: MIDDLE - 1, y: MIDDLE + 4, class: "letter on" }, LOOKS[state].letter),
    ),
  );
}

/**
 * @param {number} at
 * @param {import("../lib/types.js").State} state
 * @param {number} [dx] pixels beside
 */
function letter(at, state, dx = 0) {
  return s("text", { x: pc(at), dx, y: MIDDLE + 4, class: "letter" }, LOOKS[state].letter);
}
