"""The alerts about Celery: its queues, its workers, and what its brokers do twice."""

from __future__ import annotations

from . import counting, promql, recording_for_texts
from .counting import BY_TASK, CELERY, first_or_increase
from .names import OUTCOME, OUTCOME_LOST, REASON, RETURNED, Outcome, Reason
from .recording import QUEUE_MESSAGES_MAX, QUEUE_OLDEST_MAX
from .recording_for_texts import lost_workers
from .rules import Alert
from .wording import BROKER, JOB, NUMBER, OF_JOB, OF_TASK, QUEUE, THIS_TASK, in_the_last_hour


def _ends(outcome: str) -> str:
    return promql.series(counting.ENDS, promql.equals(OUTCOME, outcome), CELERY)


def _returned(reason: Reason) -> str:
    return first_or_increase(promql.series(RETURNED, promql.equals(REASON, reason)))


_OF_TASK = BY_TASK.split(", ")
_ENDS_HOURLY = in_the_last_hour(recording_for_texts.ENDS_1H, *_OF_TASK, OUTCOME)
_TWICE_HOURLY = in_the_last_hour(recording_for_texts.RETURNED_1H, *_OF_TASK, **{REASON: Reason.TAKEN_AWAY})
_LOST_WORKER_HOURLY = in_the_last_hour(recording_for_texts.WORKER_LOST_1H, *_OF_TASK)
_MESSAGES, _OLDEST = QUEUE_MESSAGES_MAX, QUEUE_OLDEST_MAX
_NEVER_SHORTER = f"""\
resets({_MESSAGES}[10m]) == 0
unless
deriv({_OLDEST}[10m]) < 0.9"""

ALERTS = (
    Alert(
        "AfterwordQueueNotConsumed",
        f"""\
{_MESSAGES}
and
min_over_time({_MESSAGES}[10m]) > 0
and
{_MESSAGES} offset 10m
and
{_NEVER_SHORTER}
""",
        severity="critical",
        summary=f"Nothing leaves the queue {QUEUE}",
        description=f"""
        {NUMBER} message(s) wait in the queue {QUEUE} ({BROKER}), to which {JOB} publishes, and for ten minutes it
        has never become shorter: no worker consumes it, or all who do are busy.
        """,
        dashboard=OF_JOB,
        comment="""
        resets() counts how often a number has become less. Where the broker tells the age of the message that is
        next (Redis), that age must have grown with the clock, too: a queue may be consumed and never get shorter.
        """,
    ),
    Alert(
        "AfterwordQueueGrowing",
        f"""\
(
  min_over_time({_MESSAGES}[5m]) > 20
  and
  deriv({_MESSAGES}[10m]) * 600 # seconds
    > 0.1 * {_MESSAGES}
)
unless
(
{_NEVER_SHORTER}
)
""",
        severity="warning",
        summary=f"The queue {QUEUE} grows",
        description=f"""
        {NUMBER} messages wait in the queue {QUEUE} ({BROKER}), to which {JOB} publishes, and there are more and
        more of them: its workers do not keep up.
        """,
        dashboard=OF_JOB,
        lasting="10m",
        comment="Never below 20, and by its trend a tenth more every ten minutes; but something leaves it.",
    ),
    Alert(
        "AfterwordTaskRanTwice",
        f"sum by ({BY_TASK}) {_returned(Reason.TAKEN_AWAY)} > 0",
        severity="warning",
        summary=f"{THIS_TASK} ran more than once",
        description=f"""
        {NUMBER} attempt(s) of {THIS_TASK} in {JOB} ended in the last 5 minutes, {_TWICE_HOURLY} in the last
        hour, when their message had been given to another worker: the same task ran again, or runs again now.
        """,
        dashboard=OF_TASK,
    ),
    Alert(
        "AfterwordTaskUnregistered",
        f"{_ends(Outcome.ABANDONED)} > 0",
        severity="critical",
        summary=f"No worker of {JOB} can call {THIS_TASK}",
        description=f"""
        {NUMBER} message(s) for {THIS_TASK} came to a worker of {JOB} in the last 5 minutes, {_ENDS_HOURLY} in the
        last hour, that has no such task, or cannot read them. They are gone: Celery throws them away.
        """,
        dashboard=OF_TASK,
    ),
    Alert(
        "AfterwordWorkerLost",
        f"{lost_workers('5m')} > 0",
        severity="warning",
        summary=f"A process died while it ran {THIS_TASK}",
        description=f"""
        {NUMBER} attempt(s) of {THIS_TASK} in {JOB} ended in the last 5 minutes, {_LOST_WORKER_HOURLY} in the last
        hour, with the process that ran them: a child of a worker was killed, ran out of memory, or exited.
        """,
        dashboard=OF_TASK,
    ),
    Alert(
        "AfterwordQueuedTaskLost",
        f"{_ends(OUTCOME_LOST)} > 0",
        severity="warning",
        summary=f"{THIS_TASK} was lost with its worker",
        description=f"""
        {NUMBER} run(s) of {THIS_TASK} in {JOB} had begun in a worker that died, and their messages were
        acknowledged: nothing runs them again. The next worker found them in the journal in the last 5 minutes,
        {_ENDS_HOURLY} in the last hour.
        """,
        dashboard=OF_TASK,
    ),
)
