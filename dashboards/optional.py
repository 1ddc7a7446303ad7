"""The rules that are off unless somebody names their file: what they say is only true where every day is alike."""

from __future__ import annotations

from . import promql, rules
from .counting import BY_TASK, first_or_increase
from .names import INFO, SCHEDULED
from .rules import Alert, Recording
from .wording import JOB, NUMBER, OF_TASK, THIS_TASK

COMMENT = """
Rules of Afterword that are off by default: to switch them on, name this file in prometheus.yml, behind the others.

They compare with the same hour of the day before. Where days are not alike, choose another offset, or leave them
off.
"""

SCHEDULED_1H = f"job_engine_task:{SCHEDULED.removesuffix('_total')}:increase1h"

RULES = (
    Recording(
        SCHEDULED_1H,
        f"sum by ({BY_TASK}) {first_or_increase(SCHEDULED, '1h')}",
        "How many tasks were scheduled in the last hour.",
    ),
    Alert(
        "AfterwordTaskNotScheduled",
        f"""
        (
          {SCHEDULED_1H} offset 1d >= 20
          unless
          {SCHEDULED_1H} > 0
        )
        and on (job)
        {promql.total(f"count_over_time({INFO}[1h])", "job")}
          > 0.5 * {promql.total(f"count_over_time({INFO}[1h] offset 1d)", "job")}
        """,
        severity="warning",
        summary=f"{THIS_TASK} is not scheduled any more",
        description=f"""
        No run of {THIS_TASK} was scheduled in {JOB} in the last hour; in the same hour of yesterday there were
        {NUMBER}. Nothing fails, since nothing is tried.
        """,
        dashboard=OF_TASK,
        lasting="5m",
        comment="Only where the job was scraped in this hour about as much as in that one.",
    ),
)


def build() -> str:
    """Return the text of the file."""
    return rules.file("optional", COMMENT, RULES)
