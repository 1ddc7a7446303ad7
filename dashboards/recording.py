"""The recording rules: what the alerts are about, and what a dashboard of your own can use.

Their names follow Prometheus' convention: the labels that are left, what it is about, and how it was computed.
"""

from __future__ import annotations

from . import names, promql, recording_for_texts, rules
from .counting import (
    BY_PROCESS,
    BY_TASK,
    BY_WHY,
    CELERY,
    ENDS,
    FIRST_COUNTS,
    FIRST_COUNTS_1H,
    HERE,
    first_or_increase,
)
from .names import ENDED, INFO, LOST, OUTCOME, OUTCOME_LOST, PENDING, RUNNING, SCHEDULED, TASK, Outcome
from .rules import Recording

COMMENT = """
Recording rules of Afterword. They aggregate, since an OpenTelemetry pipeline may add labels of its own, and they
have few series: one for each job, engine and task, or for each job and instance.

increase() takes a counter that appears at 1 for one that has not increased, so the first event of a new name
would go unseen. Here a series that was not there five minutes ago counts with its whole value; unless it has
begun anew since, where increase() knows more.
"""

# --- the names of what is recorded ------------------------------------------------------------------------------

_ENDED, _THREADS = ENDED.removesuffix("_total"), names.THREADS_BUSY.rpartition("_")[0]

NEVER_RAN = f"job_engine_task_why:{names.NEVER_RAN_WHY.removesuffix('_total')}:increase5m"
NEVER_RAN_1H = f"job_engine_task_why:{names.NEVER_RAN_WHY.removesuffix('_total')}:increase1h"
ENDS_OF_TASK = f"job_engine_task:{_ENDED}:increase5m"
FAILED_RATIO = "job_engine_task:background_task_failed:ratio5m"
WAIT_P95, THREAD_WAIT_P95, DURATION_P95 = (
    f"job_engine_task:{histogram}:p95_5m" for histogram in (names.WAIT, names.THREAD_WAIT, names.DURATION)
)
PENDING_SUM, RUNNING_SUM = f"job_engine_task:{PENDING}:sum", f"job_engine_task:{RUNNING}:sum"
DIFFERENCE = "job_instance_task:background_task_account:difference"
QUEUE_MESSAGES_MAX = f"job_queue:{names.QUEUE_MESSAGES}:max"
QUEUE_OLDEST_MAX = f"job_queue:{names.QUEUE_OLDEST}:max"
NOT_IN_HAND = "engine_task:background_task_account:not_in_hand1h"
QUEUE_DIFFERENCE = "engine:background_task_account:difference1h"
THREADS_UTILISATION = f"job_instance:{_THREADS}:utilisation"

# --- the rules --------------------------------------------------------------------------------------------------


def _here(metric: str) -> str:
    return promql.series(metric, HERE)


def _by_task(metric: str, offset: str = "") -> str:
    return f"sum by ({names.ENGINE}, {TASK}) ({promql.series(metric, CELERY)}{offset})"


_NONE = f"0 * {_by_task(SCHEDULED)}"


def _grew(metric: str) -> str:
    """Return how many of Celery's tasks a counter has counted in an hour, be its process there or gone."""
    counter = promql.series(metric, CELERY)
    return f"""\
sum by ({names.ENGINE}, {TASK}) (
  (last_over_time({counter}[1h]) unless {counter} offset 1h unless resets({counter}[1h]) > 0)
    and on ({BY_PROCESS}) {FIRST_COUNTS_1H}
  or
  increase({counter}[1h])
)"""


def _p95(record: str, histogram: str, comment: str = "") -> Recording:
    return Recording(
        record,
        f"""
        histogram_quantile(0.95, sum by ({BY_TASK}, le) (
          rate({histogram}_bucket[5m])
        )) >= 0
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
          and on ({BY_PROCESS}) (time() - {names.ACCOUNT_START} <= 300) # seconds
        """,
        """
        The instances where that is right: those that were already scraped then, where only the name is new, and
        those that are new themselves. It is wrong after a gap in the scrapes (of an instance that has been seen in
        the last day) and in an empty Prometheus (of counters that have counted for longer, of several workers
        since the first of them): their old counts are no news, and must not fire every alert at once.
        """,
    ),
    Recording(
        FIRST_COUNTS_1H,
        f"""
        group by ({BY_PROCESS}) ({INFO} offset 1h)
        or
        group by ({BY_PROCESS}) (last_over_time({INFO}[1h]))
          unless on ({BY_PROCESS}) last_over_time({INFO}[1d] offset 1h)
          and on ({BY_PROCESS}) (time() - last_over_time({names.ACCOUNT_START}[1h]) <= 3600) # seconds
        """,
        "The same for an hour, in which an instance may also have come and gone.",
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
          ({LOST} unless {LOST} offset 5m)
            and on ({BY_PROCESS}) (time() - {names.ACCOUNT_START} <= 300) # seconds
          or
          ({LOST} unless last_over_time({LOST}[1d] offset 5m))
            and on ({BY_PROCESS}) last_over_time({INFO}[1d] offset 5m)
          or
          clamp_min(({LOST} unless {LOST} offset 5m) - last_over_time({LOST}[1d] offset 5m), 0)
          or
          increase({LOST}[5m])
        )
        """,
        """
        Those that were found in a dead process did not end; here they are one outcome more. They are found when
        something has died, so often after a gap in the scrapes: what a new process says counts, what the last day
        has not seen of an instance that it has seen, and by how much it has grown since it was last seen.
        """,
        labels={OUTCOME: OUTCOME_LOST},
    ),
    Recording(
        NEVER_RAN,
        f"sum by ({BY_WHY}) {first_or_increase(names.NEVER_RAN_WHY)}",
        "Of those that never ran, why, on which route, and (of what was dropped) with which status of the answer.",
    ),
    Recording(
        NEVER_RAN_1H,
        f"""\
sum by ({BY_WHY}) {first_or_increase(names.NEVER_RAN_WHY, "1h")}
  > {NEVER_RAN}
or
{NEVER_RAN}
""",
        "The same in the last hour, for the alerts' texts; a younger Prometheus knows of five minutes at least.",
    ),
    Recording(ENDS_OF_TASK, promql.total(ENDS, "job", names.ENGINE, TASK)),
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
    _p95(WAIT_P95, names.WAIT, "The 95th percentiles of the three times; none where nothing was measured."),
    _p95(THREAD_WAIT_P95, names.THREAD_WAIT),
    _p95(DURATION_P95, names.DURATION),
    Recording(PENDING_SUM, promql.total(PENDING, "job", names.ENGINE, TASK), "What is in flight."),
    Recording(RUNNING_SUM, promql.total(RUNNING, "job", names.ENGINE, TASK)),
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
        The law of one process: what is scheduled waits, runs, has ended or was lost. This is what is left over, so
        it is 0. Of what a queue carries to other processes, no single one has the whole account, so this is
        Starlette's tasks alone.
        """,
    ),
    Recording(
        QUEUE_MESSAGES_MAX,
        promql.total(names.QUEUE_MESSAGES, "job", *names.QUEUE, function="max"),
        "What nobody has received: several processes may look into the same queue, and none at one moment.",
    ),
    Recording(QUEUE_OLDEST_MAX, promql.total(names.QUEUE_OLDEST, "job", *names.QUEUE, function="max")),
    Recording(
        NOT_IN_HAND,
        f"""\
{_grew(SCHEDULED)}
- {_grew(ENDED)}
- {_grew(LOST)}
- ({_by_task(PENDING)} or {_NONE})
- ({_by_task(RUNNING)} or {_NONE})
+ ({_by_task(PENDING, " offset 1h")} or {_NONE})
+ ({_by_task(RUNNING, " offset 1h")} or {_NONE})
""",
        """
        Of Celery's tasks, how many more were published in the last hour than workers have taken in hand or brought
        to an end: they are in a queue, or nowhere. Below 0, the queue was longer an hour ago.
        """,
    ),
    Recording(
        QUEUE_DIFFERENCE,
        f"""
        sum({NOT_IN_HAND})
        - (sum(max by ({", ".join(names.QUEUE)}) ({names.QUEUE_MESSAGES})) or vector(0))
        + (sum(max by ({", ".join(names.QUEUE)}) ({names.QUEUE_MESSAGES} offset 1h)) or vector(0))
        """,
        """
        The law over all processes: scheduled = in the queues + held + running + outcomes + lost. Each by how much
        it grew in an hour, since the counters of a process that is gone go with it. This is what is left over:
        about 0 where every process that publishes or runs tasks is scraped.

        It cannot be exactly 0: increase() extrapolates to the ends of the hour, a queue is looked into every 15
        seconds, and what a process counts after its last scrape is never seen. So no alert is made of it, and it
        says little while much moves. What goes missing shows for an hour, and then no more.

        Above 0, something is in none of these places: a worker without a journal was killed, a queue was purged or
        let its messages expire, a worker is not scraped, or nobody has looked into a queue since who published to
        it was restarted. What the broker keeps aside for a worker that is gone (Redis: for visibility_timeout) is
        missing until it comes back. Below 0, who publishes is not scraped, or a queue has another program's
        messages. Of two queues with one name, on two brokers, only the longer one counts.
        """,
        labels={names.ENGINE: names.CELERY},
    ),
    Recording(
        THREADS_UTILISATION,
        f"""
        sum by ({BY_PROCESS}) ({names.THREADS_BUSY})
        / (sum by ({BY_PROCESS}) ({names.THREADS_LIMIT}) > 0)
        """,
        "How full the worker threads of an instance are, 1 at the limit.",
    ),
    *recording_for_texts.RULES,
)


def build() -> str:
    """Return the text of the file."""
    return rules.file("recording", COMMENT, RULES)
