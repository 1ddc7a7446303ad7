"""``afterword causes``: why runs did not succeed, the most frequent cause first, with what to do."""

from __future__ import annotations

import argparse
import itertools

from .._common.model import LOST, Reason
from .._ledger.journal.records import Record
from .._views import causes
from .._views.causes import Cause, grouped, keys_of_cause
from . import formats
from .output import FAINT, Output, styled
from .selection import ended, note_nothing


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    found = grouped(ended(arguments.directory, arguments, attempts=True))
    shown = list(itertools.islice(found, arguments.limit or None))
    if output.json:
        for cause in shown:
            output.keys(keys_of_cause(cause, advice(cause.example)))
    elif shown:
        _tell(output, shown)
        if len(shown) < len(found):
            output.line((f"These are the {len(shown)} most frequent causes of {len(found)}.", FAINT))
    if not shown:
        note_nothing(output, arguments.directory, "every run that is asked for succeeded")
    return 0


def advice(record: Record) -> str:
    """Return what happened to a run and what to do about it."""
    if record.outcome != LOST and record.reason == Reason.EXCEPTION:
        return f"it raised; `afterword show {formats.short(record.run)}` has the traceback"
    return causes.advice(record)


def why(record: Record) -> str:
    """Return the reason of a run, and the error where that says more."""
    return ": ".join(dict.fromkeys(formats.one_line(text) for text in (record.reason, record.error_type) if text))


def _tell(output: Output, found: list[Cause]) -> None:
    for cause in found:
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
