"""The recording rules that the alerts need to say more: how many it were in an hour, and who did it."""

from __future__ import annotations

from textwrap import indent

from . import names, promql
from .counting import BY_PROCESS, BY_TASK, CELERY, ENDS, first_or_increase
from .names import ENDED, LOST, OUTCOME, OUTCOME_LOST, TASK, Outcome
from .rules import Recording

_ENDED = ENDED.removesuffix("_total")
ENDS_1H = f"job_engine_task_outcome:{_ENDED}:increase1h"
RETURNED_1H = f"job_engine_task_reason:{names.RETURNED.removesuffix('_total')}:increase1h"
WORKER_LOST_1H = "job_engine_task:background_task_worker_lost:increase1h"
LOOP_HELD_UP = f"job_instance:{names.LOOP_LAG.removesuffix('_seconds')}:held_up10m"
LOOP_BLOCKED_BY = f"job_instance_task:{names.LOOP_BLOCKED.removesuffix('_total')}:increase10m"

_LOST = promql.equals(OUTCOME, OUTCOME_LOST)
_NOT_SUCCEEDED = promql.differs(OUTCOME, Outcome.SUCCEEDED)


def _longer_lags(seconds: int) -> str:
    """Return how often the loops of a process were late by more than so many seconds."""
    bound = promql.one_of("le", str(seconds), f"{seconds}.0")  # OpenTelemetry leaves the zero out
    lags = promql.total(f"increase({names.LOOP_LAG}_count[10m])", *names.PROCESS)
    shorter = promql.total(f"increase({promql.series(names.LOOP_LAG + '_bucket', bound)}[10m])", *names.PROCESS)
    return f"({lags} - {shorter})"


def lost_workers(window: str) -> str:
    """Return how many attempts ended with the process that ran them: as failures, or to come again."""
    lost = promql.series(names.FAILURES, promql.one_of(names.ERROR, *names.WORKER_LOST_ERRORS), CELERY)
    again = promql.series(names.RETURNED, promql.equals(names.REASON, names.Reason.WORKER_LOST))
    return f"""\
sum by ({BY_TASK}) (
  {indent(first_or_increase(lost, window), "  ").lstrip()}
  or
  {indent(first_or_increase(again, window), "  ").lstrip()}
)"""


def _returned(window: str) -> str:
    return f"sum by ({BY_TASK}, {names.REASON}) {first_or_increase(names.RETURNED, window)}"


RULES = (
    Recording(
        ENDS_1H,
        f"""\
sum by ({BY_TASK}, {OUTCOME}) {first_or_increase(promql.series(ENDED, _NOT_SUCCEEDED), "1h")}
  > {ENDS}
or
{promql.series(ENDS, _NOT_SUCCEEDED, promql.differs(OUTCOME, OUTCOME_LOST))}
""",
        """
        What did not succeed in the last hour, for the alerts' texts; of what was lost, and in a young Prometheus,
        it may know of five minutes alone.
        """,
    ),
    Recording(
        ENDS_1H,
        f"""\
sum by ({BY_TASK}) {first_or_increase(LOST, "1h")}
  > ignoring ({OUTCOME}) {promql.series(ENDS, _LOST)}
or ignoring ({OUTCOME})
{promql.series(ENDS, _LOST)}
""",
        labels={OUTCOME: OUTCOME_LOST},
    ),
    Recording(RETURNED_1H, f"{_returned('1h')}\n> {_returned('5m')}\nor\n{_returned('5m')}"),
    Recording(WORKER_LOST_1H, f"{lost_workers('1h')}\n> {lost_workers('5m')}\nor\n{lost_workers('5m')}"),
    Recording(
        LOOP_HELD_UP,
        f"""
        {_longer_lags(1)} > 2.5
        or
        {_longer_lags(10)} > 0
        """,
        """
        How often an event loop was held up in ten minutes: for more than a second three times, or for more than
        ten once. Nothing where it was not. Two times may count as 2.1, since increase() extrapolates.
        """,
    ),
    Recording(
        LOOP_BLOCKED_BY,
        f"sum by ({BY_PROCESS}, {TASK}) {first_or_increase(names.LOOP_BLOCKED, '10m')}",
        "For how long, and by which task; by none of them, where the name is empty.",
    ),
)
