"""Writes dashboards as typed TypeScript literals, for ``tsc --strict`` to compare with Grafana's schema."""

from __future__ import annotations

import json
from typing import Any

from dashboards import expressions

_RAW = "@grafana/schema/dist/esm/raw/composable"

PRELUDE = f"""\
import type * as schema from "@grafana/schema";
import type * as bargauge from "{_RAW}/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen.d.ts";
import type * as heatmap from "{_RAW}/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen.d.ts";
import type * as logs from "{_RAW}/logs/panelcfg/x/LogsPanelCfg_types.gen.d.ts";
import type * as stat from "{_RAW}/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts";
import type * as table from "{_RAW}/table/panelcfg/x/TablePanelCfg_types.gen.d.ts";
import type * as timeseries from "{_RAW}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts";
import type * as lokiQuery from "{_RAW}/loki/dataquery/x/LokiDataQuery_types.gen.d.ts";
import type * as tempoQuery from "{_RAW}/tempo/dataquery/x/TempoDataQuery_types.gen.d.ts";

// JSON has no enums: an enum stands for its values
type Json<T> = unknown extends T ? T
  : T extends string ? `${{T}}`
  : T extends number | boolean | null | undefined ? T
  : T extends (...args: never[]) => unknown ? never
  : {{ [K in keyof T]: Json<T[K]> }};

// @grafana/schema has no types for Prometheus; these are the fields of its data source
interface PrometheusQuery {{
  datasource: {{ type: "prometheus"; uid: string }};
  refId: string;
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
  exemplar: boolean;
  format?: "time_series" | "table" | "heatmap";
}}
interface Link {{ title: string; url: string; targetBlank: boolean }}
interface Mark extends Omit<schema.AnnotationQuery, "target"> {{
  target: schema.DataQuery & {{ expr: string }};
  expr: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
}}

type Common = Omit<schema.Panel, "options" | "fieldConfig" | "targets" | "type">;
type PanelOf<Kind, Options, Custom, Query> = Common & {{
  type: Kind;
  options: Options;
  targets: Query[];
  fieldConfig?: Omit<schema.FieldConfigSource, "defaults"> & {{
    defaults: Omit<schema.FieldConfig, "custom" | "links"> & {{ custom?: Custom; links?: Link[] }};
  }};
}};
type Stat = Json<PanelOf<"stat", Partial<stat.Options>, undefined, PrometheusQuery>>;
type TimeSeries = Json<PanelOf<"timeseries", timeseries.Options, timeseries.FieldConfig, PrometheusQuery>>;
type BarGauge = Json<PanelOf<"bargauge", Partial<bargauge.Options>, undefined, PrometheusQuery>>;
type TableQuery = PrometheusQuery | tempoQuery.TempoQuery;
type Table = Json<PanelOf<"table", table.Options, Partial<table.FieldConfig>, TableQuery>>;
type Heatmap = Json<PanelOf<"heatmap", Partial<heatmap.Options>, heatmap.FieldConfig, PrometheusQuery>>;
type Logs = Json<PanelOf<"logs", logs.Options, undefined, lokiQuery.LokiDataQuery>>;
type Row = Json<schema.RowPanel>;
type Dashboard = Json<Omit<schema.Dashboard, "annotations"> & {{ annotations: {{ list: Mark[] }} }}>;
"""

TYPES = {
    "stat": "Stat",
    "timeseries": "TimeSeries",
    "bargauge": "BarGauge",
    "table": "Table",
    "heatmap": "Heatmap",
    "logs": "Logs",
    "row": "Row",
}


def program(dashboard: dict[str, Any]) -> str:
    """Return a program that declares the dashboard, and each of its panels with the types of its plugin."""
    parts = [PRELUDE, f"export const dashboard: Dashboard = {json.dumps(dashboard, indent=1)};"]
    for panel in expressions.panels(dashboard):
        literal = json.dumps(panel, indent=1)
        parts.append(f"export const panel{panel['id']}: {TYPES[panel['type']]} = {literal};")
    return "\n".join(parts) + "\n"
