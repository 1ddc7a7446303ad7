/** What several views show alike. */

import { h } from "../lib/dom.js";
import { request } from "../lib/format.js";
import { LOOKS, STATES, isState, stateOf } from "../lib/outcomes.js";
import { address } from "../lib/router.js";

/** @typedef {import("../lib/dom.js").Child} Child */
/** @typedef {import("../lib/types.js").Run} Run */
/** @typedef {import("../lib/types.js").State} State */

/** @type {Readonly<Record<string, string>>} */
export const ENGINES = { starlette: "Starlette", celery: "Celery" };

/**
 * A letter on an outcome's colour.
 * @param {State} state
 */
export function swatch(state) {
  const known = isState(state) ? state : "pending";
  return h("span", { class: `swatch of-${known}`, "aria-hidden": "true" }, LOOKS[known].letter);
}

/**
 * An outcome in words, with its letter and colour.
 * @param {State} state
 */
export function badge(state) {
  return h("span", { class: "badge", title: isState(state) ? LOOKS[state].meaning : null }, swatch(state), " ", state);
}

/**
 * How a run ended, with the state that a lost one was in.
 * @param {Run} run
 */
export function badgeOf(run) {
  return badge(stateOf(run));
}

/**
 * What the colours and letters mean.
 * @param {import("../lib/types.js").Counts} counts only of these
 */
export function legend(counts) {
  const present = STATES.filter((state) => counts[state] !== undefined);
  return h("ul", { class: "legend", "aria-label": "Outcomes" }, present.map((state) => h("li", null, badge(state))));
}

/**
 * A request's method and route, as code.
 * @param {{http_method?: string, http_route?: string}} of
 */
export function requestCode(of) {
  const text = request(of);
  return text ? h("code", { class: "request" }, text) : null;
}

/**
 * A link to a run.
 * @param {string} id
 * @param {Child} label
 * @param {Record<string, string>} [more] attributes
 */
export function runLink(id, label, more = {}) {
  return h("a", { href: address("run", {}, id), ...more }, label);
}

/**
 * What to say where there is nothing.
 * @param {string} title
 * @param {...Child} rest what can be done
 */
export function empty(title, ...rest) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), rest);
}

/**
 * "what happened; what to do", as far as a detail has two parts.
 * @param {string} detail
 * @returns {[string, string]}
 */
export function parted(detail) {
  const at = detail.indexOf("; ");
  return at < 0 ? [detail, ""] : [detail.slice(0, at), detail.slice(at + 2)];
}

/**
 * A text in which calls, decorators and names in backticks are set as code.
 * @param {string} text
 * @returns {Child}
 */
export function prose(text) {
  const pieces = text.split(/(`[^`]+`|@?\b[A-Za-z_][\w.]*\([^()]{0,80}\))/);
  return pieces.map((piece, index) => (index % 2 ? h("code", null, piece.replaceAll("`", "")) : piece));
}

/**
 * Why a run did not succeed, in few words: the reason, and the error's own name where that says more.
 * @param {{reason?: string, error_type?: string}} of
 */
export function reasonOf({ reason = "", error_type: error = "" }) {
  return [reason.replaceAll("_", " "), error === reason ? "" : error.split(".").at(-1)].filter(Boolean).join(": ");
}

/**
 * A text as a sentence: with a capital, unless it begins with a name, and a full stop.
 * @param {string} text
 */
export function sentence(text) {
  const first = /^[a-z]+[\s,']/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return !text || /[.!?…]$/.test(text) ? first : `${first}.`;
}

/**
 * A task's name in parts, if it is that of a function; one that somebody made up is one part.
 * @param {string} name
 */
export function nameParts(name) {
  return /^[\w.<>]+$/.test(name) && !name.endsWith(".") ? name.split(".") : [name];
}

/**
 * A task's name: its last part, which is what one looks for, and the one before, which tells it from others.
 * @param {string} name
 */
export function taskName(name) {
  const [last = "", before] = nameParts(name).reverse();
  return h("span", { title: name }, before === undefined ? null : h("span", { class: "module" }, before, ".", h("wbr")), h("b", null, breakable(last)));
}

/**
 * A mark of what runs a task, where that is not the request's own process.
 * @param {{engine?: string}} of
 */
export function engineMark({ engine }) {
  return engine === undefined || engine === "starlette" ? null : [" ", h("span", { class: "engine" }, ENGINES[engine] ?? engine)];
}

/**
 * A name that may break where a reader would break it.
 * @param {string} name
 * @returns {Child}
 */
export function breakable(name) {
  return name.split(/(?<=[._/])/).flatMap((piece, index) => (index ? [h("wbr"), piece] : [piece]));
}
