"""The alerts: each has an entry of the same name in RUNBOOK.md."""

from __future__ import annotations

from . import (
    alerts_of_celery,
    alerts_of_processes,
    alerts_of_waits,
    counting,
    names,
    promql,
    recording,
    recording_for_texts,
    rules,
)
from .counting import BY_TASK, BY_WHY, CELERY, HERE
from .names import ENDED, OUTCOME, OUTCOME_LOST, Outcome
from .rules import Alert
from .wording import (
    GRAFANA,
    INSTANCE,
    JOB,
    NUMBER,
    OF_TASK,
    OF_TASK_THERE,
    PERCENT,
    REASON,
    ROUTE,
    STATUS,
    THIS_TASK,
    in_the_last_hour,
    said,
)

COMMENT = f"""
Alerts of Afterword, on the series of recording.yml. Each links to a dashboard and to its entry in RUNBOOK.md:
replace {GRAFANA} with the address of your Grafana, and RUNBOOK.md with where you keep the runbook.

What is true only of tasks that run where they are scheduled asks for them by {names.ENGINE}; the last ones
are Celery's.
"""

_OUTCOME, _OBSERVER = said(OUTCOME), said(names.OBSERVER)
_CLIENT_ERROR = "4.."
_HELD_BACK_OR_WELL = f"{Outcome.SUCCEEDED}|{Outcome.SKIPPED}"
_OF_CULPRITS = promql.series(
    "ALERTS", promql.one_of("alertname", "AfterwordTaskFailureRatioHigh", "AfterwordTaskStoppedSucceeding")
)
_BEHIND = f"{{{{ with $labels.{names.STOPPED_BY} }}}} of {{{{ . }}}}{{{{ end }}}}"
_HOURLY = in_the_last_hour(recording.NEVER_RAN_1H, *BY_WHY.split(", "))
_ENDS_HOURLY = in_the_last_hour(recording_for_texts.ENDS_1H, *BY_TASK.split(", "), OUTCOME)
_FAILED_HOURLY = in_the_last_hour(recording_for_texts.ENDS_1H, *BY_TASK.split(", "), **{OUTCOME: Outcome.FAILED})

# --- the alerts -------------------------------------------------------------------------------------------------


def _ends(*matchers: str) -> str:
    return promql.series(counting.ENDS, *matchers)


def _never_ran(*matchers: str) -> str:
    return promql.series(recording.NEVER_RAN, *matchers)


def _in_the_last_hour(*matchers: str) -> str:
    ended = promql.series(ENDED, *matchers)
    return f"""\
sum by ({BY_TASK}) (
  {ended}
    unless {ended} offset 1h
  or
  increase({ended}[1h])
)"""


ALERTS = (
    Alert(
        "AfterwordTaskNeverRan",
        f"""
        {_never_ran(promql.no_match(names.STATUS, _CLIENT_ERROR))} > 0
        unless
        {_never_ran(promql.equals(OUTCOME, Outcome.ABANDONED), CELERY)}
        unless on (job, {names.STOPPED_BY})
        label_replace({_OF_CULPRITS}, "{names.STOPPED_BY}", "$1", "{names.TASK}", "(.+)")
        """,
        severity="warning",
        summary=f"{THIS_TASK} was {_OUTCOME}: {REASON}",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} were {_OUTCOME} in the last 5 minutes, {_HOURLY} in the last hour:
        they were scheduled, and their work was not done. The reason is {REASON}{_BEHIND}, the route "{ROUTE}".
        """,
        dashboard=OF_TASK,
        comment="""
        What a client's error dropped has an alert of its own, and so has what a worker of Celery's cannot call.
        What was skipped is not told while the task that failed before it has an alert.
        """,
    ),
    Alert(
        "AfterwordTaskDroppedByClientError",
        f"{_never_ran(promql.matches(names.STATUS, _CLIENT_ERROR))} > 0",
        severity="info",
        summary=f"{THIS_TASK} is dropped where a client gets a {STATUS}",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} were {_OUTCOME} in the last 5 minutes, {_HOURLY} in the last hour,
        since their requests to "{ROUTE}" were answered with {STATUS}.
        """,
        dashboard=OF_TASK,
        comment="Often it should be so: what was refused needs no confirmation. A burst is a broken client.",
    ),
    Alert(
        "AfterwordTaskLost",
        f"{_ends(promql.equals(OUTCOME, OUTCOME_LOST), HERE)} > 0",
        severity="warning",
        summary=f"{THIS_TASK} was lost with its process",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} were pending or running in a process that died in the last 5
        minutes, {_ENDS_HOURLY} in the last hour; whether their work is done, nobody knows.
        """,
        dashboard=OF_TASK,
    ),
    Alert(
        "AfterwordTaskFailureRatioHigh",
        f"""
        {recording.FAILED_RATIO} > 0.05
        and
        {recording.ENDS_OF_TASK} >= 20
        """,
        severity="warning",
        summary=f"{THIS_TASK} fails in {PERCENT} of its runs",
        description=f"""
        {PERCENT} of the runs of {THIS_TASK} in {JOB} that ended in the last 5 minutes had failed; in the last
        hour, {_FAILED_HOURLY} run(s) failed.
        """,
        dashboard=OF_TASK,
        lasting="5m",
        comment="""
        A ratio over the last five minutes only, of enough tasks, and for five more: one failure does not fire it,
        and it ends soon after the failures do.
        """,
    ),
    Alert(
        "AfterwordTaskStoppedSucceeding",
        "(\n"
        f"{_in_the_last_hour(promql.no_match(OUTCOME, _HELD_BACK_OR_WELL), HERE)}\n"
        "or\n"
        f"{_in_the_last_hour(promql.one_of(OUTCOME, *names.BEGUN_UNHAPPY), CELERY)}\n"
        ") >= 3\n"
        "unless\n"
        f"{_in_the_last_hour(promql.equals(OUTCOME, Outcome.SUCCEEDED))} > 0",
        severity="critical",
        summary=f"{THIS_TASK} does not succeed any more",
        description=f"{NUMBER} run(s) of {THIS_TASK} in {JOB} ended in the last hour, and none of them succeeded.",
        dashboard=OF_TASK,
        lasting="5m",
        comment="""
        Few runs suffice here, for tasks that are rare. A task that is only skipped is no culprit: the one in front
        of it is. Of Celery's tasks, those that a worker has begun: what never reached one is told by whoever
        published, in a job that sees no success.
        """,
    ),
    Alert(
        "AfterwordTaskCancelled",
        f"{_ends(promql.equals(OUTCOME, Outcome.CANCELLED))} > 0",
        severity="warning",
        summary=f"{THIS_TASK} was cut off while it ran",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} were {Outcome.CANCELLED} in the last 5 minutes, {_ENDS_HOURLY} in
        the last hour, mostly by a deploy; their work is half done.
        """,
        dashboard=OF_TASK,
    ),
    *alerts_of_waits.ALERTS,
    Alert(
        "AfterwordAccountOutOfBalance",
        f"""
        min_over_time({recording.DIFFERENCE}[5m]) > 0
        or
        max_over_time({recording.DIFFERENCE}[5m]) < 0
        """,
        severity="warning",
        summary=f"The account of {THIS_TASK} does not add up",
        description=f"""
        In {INSTANCE} of {JOB}, the scheduled runs of {THIS_TASK} differ by {NUMBER} from those that are pending,
        running, ended and lost. Numbers on the dashboards may be wrong.
        """,
        dashboard=OF_TASK_THERE,
        lasting="5m",
        comment="""
        Over OpenTelemetry or from several processes the numbers of one moment are not read at one moment: the
        difference may differ from 0 for a while, but then it changes its sign.
        """,
    ),
    *alerts_of_processes.ALERTS,
    *alerts_of_celery.ALERTS,
)


def build() -> str:
    """Return the text of the file."""
    return rules.file("alerts", COMMENT, ALERTS)
