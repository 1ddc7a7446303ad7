// The heatmap, which has no component on npm: cells on a canvas, in the colours and the scale that the panel asks for.

import * as React from "react";
import { dateTimeFormat, getValueFormat, formattedValueToString } from "@grafana/data";
import { useTheme2 } from "@grafana/ui";
import { interpolateOranges } from "d3-scale-chromatic";
import { diamond, sampled } from "./marks";
import type { Drawn } from "./panels";

const [LEFT, BOTTOM, TOP] = [84, 22, 6];

function bounds(drawn: Drawn): { le: number; values: Map<number, number> }[] {
  const [answer] = Object.values(drawn.given.answers);
  const cumulative = (answer?.result ?? [])
    .map((one) => ({
      le: Number(one.metric["le"] === "+Inf" ? Infinity : one.metric["le"]),
      values: new Map((one.values ?? []).map(([time, value]) => [time * 1000, Number(value)])),
    }))
    .sort((one, other) => one.le - other.le);
  return cumulative.map(({ le, values }, position) => {
    const below = cumulative[position - 1]?.values;
    return { le, values: new Map([...values].map(([time, value]) => [time, Math.max(0, value - (below?.get(time) ?? 0))])) };
  });
}

export function Heatmap(drawn: Drawn) {
  const theme = useTheme2();
  const canvas = React.useRef<HTMLCanvasElement>(null);
  const ratio = window.devicePixelRatio;
  React.useLayoutEffect(() => {
    const ctx = canvas.current?.getContext("2d");
    if (!ctx) return;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, drawn.width, drawn.height);
    const rows = bounds(drawn);
    const { answers, width, height } = drawn;
    const [plotWidth, plotHeight] = [width - LEFT - 8, height - BOTTOM - TOP];
    const x = (time: number) => LEFT + ((time - answers.from) / (answers.to - answers.from)) * plotWidth;
    const y = (row: number) => TOP + plotHeight * (1 - row / rows.length);
    const most = Math.max(...rows.flatMap((row) => [...row.values.values()]));
    const cell = (plotWidth * answers.interval) / (answers.to - answers.from);
    rows.forEach(({ values }, row) => {
      for (const [time, value] of values) {
        if (value <= 1e-9 || time <= answers.from) continue;
        const part = Math.sqrt(value / most);
        ctx.fillStyle = interpolateOranges(theme.isDark ? 1 - part : part);
        ctx.fillRect(x(time) - cell, y(row + 1) + 0.5, cell - 1, plotHeight / rows.length - 1);
      }
    });
    ctx.fillStyle = theme.colors.text.primary;
    ctx.font = `12px ${theme.typography.fontFamily}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const format = getValueFormat("s");
    const every = Math.ceil((rows.length * 16) / plotHeight);
    rows.forEach(({ le }, row) => {
      const text = le === Infinity ? "+Inf" : formattedValueToString(format(le));
      if (row % every === 0) ctx.fillText(text, LEFT - 8, y(row + 0.5));
    });
    ctx.textAlign = "center";
    for (let time = Math.ceil(answers.from / 60_000) * 60_000; time < answers.to; time += 60_000) {
      ctx.fillText(dateTimeFormat(time, { format: "HH:mm", timeZone: "utc" }), x(time), height - BOTTOM / 2);
    }
    for (const [time, value] of sampled(drawn)) {
      const row = rows.findIndex(({ le }) => value <= le);
      if (row >= 0 && time > answers.from) diamond(ctx, x(time), y(row + 0.5), "rgba(50,116,217,0.9)");
    }
  });
  return <canvas ref={canvas} width={drawn.width * ratio} height={drawn.height * ratio} style={{ width: drawn.width, height: drawn.height }} />;
}
