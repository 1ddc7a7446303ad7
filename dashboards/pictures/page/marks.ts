// Annotations and exemplars on a graph; Grafana's own are not on npm, so they are drawn by hand, and like them.

import type { GrafanaTheme2 } from "@grafana/data";
import type { UPlotConfigBuilder } from "@grafana/ui";
import type uPlot from "uplot";
import type { Drawn } from "./panels";

const SIZE = 5;

function vertical(plot: uPlot, time: number, colour: string): void {
  const x = plot.valToPos(time, "x", true);
  const { top, height } = plot.bbox;
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.lineWidth = 1;
  ctx.setLineDash([5, 5]);
  ctx.beginPath();
  ctx.moveTo(x, top);
  ctx.lineTo(x, top + height);
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x, top + height - SIZE);
  ctx.lineTo(x + SIZE, top + height + 1);
  ctx.lineTo(x - SIZE, top + height + 1);
  ctx.fill();
  ctx.restore();
}

export function diamond(ctx: CanvasRenderingContext2D, x: number, y: number, colour: string): void {
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.moveTo(x, y - SIZE);
  ctx.lineTo(x + SIZE, y);
  ctx.lineTo(x, y + SIZE);
  ctx.lineTo(x - SIZE, y);
  ctx.fill();
}

/** The times at which an annotation begins: Grafana makes one region of points that follow each other. */
function beginnings(values: [number, string][], interval: number): number[] {
  const times = values.map(([time]) => time * 1000);
  return times.filter((time, position) => position === 0 || time - (times[position - 1] as number) > interval);
}

/** The exemplars that Grafana shows, with their times: in each step, those that lie far enough from each other. */
export function sampled({ given, answers }: Drawn): [number, number][] {
  const all = given.exemplars.flatMap(({ exemplars }) => exemplars.map((one): [number, number] => [one.timestamp * 1000, Number(one.value)]));
  const mean = all.reduce((sum, [, value]) => sum + value, 0) / all.length;
  const deviation = Math.sqrt(all.reduce((sum, [, value]) => sum + (value - mean) ** 2, 0) / all.length);
  const last = new Map<number, number>();
  return all
    .sort(([, one], [, other]) => other - one)
    .filter(([time, value]) => {
      const step = Math.floor(time / answers.interval);
      const before = last.get(step);
      if (before !== undefined && before - value < 2 * deviation) return false;
      last.set(step, value);
      return true;
    });
}

/** A renderer, which has the plot's configuration at hand when it is made. */
export function marks(drawn: Drawn, theme: GrafanaTheme2) {
  const { answers } = drawn;
  const draw = (plot: uPlot) => {
    for (const { colour, answer } of answers.annotations) {
      for (const series of answer.result) {
        for (const time of beginnings(series.values ?? [], answers.interval)) {
          vertical(plot, time, theme.visualization.getColorByName(colour));
        }
      }
    }
    const scale = plot.series[1]?.scale ?? "y";
    for (const [time, value] of sampled(drawn)) {
      const [x, y] = [plot.valToPos(time, "x", true), plot.valToPos(value, scale, true)];
      const { left, top, width, height } = plot.bbox;
      if (x >= left && x <= left + width && y >= top && y <= top + height) diamond(plot.ctx, x, y, theme.visualization.getColorByName("blue"));
    }
  };
  return { fieldMap: {}, indicesOnly: [], init: (builder: UPlotConfigBuilder) => builder.addHook("draw", draw) };
}
