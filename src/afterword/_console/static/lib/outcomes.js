/**
 * The outcomes: their order, their letter, their pattern and what they mean. Their colours are in css/palette.css;
 * everything that is drawn asks here, so an outcome looks the same everywhere, and can be told without its colour.
 */

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {{letter: string, pattern: string, meaning: string}} Look */

/** @type {Readonly<Record<State, Look>>} */
export const LOOKS = {
  succeeded: { letter: "S", pattern: "plain", meaning: "the function returned" },
  failed: { letter: "F", pattern: "rising", meaning: "the function raised" },
  cancelled: { letter: "C", pattern: "bars", meaning: "it was cancelled while it ran" },
  skipped: { letter: "K", pattern: "dots", meaning: "never ran: an earlier task of its batch failed" },
  dropped: { letter: "D", pattern: "falling", meaning: "never ran: its request failed, or it was given up" },
  abandoned: { letter: "A", pattern: "grid", meaning: "never ran: nothing would ever have called it" },
  returned: { letter: "B", pattern: "ticks", meaning: "an attempt of Celery’s that did not end its task, which goes on" },
  lost: { letter: "L", pattern: "cross", meaning: "its process died" },
  running: { letter: "R", pattern: "plain", meaning: "runs now" },
  pending: { letter: "P", pattern: "plain", meaning: "waits" },
};

/** In the order in which they are drawn and told. */
export const STATES = /** @type {State[]} */ (Object.keys(LOOKS));

/** @type {ReadonlyArray<Ending>} */
export const ENDINGS = ["succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned", "lost"];

/** Those that something went wrong with, the worst first. */
export const WRONG = /** @type {ReadonlyArray<Ending>} */ (ENDINGS.slice(1));

/**
 * How a run ended, or what it is doing.
 * @param {{outcome?: State, state?: State}} run
 * @returns {State}
 */
export function stateOf(run) {
  return run.outcome ?? run.state ?? "pending";
}

/**
 * Whether a text from an address or the server is a state.
 * @param {string} text
 * @returns {text is State}
 */
export function isState(text) {
  return Object.hasOwn(LOOKS, text);
}

/**
 * What an SVG shape is filled with.
 * @param {State} state
 */
export function paint(state) {
  return `url(#paint-${isState(state) ? state : "pending"})`;
}

/**
 * How many in all, of these states.
 * @param {import("./types.js").Counts} counts
 * @param {ReadonlyArray<State>} states
 */
export function total(counts, states) {
  return states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
}
