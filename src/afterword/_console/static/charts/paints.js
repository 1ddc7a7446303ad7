/** What shapes are filled with: each outcome's colour with a pattern of its own, drawn once for the whole page. */

import { h, s } from "../lib/dom.js";
import { LOOKS, STATES } from "../lib/outcomes.js";

/** @type {Record<string, string>} The strokes of each pattern on a tile of 6 × 6. */
const STROKES = {
  plain: "",
  rising: "M-1 7L7 -1M-1 1L1 -1M5 7L7 5",
  falling: "M-1 -1L7 7M5 -1L7 1M-1 5L1 7",
  cross: "M-1 7L7 -1M-1 -1L7 7",
  bars: "M1.5 0V6M4.5 0V6",
  grid: "M0 1.5H6M0 4.5H6",
  dots: "M1 1.5h1.4M4 4.5h1.4",
  ticks: "M1.5 0V3M4.5 3V6",
};

/** An invisible drawing that holds them. */
export function paints() {
  const patterns = STATES.map((state) =>
    s(
      "pattern",
      { id: `paint-${state}`, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      s("rect", { width: 6, height: 6, class: `fill-${state}` }),
      s("path", { d: STROKES[LOOKS[state].pattern] ?? "", class: "texture" }),
    ),
  );
  const drawing = s("svg", { width: 0, height: 0, "aria-hidden": "true", focusable: "false" }, s("defs", null, patterns));
  return h("div", { class: "paints" }, drawing);
}
