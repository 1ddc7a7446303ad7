// A dashboard as Grafana lays it out: its title, its variables, and panels on a grid of 24 columns.

import { createRoot } from "react-dom/client";
import { lastValueFrom } from "rxjs";
import { createTheme, dateTime, type DataFrame, type GrafanaTheme2, ThemeContext, type TimeRange, transformDataFrame } from "@grafana/data";
import { GlobalStyles, PanelChrome, PanelContextProvider, useTheme2 } from "@grafana/ui";
import { EventBusSrv } from "@grafana/data";
import type { Dashboard, Panel, Wanted } from "./answers";
import { frames } from "./frames";
import { inside } from "./panels";
import { fill } from "./registries";

const [COLUMNS, ROW, GAP, HEADER] = [24, 30, 8, 56];

function place({ gridPos: { x, y, w, h } }: Panel, width: number) {
  const column = (width - 2 * GAP - (COLUMNS - 1) * GAP) / COLUMNS;
  return {
    left: GAP + x * (column + GAP),
    top: HEADER + y * (ROW + GAP),
    width: w * column + (w - 1) * GAP,
    height: h * ROW + (h - 1) * GAP,
  };
}

function Header({ dashboard, chosen }: { dashboard: Dashboard; chosen: Record<string, string> }) {
  const theme = useTheme2();
  const box = { border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, background: theme.components.input.background };
  return (
    <div style={{ position: "absolute", left: 16, top: 12, display: "flex", gap: 8, alignItems: "center", fontSize: 12 }}>
      <strong style={{ fontSize: 18, marginRight: 16, whiteSpace: "nowrap" }}>{dashboard.title}</strong>
      {dashboard.templating.list.map(({ name, label }) => (
        <span key={name} style={{ ...box, display: "flex" }}>
          <span style={{ padding: "5px 8px", borderRight: `1px solid ${theme.colors.border.medium}`, fontWeight: 500 }}>{label}</span>
          <span style={{ padding: "5px 8px", whiteSpace: "nowrap", maxWidth: 420, overflow: "hidden" }}>{chosen[name] ?? "All"}</span>
        </span>
      ))}
    </div>
  );
}

function Page({ wanted, data, range }: { wanted: Wanted; data: Map<number, DataFrame[]>; range: TimeRange }) {
  const { dashboard, answers, width, rows, chosen } = wanted;
  const panels = dashboard.panels.filter(({ gridPos }) => gridPos.y < rows);
  const height = HEADER + Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * (ROW + GAP);
  return (
    <div id="dashboard" style={{ position: "relative", width, height }}>
      <Header dashboard={dashboard} chosen={chosen} />
      {panels.map((panel) => {
        const { left, top, ...size } = place(panel, width);
        const given = answers.panels[panel.id] ?? { answers: {}, exemplars: [] };
        const padding = panel.type === "stat" || panel.type === "table" ? "none" : "md";
        return (
          <div key={panel.id} style={{ position: "absolute", left, top, ...size }}>
            {panel.type === "row" ? (
              <h6 style={{ padding: "6px 8px", fontSize: 16, fontWeight: 500 }}>⌄ {panel.title}</h6>
            ) : (
              <PanelChrome title={panel.title} description={panel.description} padding={padding} {...size}>
                {(width: number, height: number) => inside({ panel, given, answers, frames: data.get(panel.id) ?? [], range, width, height })}
              </PanelChrome>
            )}
          </div>
        );
      })}
    </div>
  );
}

async function transformed({ dashboard, answers }: Wanted): Promise<Map<number, DataFrame[]>> {
  const { from, to, interval } = answers;
  const found = new Map<number, DataFrame[]>();
  for (const panel of dashboard.panels) {
    const given = answers.panels[panel.id];
    if (!given) continue;
    const made = frames(panel.targets ?? [], given, interval, from, to);
    found.set(panel.id, await lastValueFrom(transformDataFrame(panel.transformations ?? [], made)));
  }
  return found;
}

function global(theme: GrafanaTheme2): string {
  return `html { font-size: 14px } body { margin: 0; background: ${theme.colors.background.canvas}; color: ${theme.colors.text.primary} }`;
}

async function draw(wanted: Wanted): Promise<void> {
  fill();
  const theme = createTheme({ colors: { mode: wanted.theme } });
  const [from, to] = [dateTime(wanted.answers.from), dateTime(wanted.answers.to)];
  const range: TimeRange = { from, to, raw: { from, to } };
  await Promise.all(["400 12px Inter", "500 12px Inter", "400 12px 'Roboto Mono'"].map((font) => document.fonts.load(font)));
  const data = await transformed(wanted);
  const context = { eventsScope: "pictures", eventBus: new EventBusSrv() };
  createRoot(document.getElementById("root") as HTMLElement).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <style>{global(theme)}</style>
      <PanelContextProvider value={context}>
        <Page wanted={wanted} data={data} range={range} />
      </PanelContextProvider>
    </ThemeContext.Provider>,
  );
}

Object.assign(window, { draw });
