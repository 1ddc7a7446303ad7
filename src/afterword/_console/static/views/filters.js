/** Fields above a list that narrow it. What they hold stands in the address. */

import { h } from "../lib/dom.js";
import { LOOKS } from "../lib/outcomes.js";
import { swatch } from "./parts.js";

/** @typedef {import("../lib/types.js").Context} Context */
/** @typedef {import("../lib/dom.js").Child} Child */

const TYPING_MS = 250;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;

/**
 * A row of fields, with a button that empties them if any is filled.
 * @param {Context} context
 * @param {string[]} names of the parameters that can be emptied
 * @param {...Child} fields
 */
export function filters(context, names, ...fields) {
  const isFiltered = names.some((name) => context.params[name]);
  const clear = () => context.go(Object.fromEntries(names.map((name) => [name, null])));
  return h(
    "form",
    { class: "filters", role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    fields,
    h("button", { type: "button", class: "quiet", disabled: !isFiltered, onclick: clear }, "Clear"),
  );
}

/**
 * A field for text, perhaps with suggestions.
 * @param {Context} context
 * @param {string} name of the parameter
 * @param {string} label
 * @param {Iterable<string | undefined>} [suggestions]
 */
export function textField(context, name, label, suggestions = []) {
  const list = [...new Set(suggestions)].filter(Boolean).slice(0, 200).sort();
  const id = `filter-${name}`;
  const typed = (/** @type {Event} */ event) => {
    const { value } = /** @type {HTMLInputElement} */ (event.target);
    clearTimeout(typing);
    typing = setTimeout(() => context.go({ [name]: value.trim() || null }), TYPING_MS);
  };
  const options = { type: "search", id, name, autocomplete: "off", spellcheck: "false", maxlength: 300 };
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h("input", { ...options, list: list.length ? `${id}-list` : null, value: context.params[name] ?? "", oninput: typed }),
    list.length ? h("datalist", { id: `${id}-list` }, list.map((value) => h("option", { value }))) : null,
  );
}

/**
 * A choice of one.
 * @param {Context} context
 * @param {string} name of the parameter
 * @param {string} label
 * @param {ReadonlyArray<readonly [string, string]>} choices value and label; the first is what an empty one means
 */
export function choice(context, name, label, choices) {
  const id = `filter-${name}`;
  const first = choices[0]?.[0] ?? "";
  const value = context.params[name] ?? first;
  const chosen = (/** @type {Event} */ event) => {
    const { value } = /** @type {HTMLSelectElement} */ (event.target);
    context.go({ [name]: value === first ? null : value });
  };
  const known = choices.some(([one]) => one === value) ? choices : [...choices, /** @type {const} */ ([value, value])];
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h("select", { id, name, value, onchange: chosen }, known.map(([one, text]) => h("option", { value: one }, text))),
  );
}

/**
 * A choice of several outcomes.
 * @param {Context} context
 * @param {ReadonlyArray<import("../lib/types.js").State>} states
 */
export function outcomeChoice(context, states) {
  const chosen = chosenOutcomes(context);
  const toggle = (/** @type {string} */ state) => {
    const next = states.filter((one) => (one === state ? !chosen.has(one) : chosen.has(one)));
    context.go({ outcome: next.join(",") || null });
  };
  return h(
    "fieldset",
    { class: "chips" },
    h("legend", null, "Outcome"),
    states.map((state) =>
      h(
        "button",
        { type: "button", class: "chip", "aria-pressed": String(chosen.has(state)), title: LOOKS[state].meaning, onclick: () => toggle(state) },
        swatch(state),
        " ",
        state,
      ),
    ),
  );
}

/**
 * Which outcomes are asked for; none are all.
 * @param {Context} context
 * @returns {Set<string>}
 */
export function chosenOutcomes(context) {
  return new Set((context.params.outcome ?? "").split(",").filter(Boolean));
}
