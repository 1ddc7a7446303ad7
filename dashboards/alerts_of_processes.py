"""The alerts about a process itself: whether it answers, and whether what it tells is all."""

from __future__ import annotations

from . import names, promql
from .counting import BY_PROCESS, CELERY, first_or_increase
from .names import INFO, SCHEDULED, STARTED, TASK
from .parts import TASK_UID
from .rules import Alert
from .wording import INSTANCE, JOB, NUMBER, OF_PROCESS, PERCENT, THERE, dashboard, said

_OBSERVER = said(names.OBSERVER)

ALERTS = (
    Alert(
        "AfterwordTooManyTaskNames",
        f"""
        sum by ({BY_PROCESS}) (
          {promql.series(SCHEDULED, promql.equals(TASK, names.OTHER))} > 0
          or
          {promql.series(STARTED, promql.equals(TASK, names.OTHER), CELERY)}
        ) > 0
        """,
        severity="info",
        summary=f"{INSTANCE} has more task names than it may have",
        description=f"""
        {NUMBER} run(s) in {INSTANCE} of {JOB} are counted as "{names.OTHER}", since the process has reached its
        bound on task names.
        """,
        dashboard=dashboard(TASK_UID, **THERE, task=names.OTHER),
        comment="A worker of Celery's has not scheduled what it begins.",
    ),
    Alert(
        "AfterwordMetricsMissing",
        f"""
        sum by ({BY_PROCESS}) (up == 1)
          unless on ({BY_PROCESS}) {INFO}
          and on (job) last_over_time({INFO}[1d])
        """,
        severity="warning",
        summary=f"{INSTANCE} does not account for its background tasks",
        description=f"""
        Prometheus scrapes {INSTANCE} of {JOB}, but finds no metrics of Afterword there; elsewhere or earlier in
        the same job it did.
        """,
        dashboard=OF_PROCESS,
        lasting="10m",
        comment="Only in jobs that have been seen with Afterword in the last day.",
    ),
    Alert(
        "AfterwordNoAnswer",
        f"""
        min by ({BY_PROCESS}) (
          avg_over_time(up[10m]) < 0.8 and up >= 0
          or
          avg_over_time(up[10m]) and up == 0
        )
        and on ({BY_PROCESS}) last_over_time({INFO}[1h])
        """,
        severity="critical",
        summary=f"{INSTANCE} does not answer, or not always",
        description=f"""
        {INSTANCE} of {JOB} answered {PERCENT} of the scrapes in the last 10 minutes. Of the rest of the time no
        other alert can know: its event loop was blocked, it was overloaded, or it was not there.
        """,
        dashboard=OF_PROCESS,
        lasting="2m",
        comment="""
        Of what has told of itself within the last hour. What is not to be scraped any more has no "up", so that
        scaling down does not fire it.
        """,
    ),
    Alert(
        "AfterwordObserverErrors",
        f"sum by ({BY_PROCESS}, {names.OBSERVER}) {first_or_increase(names.OBSERVER_ERRORS)} > 0",
        severity="warning",
        summary=f"The observer {_OBSERVER} raises errors",
        description=f"""
        {_OBSERVER} raised {NUMBER} errors in {INSTANCE} of {JOB} in the last 5 minutes; what it was told of is
        missing where it reports to.
        """,
        dashboard=OF_PROCESS,
    ),
)
