/** The address: every view, its filters and its order are a fragment, so each can be kept and sent to others. */

/** @typedef {"wrong" | "tasks" | "timeline" | "runs" | "run" | "now"} Name */
/** @typedef {{name: Name, id: string, params: import("./types.js").Params}} Place */

export const DEFAULT_SINCE = 3600;

/** @type {ReadonlyArray<{name: Name, label: string}>} */
export const PLACES = [
  { name: "wrong", label: "What is wrong" },
  { name: "tasks", label: "Tasks" },
  { name: "timeline", label: "Timeline" },
  { name: "runs", label: "Runs" },
  { name: "now", label: "Now" },
];

/**
 * Read a fragment: `#/runs?outcome=dropped`, `#/runs/ID`.
 * @param {string} fragment
 * @returns {Place}
 */
export function parse(fragment) {
  const [path = "", query = ""] = fragment.replace(/^#\/?/, "").split("?", 2);
  const [first = "", id = ""] = path.split("/");
  const params = Object.fromEntries(new URLSearchParams(query));
  if (first === "runs" && id !== "") return { name: "run", id: decoded(id), params };
  const known = PLACES.find(({ name }) => name === first);
  return { name: known?.name ?? "wrong", id: "", params };
}

/**
 * Write a fragment; empty parameters are left out.
 * @param {Name} name
 * @param {Record<string, string | number | null | undefined>} [params]
 * @param {string} [id]
 */
export function address(name, params = {}, id = "") {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(key, String(value));
  }
  const path = name === "run" ? `runs/${encodeURIComponent(id)}` : name === "wrong" ? "" : name;
  const text = query.toString();
  return `#/${path}${text && `?${text}`}`;
}

/**
 * How many seconds back is looked.
 * @param {import("./types.js").Params} params
 */
export function sinceOf(params) {
  const seconds = Number(params.since);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : DEFAULT_SINCE;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
