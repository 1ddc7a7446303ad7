"""The alerts about what waits, what is slow and what hangs; each says what is in front, not only what suffers."""

from __future__ import annotations

from . import names, promql, recording, recording_for_texts
from .counting import BY_PROCESS, CELERY, HERE
from .names import TASK
from .rules import Alert
from .wording import (
    INSTANCE,
    JOB,
    NUMBER,
    OF_PROCESS,
    OF_TASK,
    OF_TASK_THERE,
    THIS_TASK,
    TIME,
    what_runs_most,
)

_PENDING = promql.series(recording.PENDING_SUM, HERE)
_IN_FRONT = what_runs_most(f"avg_over_time({recording.RUNNING_SUM}{{job=%q, {HERE}}}[5m])", "job")
_IN_THREADS = what_runs_most(
    f"sum by ({TASK}) (avg_over_time({names.RUNNING}{{job=%q, instance=%q}}[5m]))", *names.PROCESS
)
_HOLDER = f"{{{{ with $labels.{TASK} }}}}, mostly by {{{{ . }}}}{{{{ end }}}}"


def _age(engine: str) -> str:
    age = promql.series(names.RUNNING_AGE, engine)
    return f"max by ({BY_PROCESS}, {names.ENGINE}, {TASK}) ({age})"


ALERTS = (
    Alert(
        "AfterwordTaskWaitHigh",
        f"{promql.series(recording.WAIT_P95, HERE)} > 10 # seconds",
        severity="warning",
        summary=f"{THIS_TASK} starts late",
        description=f"""
        One run in twenty of {THIS_TASK} in {JOB} starts more than {TIME} after it was scheduled.{_IN_FRONT}
        """,
        dashboard=OF_TASK,
        lasting="10m",
        comment="""
        A queue is there to let tasks wait; whether it drains is an alert of its own. What runs most is in the
        text and no label: it may change, and "for" would begin anew.
        """,
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
        them.{_IN_FRONT}
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
        and def dependencies all stand in that queue.{_IN_THREADS}
        """,
        dashboard=OF_PROCESS,
        lasting="5m",
    ),
    Alert(
        "AfterwordEventLoopBlocked",
        f"""\
{recording_for_texts.LOOP_HELD_UP}
  * on ({BY_PROCESS}) group_right ()
  group by ({BY_PROCESS}, {TASK}) (
    topk by ({BY_PROCESS}) (1, {recording_for_texts.LOOP_BLOCKED_BY})
  )
or on ({BY_PROCESS})
{recording_for_texts.LOOP_HELD_UP}
""",
        severity="warning",
        summary=f"The event loop of {INSTANCE} is held up{_HOLDER}",
        description=f"""
        In the last 10 minutes the event loop of {INSTANCE} of {JOB} was held up {NUMBER} time(s){_HOLDER}, for
        more than a second three times or for more than ten once: no request and no async task of it went on
        meanwhile. Lines {names.EVENT_BLOCKED} say where.
        """,
        dashboard=OF_PROCESS,
        comment="With the task that held it up for longest, if a task did.",
    ),
    Alert(
        "AfterwordTaskStuck",
        f"""
        {_age(HERE)}
          > 600 # seconds
        or
        {_age(CELERY)}
          > 3600 # seconds
        """,
        severity="warning",
        summary=f"{THIS_TASK} does not end",
        description=f"The oldest run of {THIS_TASK} in {INSTANCE} of {JOB} has been running for {TIME}.",
        dashboard=OF_TASK_THERE,
        comment="""
        Long work is what a worker of Celery's is for; an hour is what Redis waits, unless told otherwise, until it
        gives a task that is acknowledged late to another worker.
        """,
    ),
)
