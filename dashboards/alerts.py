"""The alerts: each has an entry of the same name in RUNBOOK.md."""

from __future__ import annotations

from . import names, promql, recording, rules
from .names import ENDED, INFO, OUTCOME, OUTCOME_LOST, SCHEDULED, STATE, TASK, Outcome
from .parts import OVERVIEW_UID, TASK_UID
from .recording import BY_PROCESS, BY_TASK
from .rules import Alert

_GRAFANA = "http://localhost:3000"

COMMENT = f"""
Alerts of Afterword, on the series of recording.yml. Each links to a dashboard and to its entry in RUNBOOK.md:
replace {_GRAFANA} with the address of your Grafana, and RUNBOOK.md with where you keep the runbook.
"""

# --- what an alert says of what fired it ------------------------------------------------------------------------


def _said(label: str, pipe: str = "") -> str:
    return f"{{{{ $labels.{label}{pipe} }}}}"


_JOB, _INSTANCE, _TASK = _said("job"), _said("instance"), _said(TASK)
_OUTCOME, _OBSERVER = _said(OUTCOME), _said(names.OBSERVER)
_NUMBER = '{{ $value | printf "%.0f" }}'
_PERCENT = "{{ $value | humanizePercentage }}"
_TIME = "{{ $value | humanizeDuration }}"


def _dashboard(uid: str, **variables: str) -> str:
    chosen = "&".join(f"var-{name}={value}" for name, value in variables.items())
    return f"{_GRAFANA}/d/{uid}?{chosen}"


_FLEET = {name: _said(name, " | urlquery") for name in names.PROCESS}
_OF_TASK = _dashboard(TASK_UID, job=_FLEET["job"], task=_said(TASK, " | urlquery"))
_OF_TASK_THERE = _dashboard(TASK_UID, **_FLEET, task=_said(TASK, " | urlquery"))
_OF_PROCESS = _dashboard(OVERVIEW_UID, **_FLEET)

# --- the alerts -------------------------------------------------------------------------------------------------


def _in_the_last_hour(matcher: str) -> str:
    ended = promql.series(ENDED, matcher)
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
        f"{promql.series(recording.ENDS, promql.one_of(OUTCOME, *names.NEVER_RAN))} > 0",
        severity="warning",
        summary=f"{_TASK} was {_OUTCOME}",
        description=f"""
        {_NUMBER} run(s) of {_TASK} in {_JOB} were {_OUTCOME} in the last 5 minutes: they were scheduled, and their
        work was not done.
        """,
        dashboard=_OF_TASK,
    ),
    Alert(
        "AfterwordTaskLost",
        f"{promql.series(recording.ENDS, promql.equals(OUTCOME, OUTCOME_LOST))} > 0",
        severity="warning",
        summary=f"{_TASK} was lost with its process",
        description=f"""
        {_NUMBER} run(s) of {_TASK} in {_JOB} were pending or running in a process that died in the last 5 minutes;
        whether their work is done, nobody knows.
        """,
        dashboard=_OF_TASK,
    ),
    Alert(
        "AfterwordTaskFailureRatioHigh",
        f"""
        {recording.FAILED_RATIO} > 0.05
        and
        {recording.ENDS_OF_TASK} >= 20
        """,
        severity="warning",
        summary=f"{_TASK} fails in {_PERCENT} of its runs",
        description=f"{_PERCENT} of the runs of {_TASK} in {_JOB} that ended in the last 5 minutes had failed.",
        dashboard=_OF_TASK,
        lasting="5m",
        comment="""
        A ratio over the last five minutes only, of enough tasks, and for five more: one failure does not fire it,
        and it ends soon after the failures do.
        """,
    ),
    Alert(
        "AfterwordTaskStoppedSucceeding",
        f"{_in_the_last_hour(promql.differs(OUTCOME, Outcome.SUCCEEDED))} >= 3\n"
        "unless\n"
        f"{_in_the_last_hour(promql.equals(OUTCOME, Outcome.SUCCEEDED))} > 0",
        severity="critical",
        summary=f"{_TASK} does not succeed any more",
        description=f"{_NUMBER} run(s) of {_TASK} in {_JOB} ended in the last hour, and none of them succeeded.",
        dashboard=_OF_TASK,
        lasting="5m",
        comment="Few runs suffice here, for tasks that are rare.",
    ),
    Alert(
        "AfterwordTaskCancelled",
        f"{promql.series(recording.ENDS, promql.equals(OUTCOME, Outcome.CANCELLED))} > 0",
        severity="warning",
        summary=f"{_TASK} was cut off while it ran",
        description=f"""
        {_NUMBER} run(s) of {_TASK} in {_JOB} were {Outcome.CANCELLED} in the last 5 minutes, mostly by a deploy;
        their work is half done.
        """,
        dashboard=_OF_TASK,
    ),
    Alert(
        "AfterwordTaskWaitHigh",
        f"{recording.WAIT_P95} > 10 # seconds",
        severity="warning",
        summary=f"{_TASK} starts late",
        description=f"One run in twenty of {_TASK} in {_JOB} starts more than {_TIME} after it was scheduled.",
        dashboard=_OF_TASK,
        lasting="10m",
    ),
    Alert(
        "AfterwordBacklogGrowing",
        f"""
        min_over_time({recording.PENDING_SUM}[5m]) > 20
        and
        deriv({recording.PENDING_SUM}[10m]) * 600 # seconds
          > 0.1 * {recording.PENDING_SUM}
        """,
        severity="warning",
        summary=f"The backlog of {_TASK} grows",
        description=f"""
        {_NUMBER} run(s) of {_TASK} in {_JOB} are scheduled and have not begun, and there are more and more of
        them.
        """,
        dashboard=_OF_TASK,
        lasting="10m",
        comment="Never below 20, and by its trend a tenth more every ten minutes.",
    ),
    Alert(
        "AfterwordWorkerThreadsExhausted",
        f"{promql.total(f'avg_over_time({names.THREADS_WAITING}[5m])', *names.PROCESS)} >= 1",
        severity="critical",
        summary=f"All worker threads of {_INSTANCE} are taken",
        description=f"""
        On average {_NUMBER} callers wait for a worker thread in {_INSTANCE} of {_JOB}: def tasks, def endpoints
        and def dependencies all stand in that queue.
        """,
        dashboard=_OF_PROCESS,
        lasting="5m",
    ),
    Alert(
        "AfterwordTaskStuck",
        f"""
        max by ({BY_PROCESS}) ({promql.series(names.OLDEST, promql.equals(STATE, names.STATE_RUNNING))})
          > 600 # seconds
        """,
        severity="warning",
        summary=f"A task in {_INSTANCE} does not end",
        description=f"The oldest running task in {_INSTANCE} of {_JOB} has been running for {_TIME}.",
        dashboard=_OF_PROCESS,
    ),
    Alert(
        "AfterwordAccountOutOfBalance",
        f"""
        min_over_time({recording.DIFFERENCE}[5m]) > 0
        or
        max_over_time({recording.DIFFERENCE}[5m]) < 0
        """,
        severity="warning",
        summary=f"The account of {_TASK} does not add up",
        description=f"""
        In {_INSTANCE} of {_JOB}, the scheduled runs of {_TASK} differ by {_NUMBER} from those that are pending,
        running, ended and lost. Numbers on the dashboards may be wrong.
        """,
        dashboard=_OF_TASK_THERE,
        lasting="5m",
        comment="""
        Over OpenTelemetry or from several processes the numbers of one moment are not read at one moment: the
        difference may differ from 0 for a while, but then it changes its sign.
        """,
    ),
    Alert(
        "AfterwordTooManyTaskNames",
        f"{promql.total(promql.series(SCHEDULED, promql.equals(TASK, names.OTHER)), *names.PROCESS)} > 0",
        severity="info",
        summary=f"{_INSTANCE} has more task names than it may have",
        description=f"""
        {_NUMBER} run(s) in {_INSTANCE} of {_JOB} are counted as "{names.OTHER}", since the process has reached its
        bound on task names.
        """,
        dashboard=_dashboard(TASK_UID, **_FLEET, task=names.OTHER),
    ),
    Alert(
        "AfterwordMetricsMissing",
        f"""
        sum by ({BY_PROCESS}) (up == 1)
          unless on ({BY_PROCESS}) {INFO}
          and on (job) last_over_time({INFO}[1d])
        """,
        severity="warning",
        summary=f"{_INSTANCE} does not account for its background tasks",
        description=f"""
        Prometheus scrapes {_INSTANCE} of {_JOB}, but finds no metrics of Afterword there; elsewhere or earlier in
        the same job it did.
        """,
        dashboard=_OF_PROCESS,
        lasting="10m",
        comment="Only in jobs that have been seen with Afterword in the last day.",
    ),
    Alert(
        "AfterwordObserverErrors",
        f"sum by ({BY_PROCESS}, {names.OBSERVER}) {recording.first_or_increase(names.OBSERVER_ERRORS)} > 0",
        severity="warning",
        summary=f"The observer {_OBSERVER} raises errors",
        description=f"""
        {_OBSERVER} raised {_NUMBER} errors in {_INSTANCE} of {_JOB} in the last 5 minutes; what it was told of is
        missing where it reports to.
        """,
        dashboard=_OF_PROCESS,
    ),
)


def build() -> str:
    """Return the text of the file."""
    return rules.file("alerts", COMMENT, ALERTS)
