/**
 * Changes what is shown into what should be shown, by as little as possible: an element that stays is the same
 * element, so focus, selection and scrolling stay, and nothing flickers.
 */

import { LIVE_VALUES, adoptListeners } from "./dom.js";

/** Elements of a list that may move say who they are. */
export const KEY = "data-key";

/**
 * Give an element these children.
 * @param {Element} parent
 * @param {Node} wanted holds the children; is empty afterwards
 */
export function morphChildren(parent, wanted) {
  const focused = document.activeElement;
  children(parent, wanted);
  if (focused !== document.activeElement && focused instanceof HTMLElement && focused.isConnected) {
    focused.focus({ preventScroll: true }); // it was moved, which takes the focus away
  }
}

/**
 * @param {Node} parent
 * @param {Node} wanted
 */
function children(parent, wanted) {
  const fresh = [...wanted.childNodes];
  const keys = new Set(fresh.map(keyOf));
  /** @type {Map<string, ChildNode>} */
  const known = new Map();
  for (const old of [...parent.childNodes]) {
    const key = keyOf(old);
    if (key === null) continue;
    if (keys.has(key)) known.set(key, old);
    else old.remove();
  }
  let at = parent.firstChild;
  for (const next of fresh) {
    const key = keyOf(next);
    const match = key === null ? (at !== null && keyOf(at) === null ? at : null) : (known.get(key) ?? null);
    if (match === null || !isSameKind(match, next)) {
      parent.insertBefore(next, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else parent.insertBefore(match, at);
    morph(match, next);
  }
  while (at !== null) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

/**
 * @param {ChildNode} old
 * @param {ChildNode} next
 */
function morph(old, next) {
  if (!(old instanceof Element) || !(next instanceof Element)) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  children(old, next);
  if (old !== document.activeElement) {
    for (const name of LIVE_VALUES) {
      // @ts-ignore: both are of one kind
      if (name in next && old[name] !== next[name]) old[name] = next[name];
    }
  }
  adoptListeners(old, next);
}

/** @param {Node} node */
function keyOf(node) {
  return node instanceof Element ? node.getAttribute(KEY) : null;
}

/**
 * @param {Node} one
 * @param {Node} other
 */
function isSameKind(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
}
