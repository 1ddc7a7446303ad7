"""What both dashboards have around their panels: variables, annotations, links to each other."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from . import names, queries
from .colours import BLUE, ORANGE, PURPLE, RED
from .names import KEY_DETAIL, KEY_REASON, KEY_TASK, KEY_TRACE_ID, Outcome
from .parts import FLEET, LOKI, PROMETHEUS, legend

ALL = VariableOption(True, "All", "$__all")


class _Occasions(models.AnnotationQuery):
    """An annotation query as the data sources read it: the SDK's knows only Grafana's own annotations."""

    title_format: str
    text_format: str
    tag_keys: str

    def to_json(self) -> dict[str, object]:
        """Return what Grafana reads: the expression where older and where newer versions look for it."""
        return super().to_json() | {
            "target": {"refId": "Anno", "datasource": self.datasource, "expr": self.expr, "queryType": "range"},
            "titleFormat": self.title_format,
            "textFormat": self.text_format,
            "tagKeys": self.tag_keys,
        }


def occasions(
    name: str,
    expr: str,
    colour: str,
    *,
    title: str,
    text: str = "",
    tags: str = "",
    source: DataSourceRef = PROMETHEUS,
    enable: bool = True,
) -> AnnotationQuery:
    """Return an annotation: a mark on every graph at the times the expression has a result."""
    builder = AnnotationQuery()
    annotation = _Occasions(name, source, enable, icon_color=colour, expr=expr, built_in=0)
    annotation.title_format, annotation.text_format, annotation.tag_keys = title, text, tags
    builder._internal = annotation
    return builder


def marks() -> list[Any]:
    """Return the outcome annotations, and when processes started.

    Only the latter are on from the beginning: what happens all the time would tint all of every graph.
    """
    failed, cancelled = Outcome.FAILED, Outcome.CANCELLED
    task, either = legend(names.TASK), legend(names.TASK, names.OUTCOME)
    tags = f"{names.TASK},{names.OUTCOME}"
    return [
        occasions(names.UNDONE_TOGETHER, queries.undone_happened(), PURPLE, title=either, tags=tags, enable=False),
        occasions(
            failed, queries.happened(queries.FAILED), RED, title=f"{task} {failed}", tags=tags, enable=False
        ),
        occasions(
            cancelled,
            queries.happened(queries.CANCELLED),
            ORANGE,
            title=f"{task} {cancelled}",
            tags=tags,
            enable=False,
        ),
        occasions(
            "process started",
            queries.process_started(),
            BLUE,
            title=f"{legend(*names.PROCESS)} started",
            text="A deploy or a restart; what it cut off is cancelled or lost.",
            tags=",".join(names.PROCESS),
        ),
        occasions(
            "never ran or lost, from the log",
            queries.UNDONE_LINES,
            PURPLE,
            title=legend("event", KEY_TASK),
            text=legend(KEY_REASON, KEY_DETAIL),
            tags=",".join((KEY_TASK, KEY_REASON, KEY_TRACE_ID)),
            source=LOKI,
            enable=False,
        ),
    ]


def variables(*, every_task: bool) -> list[Any]:
    """Return the variables; with ``every_task``, all tasks are selected at first."""
    sources = [
        DatasourceVariable(kind).type(kind).label(kind.capitalize()).current(VariableOption(True, "", ""))
        for kind in ("prometheus", "loki", "tempo")
    ]
    job = _values("job", "Job", queries.JOBS, "Prometheus job; the service name of logs and traces is the same.")
    instance = _values("instance", "Instance", queries.INSTANCES, "One process, some, or the fleet.")
    engine = _values("engine", "Engine", queries.ENGINES, "Who runs the tasks: Starlette, Celery, or both.")
    task = _values(
        "task", "Task", queries.TASKS, "What was handed to add_task, or the name of a task of Celery's."
    )
    # Loki refuses a selector that matches the empty string; an instance, however, may be unknown in a pipeline,
    # and an older Afterword names no engine
    job.include_all(True).all_value(".+").current(ALL)
    instance.include_all(True).all_value(".*").current(ALL)
    engine.include_all(True).all_value(".*").current(ALL)
    if every_task:
        task.include_all(True).all_value(".+").current(ALL)
    every: list[Any] = [*sources, job, instance, engine, task]
    for variable in every:  # the SDK writes an interval's settings on every variable
        variable._internal.auto = variable._internal.auto_min = variable._internal.auto_count = None
    return every


def _values(name: str, label: str, expr: str, description: str) -> QueryVariable:
    query: dict[str, object] = {
        "qryType": 1,
        "query": expr,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    return (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
    )


def link(title: str, uid: str) -> DashboardLink:
    """Return a link to the other dashboard: the same fleet and time, but not the same tasks."""
    return (
        DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(f"/d/{uid}?{FLEET}")
        .icon("dashboard")
        .keep_time(True)
    )


def frame(uid: str, title: str, description: str, *, other: DashboardLink, every_task: bool) -> Dashboard:
    """Return a dashboard without panels."""
    return (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["afterword", "background tasks"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
        .variables(variables(every_task=every_task))
        .annotations(marks())
        .links([other])
    )
