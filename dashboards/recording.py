"""The recording rules: what the alerts are about, and what a dashboard of your own can use.

Their names follow Prometheus' convention: the labels that are left, what it is about, and how it was computed.
"""

from __future__ import annotations

from . import names, promql, rules
from .names import ENDED, INFO, LOST, OUTCOME, OUTCOME_LOST, PENDING, RUNNING, SCHEDULED, TASK, Outcome
from .rules import Recording

COMMENT = """
Recording rules of Afterword. They aggregate, since an OpenTelemetry pipeline may add labels of its own, and they
have few series: one for each job and task, or for each job and instance.

increase() takes a counter that appears at 1 for one that has not increased, so the first event of a new name
would go unseen. Here a series that was not there five minutes ago counts with its whole value.
"""

# --- the names of what is recorded ------------------------------------------------------------------------------

_ENDED, _THREADS = ENDED.removesuffix("_total"), names.THREADS_BUSY.rpartition("_")[0]

FIRST_COUNTS = f"job_instance:{INFO}:first_values_count"
ENDS = f"job_task_outcome:{_ENDED}:increase5m"
ENDS_OF_TASK = f"job_task:{_ENDED}:increase5m"
FAILED_RATIO = "job_task:background_task_failed:ratio5m"
WAIT_P95, THREAD_WAIT_P95, DURATION_P95 = (
    f"job_task:{histogram}:p95_5m" for histogram in (names.WAIT, names.THREAD_WAIT, names.DURATION)
)
PENDING_SUM, RUNNING_SUM = f"job_task:{PENDING}:sum", f"job_task:{RUNNING}:sum"
DIFFERENCE = "job_instance_task:background_task_account:difference"
THREADS_UTILISATION = f"job_instance:{_THREADS}:utilisation"

# --- the rules --------------------------------------------------------------------------------------------------

BY_PROCESS = ", ".join(names.PROCESS)
BY_TASK = f"job, {TASK}"


def first_or_increase(counter: str) -> str:
    """Return how much a counter grew in five minutes, with its whole value where it is new."""
    return f"""\
(
  ({counter} unless {counter} offset 5m)
    and on ({BY_PROCESS}) {FIRST_COUNTS}
  or
  increase({counter}[5m])
)"""


def _here(metric: str) -> str:
    """Return a metric of the tasks that run where they are scheduled."""
    return promql.series(metric, promql.differs(names.ENGINE, names.CELERY))


def _p95(record: str, histogram: str, comment: str = "") -> Recording:
    return Recording(
        record,
        f"""
        histogram_quantile(0.95, sum by ({BY_TASK}, le) (
          rate({histogram}_bucket[5m])
        ))
        """,
        comment,
    )


RULES = (
    Recording(
        FIRST_COUNTS,
        f"""
        group by ({BY_PROCESS}) ({INFO} offset 5m)
        or
        group by ({BY_PROCESS}) ({INFO})
          unless on ({BY_PROCESS}) last_over_time({INFO}[1d] offset 5m)
          unless on ({BY_PROCESS}) (time() - process_start_time_seconds > 300) # seconds
        """,
        """
        The instances where that is right: those that were already scraped then, where only the name is new, and
        those that are new themselves. It is wrong after a gap in the scrapes (of an instance that has been seen in
        the last day) and in an empty Prometheus (of a process that has run for longer): their old counts are no
        news, and must not fire every alert at once.
        """,
    ),
    Recording(
        ENDS,
        f"sum by ({BY_TASK}, {OUTCOME}) {first_or_increase(ENDED)}",
        "How many tasks came to each end in the last five minutes, across the instances.",
    ),
    Recording(
        ENDS,
        f"""
        sum by ({BY_TASK}) (
          ({LOST} unless last_over_time({LOST}[1d] offset 5m))
          or
          increase({LOST}[5m])
        )
        """,
        """
        Those that were found in a dead process did not end; here they are one outcome more. Their series appears
        when something has died, so often after a gap: what the last day has not seen counts, whatever was scraped.
        """,
        labels={OUTCOME: OUTCOME_LOST},
    ),
    Recording(ENDS_OF_TASK, promql.total(ENDS, "job", TASK)),
    Recording(
        FAILED_RATIO,
        f"""
        sum by ({BY_TASK}) (
          {promql.series(ENDS, promql.equals(OUTCOME, Outcome.FAILED))}
        )
        / ({ENDS_OF_TASK} > 0)
        """,
        "The part of them that failed; nothing where nothing ended.",
    ),
    _p95(WAIT_P95, names.WAIT, "The 95th percentiles of the three times."),
    _p95(THREAD_WAIT_P95, names.THREAD_WAIT),
    _p95(DURATION_P95, names.DURATION),
    Recording(PENDING_SUM, promql.total(PENDING, "job", TASK), "What is in flight."),
    Recording(RUNNING_SUM, promql.total(RUNNING, "job", TASK)),
    Recording(
        DIFFERENCE,
        f"""
        sum by ({BY_PROCESS}, {TASK}) ({_here(SCHEDULED)})
        - sum by ({BY_PROCESS}, {TASK}) ({_here(PENDING)})
        - sum by ({BY_PROCESS}, {TASK}) ({_here(RUNNING)})
        - sum by ({BY_PROCESS}, {TASK}) (
            {_here(ENDED)} or {_here(LOST)}
          )
        """,
        """
        The law: what is scheduled waits, runs, has ended or was lost. This is what is left over, so it is 0. Of
        what a queue carries to other processes, no single one has the whole account.
        """,
    ),
    Recording(
        THREADS_UTILISATION,
        f"""
        sum by ({BY_PROCESS}) ({names.THREADS_BUSY})
        / (sum by ({BY_PROCESS}) ({names.THREADS_LIMIT}) > 0)
        """,
        "How full the worker threads of an instance are, 1 at the limit.",
    ),
)


def build() -> str:
    """Return the text of the file."""
    return rules.file("recording", COMMENT, RULES)
