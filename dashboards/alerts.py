"""The alerts: each has an entry of the same name in RUNBOOK.md."""

from __future__ import annotations

from . import alerts_of_celery, alerts_of_processes, names, promql, recording, rules
from .names import ENDED, OUTCOME, OUTCOME_LOST, STATE, Outcome
from .recording import BY_PROCESS, BY_TASK, CELERY, HERE
from .rules import Alert
from .wording import (
    GRAFANA,
    INSTANCE,
    JOB,
    NUMBER,
    OF_PROCESS,
    OF_TASK,
    OF_TASK_THERE,
    PERCENT,
    REASON,
    ROUTE,
    STATUS,
    THIS_TASK,
    TIME,
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
_OF_CULPRITS = promql.series(
    "ALERTS", promql.one_of("alertname", "AfterwordTaskFailureRatioHigh", "AfterwordTaskStoppedSucceeding")
)
_BEHIND = f"{{{{ with $labels.{names.STOPPED_BY} }}}} of {{{{ . }}}}{{{{ end }}}}"
_HOURLY = in_the_last_hour(recording.NEVER_RAN_1H, *recording.BY_WHY.split(", "))
_PENDING = promql.series(recording.PENDING_SUM, HERE)
_RUNNING_AGE = promql.equals(STATE, names.STATE_RUNNING)

# --- the alerts -------------------------------------------------------------------------------------------------


def _ends(*matchers: str) -> str:
    return promql.series(recording.ENDS, *matchers)


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


def _longer_lags(seconds: int) -> str:
    """Return how often the loops of a process were late by more than so many seconds."""
    bound = promql.one_of("le", str(seconds), f"{seconds}.0")  # OpenTelemetry leaves the zero out
    lags = promql.total(f"increase({names.LOOP_LAG}_count[10m])", *names.PROCESS)
    shorter = promql.total(f"increase({promql.series(names.LOOP_LAG + '_bucket', bound)}[10m])", *names.PROCESS)
    return f"({lags} - {shorter})"


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
        minutes; whether their work is done, nobody knows.
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
        description=f"{PERCENT} of the runs of {THIS_TASK} in {JOB} that ended in the last 5 minutes had failed.",
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
        f"{_in_the_last_hour(promql.differs(OUTCOME, Outcome.SUCCEEDED), HERE)}\n"
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
        Few runs suffice here, for tasks that are rare. Of Celery's tasks, those that a worker has begun: what
        never reached one is told by whoever published, in a job that sees no success.
        """,
    ),
    Alert(
        "AfterwordTaskCancelled",
        f"{_ends(promql.equals(OUTCOME, Outcome.CANCELLED))} > 0",
        severity="warning",
        summary=f"{THIS_TASK} was cut off while it ran",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} were {Outcome.CANCELLED} in the last 5 minutes, mostly by a deploy;
        their work is half done.
        """,
        dashboard=OF_TASK,
    ),
    Alert(
        "AfterwordTaskWaitHigh",
        f"{promql.series(recording.WAIT_P95, HERE)} > 10 # seconds",
        severity="warning",
        summary=f"{THIS_TASK} starts late",
        description=f"One run in twenty of {THIS_TASK} in {JOB} starts more than {TIME} after it was scheduled.",
        dashboard=OF_TASK,
        lasting="10m",
        comment="A queue is there to let tasks wait; whether it drains is an alert of its own.",
    ),
    Alert(
        "AfterwordTaskSlowerThanUsual",
        f"""
        (
          {recording.DURATION_P95} > 10 # seconds
          and
          {recording.DURATION_P95}
            > 5 * quantile_over_time(0.5, {recording.DURATION_P95}[1d] offset 15m)
        )
        and
        {recording.ENDS_OF_TASK} >= 5
        """,
        severity="warning",
        summary=f"{THIS_TASK} takes much longer than usual",
        description=f"""
        One run in twenty of {THIS_TASK} in {JOB} takes more than {TIME}, five times as long as it usually did in
        the last day. What waits behind it is late, too.
        """,
        dashboard=OF_TASK,
        lasting="5m",
        comment="Usual is the median of the day until a quarter of an hour ago. What never ends is stuck.",
    ),
    Alert(
        "AfterwordBacklogGrowing",
        f"""
        min_over_time({_PENDING}[5m]) > 20
        and
        deriv({_PENDING}[10m]) * 600 # seconds
          > 0.1 * {_PENDING}
        """,
        severity="warning",
        summary=f"The backlog of {THIS_TASK} grows",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} are scheduled and have not begun, and there are more and more of
        them.
        """,
        dashboard=OF_TASK,
        lasting="10m",
        comment="""
        Never below 20, and by its trend a tenth more every ten minutes. What a worker of Celery's holds is
        bounded, or waits for its countdown.
        """,
    ),
    Alert(
        "AfterwordWorkerThreadsExhausted",
        f"{promql.total(f'avg_over_time({names.THREADS_WAITING}[5m])', *names.PROCESS)} >= 1",
        severity="critical",
        summary=f"All worker threads of {INSTANCE} are taken",
        description=f"""
        On average {NUMBER} callers wait for a worker thread in {INSTANCE} of {JOB}: def tasks, def endpoints
        and def dependencies all stand in that queue.
        """,
        dashboard=OF_PROCESS,
        lasting="5m",
    ),
    Alert(
        "AfterwordEventLoopBlocked",
        f"""
        {_longer_lags(1)} > 2
        or
        {_longer_lags(10)} > 0
        """,
        severity="warning",
        summary=f"The event loop of {INSTANCE} is held up",
        description=f"""
        In the last 10 minutes the event loop of {INSTANCE} of {JOB} was held up {NUMBER} time(s), for more than a
        second three times or for more than ten once: no request and no async task of it went on meanwhile. Lines
        {names.EVENT_BLOCKED} say by which task, or where.
        """,
        dashboard=OF_PROCESS,
    ),
    Alert(
        "AfterwordTaskStuck",
        f"""
        max by ({BY_PROCESS}, {names.ENGINE}) ({promql.series(names.OLDEST, _RUNNING_AGE, HERE)})
          > 600 # seconds
        or
        max by ({BY_PROCESS}, {names.ENGINE}) ({promql.series(names.OLDEST, _RUNNING_AGE, CELERY)})
          > 3600 # seconds
        """,
        severity="warning",
        summary=f"A task in {INSTANCE} does not end",
        description=f"The oldest running task in {INSTANCE} of {JOB} has been running for {TIME}.",
        dashboard=OF_PROCESS,
        comment="""
        Long work is what a worker of Celery's is for; an hour is what Redis waits, unless told otherwise, until it
        gives a task that is acknowledged late to another worker.
        """,
    ),
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
