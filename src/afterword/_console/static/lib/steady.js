/** Keeps a list in its order while somebody points at it or is in it with the keyboard: nothing jumps away. */

/**
 * @template T
 * @param {T[]} items in the order that they should have
 * @param {(item: T) => string} key
 * @param {string} selector of the list
 * @returns {T[]}
 */
export function steady(items, key, selector) {
  const list = document.querySelector(selector);
  if (list === null || !(list.matches(":hover") || list.contains(document.activeElement))) return items;
  /** @type {Map<string, number>} */
  const places = new Map();
  for (const child of list.children) places.set(child.getAttribute("data-key") ?? "", places.size);
  const place = (/** @type {T} */ item) => places.get(key(item)) ?? places.size;
  return [...items].sort((one, other) => place(one) - place(other));
}
