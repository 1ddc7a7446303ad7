"""``afterword causes``: why runs did not succeed, the most frequent cause first, with what to do."""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._common import semconv
from .._common.model import LOST, Outcome, Reason, lost_detail
from .._ledger.journal import lines
from .._ledger.journal.records import Record
from . import formats
from .output import FAINT, Output, styled
from .selection import ended, note_nothing


class Kind(NamedTuple):
    """What runs have in common that ended for the same cause."""

    task: str
    outcome: str | None
    reason: str | None
    method: str | None
    route: str | None
    error_type: str | None


@dataclass(slots=True)
class Cause:
    """A cause, how often there was it, and from when until when."""

    kind: Kind
    example: Record
    """The last one."""
    first: float
    last: float
    count: int = 0


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    causes: dict[Kind, Cause] = {}
    for record in ended(arguments.directory, arguments):
        if record.outcome == Outcome.SUCCEEDED:
            continue
        kind = Kind(record.task, record.outcome, record.reason, record.method, record.route, record.error_type)
        at = record.ended_at or 0.0
        cause = causes.setdefault(kind, Cause(kind, record, at, at))
        cause.count += 1
        cause.first, cause.last = min(cause.first, at), max(cause.last, at)
    found = sorted(causes.values(), key=lambda cause: (-cause.count, -cause.last))
    shown = list(itertools.islice(found, arguments.limit or None))
    if output.json:
        for cause in shown:
            output.keys(_keys(cause))
    elif shown:
        _tell(output, shown)
        if len(shown) < len(found):
            output.line((f"These are the {len(shown)} most frequent causes of {len(found)}.", FAINT))
    if not shown:
        note_nothing(output, arguments.directory, "every run that is asked for succeeded")
    return 0


def advice(record: Record) -> str:
    """Return what happened to a run and what to do about it."""
    if record.outcome == LOST:
        return lost_detail(record.state, record.pid)
    if record.reason == Reason.EXCEPTION:
        return f"it raised; `afterword show {formats.short(record.run)}` has the traceback"
    return record.detail or ""


def why(record: Record) -> str:
    """Return the reason of a run, and the error where that says more."""
    return ": ".join(dict.fromkeys(formats.one_line(text) for text in (record.reason, record.error_type) if text))


def _keys(cause: Cause) -> dict[str, Any]:
    kind = cause.kind
    return {
        semconv.KEY_COUNT: cause.count,
        semconv.KEY_TASK: kind.task,
        lines.OUTCOME: kind.outcome,
        semconv.KEY_REASON: kind.reason,
        semconv.KEY_METHOD: kind.method,
        semconv.KEY_ROUTE: kind.route,
        semconv.KEY_ERROR_TYPE: kind.error_type,
        "first_at": formats.iso(cause.first),
        "last_at": formats.iso(cause.last),
        "example": cause.example.run,
        semconv.KEY_DETAIL: advice(cause.example) or None,
    }


def _tell(output: Output, causes: list[Cause]) -> None:
    for cause in causes:
        record = cause.example
        request = formats.request_of(record)
        output.line(
            (f"{cause.count} × ", "bold"),
            formats.one_line(record.task),
            " ",
            styled(record.outcome),
            f"  {why(record)}" if why(record) else "",
            f"  in {request}" if request else "",
        )
        first, last = formats.moment(cause.first), formats.moment(cause.last)
        times = last if first == last else f"{first} to {last}"
        output.line((f"    {times}, for example {formats.short(record.run)}", FAINT))
        output.paragraph(advice(record), indent=4)
        output.line()
