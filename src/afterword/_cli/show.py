"""``afterword show``: all that is known of one run, and what became of the others of its request."""

from __future__ import annotations

import argparse
import itertools
import re
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST
from .._ledger.journal import history, lines
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from . import formats, now
from .causes import advice, why
from .output import FAINT, Output, styled

_ID_LENGTH: Final = 32
_SOME: Final = 5
NOT_FOUND: Final = 1


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    found = _found(arguments.directory, arguments.run.strip().lower())
    if len(found) != 1:
        output.note(_complaint(arguments.directory, arguments.run, found))
        return NOT_FOUND
    record = found[0]
    others = _others(arguments.directory, record)
    if output.json:
        keys = formats.keys_of(record)
        if record.outcome is None:
            keys[lines.STATE] = now.state(record)
        output.keys(keys | {"others": None if others is None else [_other(other) for other in others]})
        return 0
    _tell(output, record)
    _tell_others(output, others)
    return 0


# --- looking for it ---------------------------------------------------------------------------------------------


def _found(directory: str, run: str) -> list[Record]:
    """Return the run with an id, or those whose ids begin like that; of many, some."""
    wanted = Filter(run=run) if len(run) == _ID_LENGTH else Filter()
    matching: dict[str, Record] = {}
    for record in itertools.chain(history.ended(directory, wanted), history.in_flight(directory, wanted)):
        if record.run.startswith(run):
            matching.setdefault(record.run, record)
            if len(matching) > _SOME:
                break
    return list(matching.values())


def _complaint(directory: str, run: str, found: list[Record]) -> str:
    if not found:
        return f"{directory}: there is no run {run}"
    ids = ", ".join(record.run for record in found[:_SOME])
    return f"{directory}: more than one run begins with {run}: {ids}{', ...' if len(found) > _SOME else ''}"


def _others(directory: str, record: Record) -> list[Record] | None:
    """Return the other runs of the same request, in order; ``None`` if nothing tells them apart from others."""
    if record.parent_trace_id is not None:
        wanted = Filter(trace=record.parent_trace_id)
    elif record.request_id is not None:
        wanted = Filter(route=record.route)
    else:
        return None
    others = {
        other.run: other
        for other in itertools.chain(history.in_flight(directory, wanted), history.ended(directory, wanted))
        if other.run != record.run and _is_of_same_request(record, other)
    }
    return sorted(others.values(), key=lambda other: other.scheduled_at)


def _is_of_same_request(one: Record, other: Record) -> bool:
    """Return whether two runs have a request in common: by its span, or by the id that a client sent."""
    if (one.process, one.parent_trace_id) != (other.process, other.parent_trace_id):
        return False
    if one.parent_span_id is not None and one.parent_span_id == other.parent_span_id:
        return True
    request = one.request_id, one.method, one.route
    return one.request_id is not None and request == (other.request_id, other.method, other.route)


# --- telling it -------------------------------------------------------------------------------------------------


def _other(record: Record) -> dict[str, Any]:
    return {
        semconv.KEY_TASK_RUN: record.run,
        semconv.KEY_TASK: record.task,
        lines.OUTCOME: record.outcome,
        lines.STATE: now.state(record) if record.outcome is None else None,
        semconv.KEY_REASON: record.reason,
        semconv.KEY_ERROR_TYPE: record.error_type,
    }


def _tell(output: Output, record: Record) -> None:
    output.line(
        (formats.one_line(record.task), "bold"), " ", styled(_end(record)), f"  {formats.one_line(record.run)}"
    )
    output.line()
    for name, value in _facts(record).items():
        if value:
            output.line((f"  {name:<14}", FAINT), value)
    if what_to_do := record.detail or advice(record):
        output.line()
        output.paragraph(what_to_do, indent=2)
    for heading, text in ((lines.ERROR, record.error), (lines.TRACEBACK, record.traceback)):
        if text:
            output.line()
            output.line((f"  {heading}", FAINT))
            for line in re.split(r"[\r\n]+", formats.whole(text).rstrip("\n")):
                output.line(f"    {line}")


def _end(record: Record) -> str:
    return record.outcome or now.state(record)


def _facts(record: Record) -> dict[str, str]:
    waited = None if record.started_at is None else record.started_at - record.scheduled_at
    life = {True: "alive", False: "dead", None: ""}[record.alive]
    process = " ".join(filter(None, (str(record.pid or ""), formats.one_line(record.process), life)))
    was = record.state if _end(record) == LOST else None
    facts = {
        "was": formats.one_line(was),
        "why": why(record),
        "function": formats.one_line(record.function),
        "request": formats.request_of(record),
        "request id": formats.one_line(record.request_id),
        "scheduled": formats.precise(record.scheduled_at),
        "started": formats.precise(record.started_at),
        "ended": formats.precise(record.ended_at),
        "waited": formats.span(waited),
        "thread wait": formats.span(record.thread_wait),
        "ran": formats.span(record.duration),
        "trace": formats.one_line(record.trace_id),
        "span": formats.one_line(record.span_id),
        "process": process,
    }
    if (record.parent_trace_id, record.parent_span_id) != (record.trace_id, record.span_id):
        facts["scheduled in"] = formats.one_line(
            " ".join(filter(None, (record.parent_trace_id, record.parent_span_id)))
        )
    if record.recovered:
        facts["told"] = "by another process, after its own had died; perhaps a second time"
    return facts


def _tell_others(output: Output, others: list[Record] | None) -> None:
    output.line()
    if others is None:
        output.line(("  others of its request: not known, for it has no trace and no request id", FAINT))
    elif not others:
        output.line(("  others of its request: none", FAINT))
    else:
        output.line(("  others of its request", FAINT))
        for other in others:
            reason = why(other)
            output.line(
                f"    {formats.short(other.run)}  {formats.one_line(other.task)} ",
                styled(_end(other)),
                f"  {reason}" if reason else "",
            )
