"""``afterword now``: what is in flight, process by process, the oldest first."""

from __future__ import annotations

import argparse
import time
from typing import Final

from .._common import semconv
from .._common.model import LOST
from .._ledger.journal import history, lines
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .._views.keys import age, keys_of, state, state_and_age
from . import formats
from .output import STYLES, Cell, Column, Output
from .selection import note_nothing

_COLUMNS: Final = (
    Column("age", right=True),
    Column(lines.STATE),
    Column(semconv.KEY_TASK, folds=True),
    Column("run"),
    Column("request", folds=True),
)


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    processes: dict[str, list[Record]] = {}
    for record in history.in_flight(arguments.directory, Filter(named=arguments.task)):
        processes.setdefault(record.process, []).append(record)
    now = time.time()
    for runs in processes.values():
        if output.json:
            for record in runs:
                output.keys(keys_of(record) | state_and_age(record, now))
        else:
            output.table(_COLUMNS, [_cells(record, now) for record in runs], _title(runs))
    if not processes:
        note_nothing(output, arguments.directory, "nothing is in flight")
    return 0


def _title(runs: list[Record]) -> str:
    first = runs[0]
    match first.alive:
        case True:
            life = "alive"
        case False:
            life = f"dead, last seen {formats.moment(first.seen_at)}"
        case None:
            life = "perhaps alive"
    worker = f" ({formats.one_line(first.worker)})" if first.worker else ""
    return f"process {first.pid}{worker}, {life}: {len(runs)} in flight"


def _cells(record: Record, now: float) -> list[Cell]:
    was = f"{LOST} ({record.state})" if record.alive is False else state(record)
    return [
        formats.span(age(record, now)),
        (was, STYLES.get(state(record), "")),
        formats.one_line(record.task),
        formats.short(record.run),
        formats.request_of(record),
    ]
