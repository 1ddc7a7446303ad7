/** The door: a field for the token, and where to find one. */

import { ApiError, openSession } from "../lib/api.js";
import { h } from "../lib/dom.js";

/**
 * @param {string} complaint why the door is closed
 * @param {boolean} wantsToken
 * @param {() => void} opened
 */
export function login(complaint, wantsToken, opened) {
  if (!wantsToken) return h("div", { class: "login" }, h("h1", { id: "title", tabindex: "-1" }, "This console is closed"), h("p", { role: "alert" }, complaint));
  const said = h("p", { class: "complaint", id: "complaint", role: "alert" });
  const field = h("input", { id: "token", name: "token", type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "complaint", required: true, maxlength: 300 });
  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    try {
      await openSession(field.value.trim());
      opened();
    } catch (error) {
      said.textContent = error instanceof ApiError ? error.message : "The server cannot be reached.";
      field.select();
      field.focus();
    }
  }
  return h(
    "form",
    { class: "login", onsubmit: submit },
    h("h1", { id: "title", tabindex: "-1" }, "This console needs its token"),
    h("p", null, "The application logs an address that has it, once, when it starts:"),
    h("p", null, h("code", { class: "request" }, `${location.origin}${location.pathname}#token=…`)),
    h("p", null, "Open that address, or paste the token here. It is also what ", h("code", null, "AFTERWORD_CONSOLE_TOKEN"), " was set to."),
    h("label", { for: "token" }, "Token"),
    h("div", { class: "login-row" }, field, h("button", { type: "submit", class: "primary" }, "Open")),
    said,
  );
}
