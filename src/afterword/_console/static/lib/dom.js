/** Makes elements. Text becomes text nodes, never markup, so nothing that is shown can run. */

/** @typedef {Node | string | number | null | undefined | false | any[]} Child of an array, each is a child */
/** @typedef {(event: any) => void} Listener */
/** @typedef {Record<string, string | number | boolean | null | undefined | Listener>} Props */

const SVG = "http://www.w3.org/2000/svg";

/** The listeners of elements by event, in one place, so that an element can be given those of a newer one.
 * @type {WeakMap<Element, Map<string, Listener>>} */
const listeners = new WeakMap();

/** Values that the user may have changed since, and that attributes do not tell.
 * @type {ReadonlySet<string>} */
export const LIVE_VALUES = new Set(["value", "checked"]);

/**
 * Make an HTML element. `on…` adds a listener, true an empty attribute; null, undefined and false add nothing.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  fill(element, props ?? {}, children);
  return element;
}

/**
 * Make an SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function s(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, props ?? {}, children);
  return element;
}

/**
 * Append children: text as text.
 * @param {Node} parent
 * @param {Child} child
 */
export function append(parent, child) {
  if (Array.isArray(child)) for (const one of child) append(parent, one);
  else if (child instanceof Node) parent.appendChild(child);
  else if (child !== null && child !== undefined && child !== false) {
    parent.appendChild(document.createTextNode(String(child)));
  }
}

/**
 * @param {Element} element
 * @param {Props} props
 * @param {Child[]} children
 */
function fill(element, props, children) {
  append(element, children); // before a select's value
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") listen(element, name.slice(2), value);
    else if (name === "value" && "value" in element) element.value = value;
    else if (name === "checked" && element instanceof HTMLInputElement) element.checked = true;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Element} element
 * @param {string} event
 * @param {Listener} listener
 */
function listen(element, event, listener) {
  let known = listeners.get(element);
  if (known === undefined) listeners.set(element, (known = new Map()));
  if (!known.has(event)) element.addEventListener(event, (fired) => listeners.get(element)?.get(event)?.(fired));
  known.set(event, listener);
}

/**
 * Let an element do what a newer one of its kind would do.
 * @param {Element} element
 * @param {Element} newer
 */
export function adoptListeners(element, newer) {
  for (const event of listeners.get(element)?.keys() ?? []) {
    if (!listeners.get(newer)?.has(event)) listeners.get(element)?.delete(event);
  }
  for (const [event, listener] of listeners.get(newer) ?? []) listen(element, event, listener);
}
