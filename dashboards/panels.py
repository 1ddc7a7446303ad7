"""The kinds of panels; each takes a title, what to do when it is red, and its queries."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, heatmap, logs, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeSizing,
    BarGaugeValueMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphGradientMode,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    LogsDedupStrategy,
    LogsSortOrder,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from .colours import BLUE, only
from .names import FIRST_BOUND
from .parts import (
    COUNT,
    LOKI,
    PER_SECOND,
    PROMETHEUS,
    TEMPO,
    Link,
    Query,
    by_threshold,
    end_of_name,
    ends_of_names,
    in_first_bucket,
    letters,
    steps,
)


def _finish(panel: Any, title: str, description: str, queries: tuple[Query, ...], source: Any = PROMETHEUS) -> Any:
    return panel.title(title).description(description).datasource(source).targets(letters(queries))


def _as_built(links: tuple[Link, ...]) -> list[Any]:
    # the SDK types a link on a value as a link of a dashboard, which has more fields than Grafana reads here
    return list(links)


def number(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    thresholds: ThresholdsConfig | None = None,
    loud: bool = False,
    links: tuple[Link, ...] = (),
    none: str = "–",
) -> Any:
    """Return one big number; ``loud`` colours all of its background.

    Without its history, which would run across it in the same colour: that has panels of its own.
    """
    panel = (
        stat.Panel()
        .unit(unit)
        .min(0)
        .no_value(none)
        .thresholds(thresholds or steps("text"))
        .color_scheme(by_threshold())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(BigValueColorMode.BACKGROUND_SOLID if loud else BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.AUTO if len(queries) == 1 else BigValueTextMode.VALUE_AND_NAME)
        .data_links(_as_built(links))
    )
    return _finish(_whole(panel, unit), title, description, queries)


_LEAST_TOP = {COUNT: 1, PER_SECOND: 0.01}
"""How far an axis goes at least: of nothing but zeros, Grafana's goes to 100."""


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    stacked: bool = False,
    links: tuple[Link, ...] = (),
    least: float | None = 0,
    top: float | None = None,
    beside: bool = False,
    colour: str | None = None,
    none: str = "none in this time range",
) -> Any:
    """Return lines over time; with a legend ``beside`` them, there is room for ten names.

    What is ``stacked`` are areas without lines: the line of one that is nothing would cover the one below.
    """
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.RIGHT if beside else LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
        .sort_by("Max")
        .sort_desc(True)
    )
    panel = (
        timeseries.Panel()
        .unit(unit)
        .no_value(none)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .line_width(0 if stacked else 1)
        .line_interpolation(LineInterpolation.LINEAR)
        .fill_opacity(80 if stacked else 0 if beside else 10)
        .gradient_mode(GraphGradientMode.NONE if stacked else GraphGradientMode.OPACITY)
        .show_points(VisibilityMode.NEVER if stacked else VisibilityMode.AUTO)
        .span_nulls(False)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE).group("A"))
        .color_scheme(only(colour) if colour else FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .data_links(_as_built(links))
        .with_transformation(ends_of_names(44 if beside else 34))
    )
    if unit in _LEAST_TOP:
        panel = panel.axis_soft_max(_LEAST_TOP[unit])
    if least is not None:
        panel = panel.min(least)
    if top is not None:
        panel = panel.max(top)
    return _finish(_whole(panel, unit), title, description, queries)


def quantiles(panel: Any) -> Any:
    """Give times from a histogram a logarithmic axis, which begins with the first bucket."""
    logarithmic = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
    return panel.mappings([in_first_bucket()]).scale_distribution(logarithmic).min(FIRST_BOUND)


def _whole(panel: Any, unit: str) -> Any:
    """Show all digits of a count, and no fractions."""
    return panel.decimals(0) if unit == COUNT else panel


def bars(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    links: tuple[Link, ...] = (),
    thresholds: ThresholdsConfig | None = None,
    none: str = "none",
) -> Any:
    """Return the largest values as horizontal bars."""
    panel = (
        bargauge.Panel()
        .unit(unit)
        .min(0)
        .no_value(none)
        .thresholds(thresholds or steps(BLUE))
        .color_scheme(by_threshold())
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .value_mode(BarGaugeValueMode.TEXT)
        .name_placement(BarGaugeNamePlacement.TOP)
        .show_unfilled(False)
        .sizing(BarGaugeSizing.MANUAL)
        .min_viz_height(30)
        .max_viz_height(44)
        .with_transformation(ends_of_names(30))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .data_links(_as_built(links))
    )
    return _finish(_whole(panel, unit), title, description, queries)


def named(*more: DynamicConfigValue, room: int = 26) -> list[DynamicConfigValue]:
    """Return how a column of names is shown: their ends, and each as a whole on request."""
    return [
        DynamicConfigValue("mappings", [end_of_name(room)]),
        DynamicConfigValue("custom.filterable", True),
        DynamicConfigValue("custom.inspect", True),
        *more,
    ]


def wide(pixels: int, *more: DynamicConfigValue) -> list[DynamicConfigValue]:
    """Return how a column of numbers is shown that is as wide as its heading; the names have the rest."""
    return [DynamicConfigValue("custom.width", pixels), DynamicConfigValue("noValue", "–"), *more]


Column = tuple[str, str, list[DynamicConfigValue]]
"""A column: the name of the field in the result, its heading, and how it is shown."""


def rows(title: str, description: str, *queries: Query, columns: list[Column], order: str, none: str) -> Any:
    """Return a table, merged of all queries by the labels they share, the largest of ``order`` first."""
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {field: index for index, (field, _, _) in enumerate(columns)},
        "renameByName": {field: heading for field, heading, _ in columns},
    }
    panel = (
        table.Panel()
        .show_header(True)
        .no_value(none)
        .decimals(0)
        .thresholds(steps("text"))
        .sort_by([common.TableSortByFieldState().display_name(order).desc(True)])
        .with_transformation(DataTransformerConfig("merge", options={}))
        .with_transformation(DataTransformerConfig("organize", options=organize))
    )
    for _, heading, properties in columns:
        if properties:
            panel = panel.override_by_name(heading, properties)
    return _finish(panel, title, description, queries)


def buckets(title: str, description: str, query: Query) -> Any:
    """Return a heatmap of a histogram's buckets, with exemplars on it."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5)
        )
        .cell_gap(1)
        .cell_values(heatmap.CellValues().unit(COUNT).decimals(0))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.AUTO))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .show_value(VisibilityMode.NEVER)
        .mode(TooltipDisplayMode.SINGLE)
        .show_y_histogram()
        .show_color_scale(True)
        .show_legend()
        .exemplars_color("rgba(50,116,217,0.9)")
    )
    return _finish(panel, title, description, (query,))


def log_lines(title: str, description: str, *queries: Query, wrap: bool = True) -> Any:
    """Return log lines, the newest first; the details of each line have the link to its trace."""
    panel = (
        logs.Panel()
        .show_time(True)
        .show_labels(False)
        .show_common_labels(False)
        .wrap_log_message(wrap)
        .prettify_log_message(False)
        .enable_log_details(True)
        .show_log_context_toggle(False)
        .sort_order(LogsSortOrder.DESCENDING)
        .dedup_strategy(LogsDedupStrategy.NONE)
    )
    return _finish(panel, title, description, queries, LOKI)


def spans(title: str, description: str, *queries: Query) -> Any:
    """Return spans, each with a link to its trace."""
    panel = table.Panel().show_header(True).filterable(True).no_value("none")
    return _finish(panel, title, description, queries, TEMPO)
