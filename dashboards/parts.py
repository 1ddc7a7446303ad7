"""What panels are made of: queries, units, thresholds and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grafana_foundation_sdk.builders import loki as loki_builder
from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.builders import tempo as tempo_builder
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import (
    DashboardRangeMapOptions,
    DashboardRegexMapOptions,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    RangeMap,
    RegexMap,
    Threshold,
    ThresholdsMode,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from .names import FIRST_BOUND

PROMETHEUS = DataSourceRef("prometheus", "${prometheus}")
LOKI = DataSourceRef("loki", "${loki}")
TEMPO = DataSourceRef("tempo", "${tempo}")

OVERVIEW_UID = "afterword-overview"
TASK_UID = "afterword-task"

COUNT = "none"
"""A number with all of its digits: ``short`` makes 1 K of 1360."""
TASKS, PER_SECOND = "suffix:tasks/s", "suffix:/s"
"""What there is per second: said in full where there is room for it."""


class Query(Protocol):
    """One query of a panel, to be built with its letter."""

    def build(self, ref_id: str) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Metric:
    """A PromQL query over time."""

    expr: str
    legend: str = ""
    exemplars: bool = False

    def build(self, ref_id: str) -> prometheus_builder.Dataquery:
        """Return the builder of the query."""
        query = prometheus_builder.Dataquery().datasource(PROMETHEUS).expr(self.expr).range().ref_id(ref_id)
        return query.legend_format(self.legend or "__auto").exemplar(self.exemplars)


@dataclass(frozen=True)
class Now:
    """A PromQL query for one moment; as a table unless told otherwise."""

    expr: str
    legend: str = ""
    form: PromQueryFormat = PromQueryFormat.TABLE

    def build(self, ref_id: str) -> prometheus_builder.Dataquery:
        """Return the builder of the query."""
        query = prometheus_builder.Dataquery().datasource(PROMETHEUS).expr(self.expr).instant().ref_id(ref_id)
        return query.legend_format(self.legend or "__auto").format(self.form).exemplar(False)


@dataclass(frozen=True)
class Buckets:
    """A PromQL query for the buckets of a heatmap, with exemplars."""

    expr: str

    def build(self, ref_id: str) -> prometheus_builder.Dataquery:
        """Return the builder of the query."""
        query = prometheus_builder.Dataquery().datasource(PROMETHEUS).expr(self.expr).range().ref_id(ref_id)
        return query.legend_format("{{le}}").format(PromQueryFormat.HEATMAP).exemplar(True)


@dataclass(frozen=True)
class Lines:
    """A LogQL query for log lines."""

    expr: str

    def build(self, ref_id: str) -> loki_builder.Dataquery:
        """Return the builder of the query."""
        query = loki_builder.Dataquery().datasource(LOKI).expr(self.expr).query_type("range")
        return query.max_lines(200).ref_id(ref_id)


@dataclass(frozen=True)
class Spans:
    """A TraceQL query for spans."""

    query: str

    def build(self, ref_id: str) -> tempo_builder.TempoQuery:
        """Return the builder of the query."""
        query = tempo_builder.TempoQuery().datasource(TEMPO).query(self.query).query_type("traceql")
        return query.table_type(SearchTableType.SPANS).limit(50).spss(10).filters([]).ref_id(ref_id)


def legend(*labels: str) -> str:
    """Return the labels' values as a legend or a title."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def moment(expr: str, legend: str = "") -> Now:
    """Return a query for one moment as series, for stats and bars."""
    return Now(expr, legend, PromQueryFormat.TIME_SERIES)


# --- limits, and what numbers look like --------------------------------------------------------------------------


def steps(base: str, *limits: tuple[float, str]) -> ThresholdsConfig:
    """Return thresholds: a base colour, then a colour from each limit on."""
    thresholds = [Threshold(None, base), *(Threshold(value, colour) for value, colour in limits)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds)


def steps_value(base: str, *limits: tuple[float, str]) -> dict[str, Any]:
    """Return the same as a value for an override."""
    all_steps = [{"color": base, "value": None}, *({"color": c, "value": v} for v, c in limits)]
    return {"mode": "absolute", "steps": all_steps}


def by_threshold() -> FieldColor:
    """Colour a value by the threshold that it reached."""
    return FieldColor().mode(FieldColorModeId.THRESHOLDS)


def in_first_bucket() -> RangeMap:
    """Say of a quantile in the first bucket only what is known of it: nobody measured more."""
    result = ValueMappingResult(f"≤ {1000 * FIRST_BOUND:g} ms")
    return RangeMap(DashboardRangeMapOptions(0, FIRST_BOUND, result))


def _end(room: int) -> str:
    """Return a pattern for the last parts of a name that is longer than so many characters."""
    return f"^(?=.{{{room + 2},}}).*?[.](.{{1,{room}}})$"


def end_of_name(room: int) -> RegexMap:
    """Show the end of a long name in a table: in front, the names of an application are all alike."""
    return RegexMap(DashboardRegexMapOptions(f"/{_end(room)}/", ValueMappingResult("…$1")))


def ends_of_names(room: int) -> DataTransformerConfig:
    """Show the ends of long names in a legend, or over bars."""
    return DataTransformerConfig("renameByRegex", options={"regex": _end(room), "renamePattern": "…$1"})


def dashed() -> list[DynamicConfigValue]:
    """Draw a series as a thin dashed line: a limit, not a measurement."""
    return [
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
        DynamicConfigValue("custom.fillOpacity", 0),
        DynamicConfigValue("custom.lineWidth", 1),
    ]


# --- links ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A link on a value."""

    title: str
    url: str

    def build(self) -> Any:
        """Return itself: the schema of a link on a value is smaller than the one of a dashboard's link."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return what Grafana reads."""
        return {"title": self.title, "url": self.url, "targetBlank": False}


FLEET = "&".join(
    f"${{{name}:queryparam}}" for name in ("prometheus", "loki", "tempo", "job", "instance", "engine")
)


def to_task(task: str, title: str = "This task", panel: int | None = None) -> Link:
    """Return a link to a task's dashboard; ``task`` is what Grafana replaces by the task's name.

    Its title, which is seen on hover, has the whole name.
    """
    view = f"&viewPanel={panel}" if panel is not None else ""
    variable = f"var-task=${{{task}:percentencode}}"
    return Link(f"{title}: ${{{task}}}", f"/d/{TASK_UID}?{FLEET}&{variable}&${{__url_time_range}}{view}")


def to_panel(uid: str, title: str, panel: int) -> Link:
    """Return a link to one panel of a dashboard, with everything that is selected now."""
    return Link(title, f"/d/{uid}?{FLEET}&${{task:queryparam}}&${{__url_time_range}}&viewPanel={panel}")


def links_value(*links: Link) -> DynamicConfigValue:
    """Return links as a value for an override."""
    return DynamicConfigValue("links", [link.to_json() for link in links])


def letters(queries: Sequence[Query]) -> list[Any]:
    """Build queries, lettered from A on."""
    return [query.build(chr(ord("A") + number)) for number, query in enumerate(queries)]
