// Fills the registries that are empty outside of Grafana: a property that is in none of them is dropped silently.

import {
  type FieldConfigPropertyItem,
  FieldConfigOptionsRegistry,
  identityOverrideProcessor,
  locationUtil,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
} from "@grafana/data";
import type { Panel } from "./answers";

const STANDARD = ["unit", "min", "max", "decimals", "displayName", "color", "noValue", "links", "mappings", "thresholds", "filterable"];

function property(id: string, isCustom: boolean): FieldConfigPropertyItem {
  const path = isCustom ? id.slice("custom.".length) : id;
  return {
    id,
    path,
    name: id,
    isCustom,
    editor: () => null,
    override: () => null,
    process: identityOverrideProcessor,
    shouldApply: () => true,
  } as unknown as FieldConfigPropertyItem;
}

/** A registry with the standard properties, and those of its own that a panel has. */
export function properties(panel: Panel): FieldConfigOptionsRegistry {
  const own = new Set(Object.keys(panel.fieldConfig?.defaults.custom ?? {}).map((name) => `custom.${name}`));
  for (const rule of panel.fieldConfig?.overrides ?? []) {
    for (const one of rule.properties) if (one.id.startsWith("custom.")) own.add(one.id);
  }
  const items = [...STANDARD.map((id) => property(id, false)), ...[...own].map((id) => property(id, true))];
  return new FieldConfigOptionsRegistry(() => items);
}

export function fill(): void {
  standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((id) => property(id, false)));
  const known = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
  standardTransformersRegistry.setInit(() =>
    [...known.values()].map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      aliasIds: [],
      transformation,
      editor: () => null,
    })),
  );
  locationUtil.initialize({
    config: { appSubUrl: "" } as never,
    getVariablesUrlParams: () => ({}),
    getTimeRangeForUrl: () => ({ from: "now-1h", to: "now" }),
  });
}
