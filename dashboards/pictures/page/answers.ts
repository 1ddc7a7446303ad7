// What dashboards/pictures/answers.py has kept of Prometheus, and the parts of a dashboard that are drawn.

import type { DataLink, DataTransformerConfig, FieldConfigSource } from "@grafana/data";

export type Labels = Record<string, string>;
export type Sample = [number, string];

export interface Series {
  metric: Labels;
  values?: Sample[];
  value?: Sample;
}

export interface Answer {
  resultType: string;
  result: Series[];
}

export interface Exemplars {
  seriesLabels: Labels;
  exemplars: { labels: Labels; value: string; timestamp: number }[];
}

export interface PanelAnswers {
  answers: Record<string, Answer>;
  exemplars: Exemplars[];
}

export interface Answers {
  from: number;
  to: number;
  interval: number;
  panels: Record<string, PanelAnswers>;
  annotations: { name: string; colour: string; answer: Answer }[];
}

export interface Target {
  refId: string;
  expr?: string;
  legendFormat?: string;
  format?: string;
  instant?: boolean;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { type: string };
  targets?: Target[];
  options?: Record<string, any>;
  fieldConfig?: FieldConfigSource;
  transformations?: DataTransformerConfig[];
  links?: DataLink[];
}

export interface Dashboard {
  uid: string;
  title: string;
  panels: Panel[];
  templating: { list: { name: string; label?: string; type: string; multi?: boolean }[] };
}

export interface Wanted {
  dashboard: Dashboard;
  answers: Answers;
  theme: "dark" | "light";
  width: number;
  /** The lowest row of the grid that is drawn. */
  rows: number;
  /** What the variables say, by name. */
  chosen: Record<string, string>;
}
