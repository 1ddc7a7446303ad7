"""How a counter is counted: since when, and by which labels."""

from __future__ import annotations

from . import names, promql
from .names import ENDED, INFO, OUTCOME, TASK

FIRST_COUNTS = f"job_instance:{INFO}:first_values_count"
FIRST_COUNTS_1H = f"{FIRST_COUNTS}1h"
ENDS = f"job_engine_task_outcome:{ENDED.removesuffix('_total')}:increase5m"

BY_PROCESS = ", ".join(names.PROCESS)
BY_TASK = f"job, {names.ENGINE}, {TASK}"
BY_WHY = f"{BY_TASK}, {OUTCOME}, {names.REASON}, {names.STOPPED_BY}, {names.ROUTE}, {names.STATUS}"
HERE = promql.one_of(names.ENGINE, "", names.STARLETTE)
"""Tasks that run where they are scheduled; an older Afterword knows no others, and does not say so."""
CELERY = promql.equals(names.ENGINE, names.CELERY)


def first_or_increase(counter: str, window: str = "5m") -> str:
    """Return how much a counter grew in five minutes (or an hour), with its whole value where it is new."""
    first = FIRST_COUNTS_1H if window == "1h" else FIRST_COUNTS
    return f"""\
(
  ({counter} unless {counter} offset {window} unless resets({counter}[{window}]) > 0)
    and on ({BY_PROCESS}) {first}
  or
  increase({counter}[{window}])
)"""
