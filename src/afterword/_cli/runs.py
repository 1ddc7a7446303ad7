"""``afterword runs``: what has ended, newest first, or what ends from now on."""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Final, NoReturn

from .._common import semconv
from .._common.model import STARLETTE
from .._ledger.journal import lines
from .._ledger.journal.records import Record
from .._views.keys import keys_of
from . import formats
from .output import FAINT, Column, Output, styled
from .selection import ended, note_nothing

_TABLE_LIMIT: Final = 25
_BEFORE_FOLLOWING: Final = 10
_PAUSE: Final = 0.5
_DISORDER_SECONDS: Final = 60.0
"""How much later than it says a line may be written: threads take turns, and clocks are set."""

_ENGINE: Final = Column(lines.ENGINE)
_COLUMNS: Final = (
    Column("ended"),
    Column(lines.OUTCOME),
    Column(semconv.KEY_TASK, folds=True),
    Column("ran", right=True),
    Column("run"),
    Column("request", folds=True),
    Column("why", folds=True),
)


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    if arguments.follow:
        follow(output, arguments)
    limit = _limit(arguments, 0 if output.json else _TABLE_LIMIT)
    found = ended(arguments.directory, arguments)
    records = list(itertools.islice(found, limit))
    if output.json:
        for record in records:
            output.keys(keys_of(record))
    elif records:
        if any(record.engine != STARLETTE for record in records):
            output.table((*_COLUMNS, _ENGINE), ((*_cells(record), _engine(record)) for record in records))
        else:
            output.table(_COLUMNS, map(_cells, records))
        if next(found, None) is not None:
            output.line((f"These are the newest {len(records)}; --limit 0 shows all.", FAINT))
    if not records:
        note_nothing(output, arguments.directory, "no run that is asked for has ended")
    return 0


def follow(output: Output, arguments: argparse.Namespace) -> NoReturn:
    """Write the last few runs, then each as it ends, until the process is interrupted."""
    limit = _limit(arguments, _BEFORE_FOLLOWING)
    seen: dict[tuple[str, float], float] = {}
    first: list[Record] = []
    recent = time.time() - _DISORDER_SECONDS
    for record in ended(arguments.directory, arguments):
        if limit is None or len(first) < limit:
            first.append(record)
        elif (record.ended_at or 0.0) < recent:
            break
        seen[_key(record)] = record.ended_at or 0.0
    new = first
    while True:
        for record in reversed(new):
            _tell(output, record)
        output.flush()
        time.sleep(_PAUSE)
        recent = time.time() - _DISORDER_SECONDS
        since = max(recent, arguments.since or recent)
        new = [record for record in ended(arguments.directory, arguments, since) if _key(record) not in seen]
        seen = {run: at for run, at in seen.items() if at >= recent}
        seen |= {_key(record): record.ended_at or 0.0 for record in new}


def _key(record: Record) -> tuple[str, float]:
    """Return what tells a run from others, and one attempt of a task from the next."""
    return record.run, record.ended_at or 0.0


def _limit(arguments: argparse.Namespace, default: int) -> int | None:
    """Return how many are wanted; ``None`` for all."""
    return (default if arguments.limit is None else arguments.limit) or None


def _tell(output: Output, record: Record) -> None:
    if output.json:
        output.keys(keys_of(record))
        return
    ended_at, outcome, *others = _cells(record)
    output.line(f"{ended_at}  ", (outcome[0].ljust(9), outcome[1]), *(f"  {text}" for text in others if text))


def _engine(record: Record) -> str:
    """Return what ran it, and on which worker."""
    return " ".join(filter(None, (formats.one_line(record.engine), formats.one_line(record.worker))))


def _cells(record: Record) -> tuple[str, tuple[str, str], str, str, str, str, str]:
    error = record.error_type if record.error is None else f"{record.error_type}: {record.error}"
    return (
        formats.moment(record.ended_at),
        styled(record.outcome),
        formats.one_line(record.task),
        formats.span(record.duration),
        formats.short(record.run),
        formats.request_of(record),
        formats.one_line(error or record.reason),
    )
