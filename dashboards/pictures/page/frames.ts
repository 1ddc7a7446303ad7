// Turns answers of Prometheus into data frames, as Grafana's own data source does.

import { type DataFrame, type Field, FieldType } from "@grafana/data";
import type { Answer, Labels, PanelAnswers, Series, Target } from "./answers";

const NAN = "NaN";

function legend(format: string | undefined, labels: Labels): string | undefined {
  if (!format || format === "__auto") return undefined;
  return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => labels[label] ?? "");
}

function automatic(labels: Labels, target: Target): string {
  const pairs = Object.entries(labels).filter(([name]) => name !== "__name__");
  return pairs.length ? `{${pairs.map(([name, value]) => `${name}="${value}"`).join(", ")}}` : (target.expr ?? "Value");
}

function number(text: string): number | null {
  if (text === NAN) return null;
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

function overTime(series: Series, target: Target, interval: number, from: number, to: number): DataFrame {
  const samples = series.values ?? (series.value ? [series.value] : []);
  const given = new Map(samples.map(([time, value]) => [Math.round(time * 1000), number(value)]));
  // as the backend does, where there is a gap it says null
  const times = series.values ? [...steps(from, to, interval)].filter((time) => time >= from) : [...given.keys()];
  const values = times.map((time) => given.get(time) ?? null);
  const first = values.findIndex((value) => value !== null);
  const last = values.findLastIndex((value) => value !== null);
  const name = legend(target.legendFormat, series.metric) ?? automatic(series.metric, target);
  const slice = <T>(list: T[]) => (series.values ? list.slice(Math.max(first, 0), last + 1) : list);
  return {
    refId: target.refId,
    name,
    length: slice(times).length,
    fields: [
      { name: "Time", type: FieldType.time, config: { interval }, values: slice(times) },
      { name: "Value", type: FieldType.number, labels: series.metric, config: { displayNameFromDS: name }, values: slice(values) },
    ],
  };
}

function* steps(from: number, to: number, interval: number): Generator<number> {
  for (let time = from; time <= to; time += interval) yield time;
}

function asTable(answer: Answer, target: Target, several: boolean): DataFrame {
  const names = [...new Set(answer.result.flatMap((one) => Object.keys(one.metric)))].filter((one) => one !== "__name__").sort();
  const samples = answer.result.map((one) => one.value as [number, string]);
  const fields: Field[] = [
    { name: "Time", type: FieldType.time, config: {}, values: samples.map(([time]) => Math.round(time * 1000)) },
    ...names.map((name) => ({
      name,
      type: FieldType.string,
      config: { filterable: true },
      values: answer.result.map((one) => one.metric[name] ?? ""),
    })),
    {
      name: several ? `Value #${target.refId}` : "Value",
      type: FieldType.number,
      config: {},
      values: samples.map(([, value]) => number(value)),
    },
  ];
  return { refId: target.refId, length: samples.length, fields };
}

/** The frames of a panel, in the order of its queries. */
export function frames(targets: Target[], given: PanelAnswers, interval: number, from: number, to: number): DataFrame[] {
  const tables = targets.filter((target) => target.format === "table").length;
  return targets.flatMap((target) => {
    const answer = given.answers[target.refId];
    if (!answer) return [];
    if (target.format === "table") return answer.result.length ? [asTable(answer, target, tables > 1)] : [];
    return answer.result.map((one) => overTime(one, target, interval, from, to));
  });
}
