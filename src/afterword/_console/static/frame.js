/** The frame around every view: name, navigation, time, connection, colours. */

import { h } from "./lib/dom.js";
import { count } from "./lib/format.js";
import { PLACES, address } from "./lib/router.js";
import { THEMES, setTheme, theme } from "./lib/theme.js";

/** @typedef {import("./lib/live.js").Connection} Connection */

const WINDOWS = /** @type {const} */ ([
  [300, "5 minutes"],
  [900, "15 minutes"],
  [3600, "1 hour"],
  [21_600, "6 hours"],
  [86_400, "1 day"],
  [604_800, "7 days"],
]);

/** @type {Record<Connection, [string, string]>} */
const CONNECTIONS = {
  connecting: ["connecting", "The page connects"],
  live: ["live", "Changes appear by themselves"],
  disconnected: ["disconnected", "The server cannot be reached; the page connects again by itself"],
  paused: ["paused", "Nothing is asked while nobody looks"],
};

/**
 * @param {object} state
 * @param {import("./lib/router.js").Place} state.place
 * @param {number} state.since
 * @param {Connection} state.connection
 * @param {number} state.inFlight
 * @param {(seconds: number) => void} state.setSince
 */
export function header({ place, since, connection, inFlight, setSince }) {
  const here = place.name === "run" ? "runs" : place.name;
  const [word, hint] = CONNECTIONS[connection];
  return [
    h("a", { class: "name", href: address("wrong"), "aria-label": "Afterword" }, h("img", { src: "static/icon.svg", alt: "", width: 20, height: 20 }), h("span", null, "Afterword")),
    h(
      "nav",
      { "aria-label": "Views" },
      h(
        "ul",
        null,
        PLACES.map(({ name, label }) =>
          h(
            "li",
            null,
            h(
              "a",
              { href: address(name, { since: place.params.since }), "aria-current": name === here ? "page" : null },
              label,
              name === "now" ? h("span", { class: "in-flight number", title: `${count(inFlight)} in flight` }, inFlight ? count(inFlight) : "") : null,
            ),
          ),
        ),
      ),
    ),
    h("div", { class: "controls" }, h("span", { class: `connection ${connection}`, title: hint }, h("span", { class: "dot", "aria-hidden": "true" }), word), windowChoice(since, setSince), themeChoice()),
  ];
}

/**
 * @param {number} since
 * @param {(seconds: number) => void} setSince
 */
function windowChoice(since, setSince) {
  const known = WINDOWS.some(([seconds]) => seconds === since);
  const choices = known ? WINDOWS : [...WINDOWS, /** @type {const} */ ([since, `${count(since)} s`])];
  const chosen = (/** @type {Event} */ event) => setSince(Number(/** @type {HTMLSelectElement} */ (event.target).value));
  return h("select", { "aria-label": "How far back", title: "How far back", value: String(since), onchange: chosen }, choices.map(([seconds, label]) => h("option", { value: String(seconds) }, label)));
}

function themeChoice() {
  const chosen = (/** @type {Event} */ event) => setTheme(/** @type {import("./lib/theme.js").Theme} */ (/** @type {HTMLSelectElement} */ (event.target).value));
  return h("select", { "aria-label": "Colours", title: "Colours", value: theme(), onchange: chosen }, THEMES.map((one) => h("option", { value: one }, one)));
}
