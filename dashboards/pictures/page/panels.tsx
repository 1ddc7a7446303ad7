// How each type of panel is drawn: by the component that Grafana itself draws it with, where there is one on npm.

import * as React from "react";
import {
  applyFieldOverrides,
  type DataFrame,
  type FieldConfigSource,
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type GrafanaTheme2,
  type TimeRange,
  VizOrientation,
} from "@grafana/data";
import { BarGauge, BigValue, Table, TimeSeries, useTheme2, VizRepeater } from "@grafana/ui";
import type { Answers, Panel, PanelAnswers } from "./answers";
import { Heatmap } from "./heatmap";
import { marks } from "./marks";
import { properties } from "./registries";

export interface Drawn {
  panel: Panel;
  given: PanelAnswers;
  answers: Answers;
  frames: DataFrame[];
  range: TimeRange;
  width: number;
  height: number;
}

const replace = (text: string) => text;
const TIME_ZONE = "utc";

/** What a time series has where its dashboard says nothing. */
const LINE = { drawStyle: "line", lineWidth: 1, pointSize: 5, axisPlacement: "auto", hideFrom: { viz: false, legend: false, tooltip: false } };

function withDefaults(panel: Panel, custom: object = {}): FieldConfigSource {
  const source = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const defaults = structuredClone({ ...source.defaults, custom: { ...custom, ...source.defaults.custom } });
  for (const step of defaults.thresholds?.steps ?? []) step.value ??= -Infinity;
  const overrides = structuredClone(source.overrides);
  for (const rule of overrides) {
    for (const one of rule.properties) {
      if (one.id === "thresholds") for (const step of one.value.steps) step.value ??= -Infinity;
    }
  }
  return { defaults, overrides };
}

function overridden({ panel, frames }: Drawn, theme: GrafanaTheme2, custom?: object): [DataFrame[], FieldConfigSource] {
  const fieldConfig = withDefaults(panel, custom);
  const data = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: properties({ ...panel, fieldConfig }),
    replaceVariables: replace,
    theme,
    timeZone: TIME_ZONE,
  });
  return [data, fieldConfig];
}

function Nothing({ text }: { text: string }) {
  const theme = useTheme2();
  const style = { display: "flex", height: "100%", alignItems: "center", justifyContent: "center", color: theme.colors.text.secondary };
  return <div style={style}>{text}</div>;
}

function Lines(drawn: Drawn) {
  const theme = useTheme2();
  const [frames] = overridden(drawn, theme, LINE);
  if (!frames.length) return <Nothing text={drawn.panel.fieldConfig?.defaults.noValue ?? "No data"} />;
  const { legend } = drawn.panel.options ?? {};
  return (
    <TimeSeries
      frames={frames}
      structureRev={1}
      timeRange={drawn.range}
      timeZone={TIME_ZONE}
      width={drawn.width}
      height={drawn.height}
      legend={legend}
      options={drawn.panel.options as never}
      renderers={[marks(drawn, theme)] as never}
    />
  );
}

function values(drawn: Drawn, theme: GrafanaTheme2): FieldDisplay[] {
  const [data, fieldConfig] = overridden(drawn, theme);
  const reduceOptions = drawn.panel.options?.["reduceOptions"];
  return getFieldDisplayValues({ fieldConfig, reduceOptions, replaceVariables: replace, theme, data, sparkline: true, timeZone: TIME_ZONE });
}

function Numbers(drawn: Drawn) {
  const theme = useTheme2();
  const options = drawn.panel.options ?? {};
  return (
    <VizRepeater
      getValues={() => values(drawn, theme)}
      getAlignmentFactors={(all) => getDisplayValueAlignmentFactors(all)}
      renderValue={({ value, width, height, alignmentFactors, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={options["graphMode"] === "none" ? undefined : value.sparkline}
          colorMode={options["colorMode"]}
          graphMode={options["graphMode"]}
          justifyMode={options["justifyMode"] ?? "auto"}
          textMode={options["textMode"] ?? "auto"}
          alignmentFactors={alignmentFactors}
          text={options["text"]}
          width={width}
          height={height}
          theme={theme}
        />
      )}
      width={drawn.width}
      height={drawn.height}
      source={drawn.frames}
      renderCounter={0}
      autoGrid
      itemSpacing={3}
      orientation={options["orientation"] ?? VizOrientation.Auto}
    />
  );
}

function Bars(drawn: Drawn) {
  const theme = useTheme2();
  const options = drawn.panel.options ?? {};
  const sized = options["sizing"] === "manual";
  return (
    <VizRepeater
      getValues={() => values(drawn, theme)}
      getAlignmentFactors={(all) => getDisplayValueAlignmentFactors(all)}
      renderValue={({ value, width, height, alignmentFactors, orientation }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
          width={width}
          height={height}
          orientation={orientation}
          text={options["text"]}
          theme={theme}
          itemSpacing={10}
          alignmentFactors={alignmentFactors}
          displayMode={options["displayMode"]}
          showUnfilled={options["showUnfilled"]}
          valueDisplayMode={options["valueMode"]}
          namePlacement={options["namePlacement"]}
        />
      )}
      width={drawn.width}
      height={drawn.height}
      minVizWidth={sized ? options["minVizWidth"] : 8}
      minVizHeight={sized ? options["minVizHeight"] : 16}
      maxVizHeight={sized ? options["maxVizHeight"] : 300}
      source={drawn.frames}
      renderCounter={0}
      itemSpacing={10}
      orientation={options["orientation"]}
    />
  );
}

function Rows(drawn: Drawn) {
  const theme = useTheme2();
  const [frames, fieldConfig] = overridden(drawn, theme);
  const [frame] = frames;
  if (!frame?.length) return <Nothing text={fieldConfig.defaults.noValue ?? "No data"} />;
  const { sortBy, cellHeight } = drawn.panel.options ?? {};
  return (
    <Table
      data={frame}
      width={drawn.width}
      height={drawn.height}
      initialSortBy={sortBy}
      cellHeight={cellHeight}
      fieldConfig={fieldConfig}
      replaceVariables={replace}
    />
  );
}

const NOT_HERE: Record<string, string> = { loki: "log lines, from Loki", tempo: "traces, from Tempo" };

export const PANELS: Record<string, (drawn: Drawn) => React.ReactNode> = {
  bargauge: (drawn) => <Bars {...drawn} />,
  heatmap: (drawn) => <Heatmap {...drawn} />,
  logs: () => <Nothing text="log lines, from Loki" />,
  stat: (drawn) => <Numbers {...drawn} />,
  table: (drawn) => <Rows {...drawn} />,
  timeseries: (drawn) => <Lines {...drawn} />,
};

/** What is inside of a panel's frame. */
export function inside(drawn: Drawn): React.ReactNode {
  const missing = NOT_HERE[drawn.panel.datasource?.type ?? ""];
  if (missing) return <Nothing text={missing} />;
  const draw = PANELS[drawn.panel.type];
  if (!draw) throw new Error(`no component for ${drawn.panel.type}`);
  return draw(drawn);
}
