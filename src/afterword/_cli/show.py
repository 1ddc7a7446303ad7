"""``afterword show``: all that is known of one run, and what became of the others of its request."""

from __future__ import annotations

import argparse
import re
from typing import Any, Final

from .._common import semconv
from .._common.model import CELERY, LOST, STARLETTE
from .._ledger.journal import lines
from .._ledger.journal.records import Record
from .._views.keys import keys_of, known, state
from .._views.reader import JournalReader
from .._views.runs import SOME, attempts_of, others_of, with_id
from . import formats
from .causes import advice, why
from .output import FAINT, Output, styled

NOT_FOUND: Final = 1


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code."""
    reader = JournalReader(arguments.directory, must_exist=True)
    found = with_id(reader, arguments.run.strip())
    if len(found) != 1:
        output.note(_complaint(arguments.directory, arguments.run, found))
        return NOT_FOUND
    record = found[0]
    others, attempts = others_of(reader, record), attempts_of(reader, record)
    if output.json:
        keys = keys_of(record)
        if record.outcome is None:
            keys[lines.STATE] = state(record)
        keys["others"] = None if others is None else [_other(other) for other in others]
        keys["attempts"] = [_attempt(attempt) for attempt in attempts] if record.engine == CELERY else None
        output.keys(keys)
        return 0
    _tell(output, record)
    _tell_attempts(output, attempts)
    _tell_others(output, others)
    return 0


def _complaint(directory: str, run: str, found: list[Record]) -> str:
    if not found:
        return f"{directory}: there is no run {run}"
    ids = ", ".join(record.run for record in found[:SOME])
    return f"{directory}: more than one run begins with {run}: {ids}{', ...' if len(found) > SOME else ''}"


# --- telling it -------------------------------------------------------------------------------------------------


def _other(record: Record) -> dict[str, Any]:
    return {
        semconv.KEY_TASK_RUN: record.run,
        semconv.KEY_TASK: record.task,
        lines.OUTCOME: record.outcome,
        lines.STATE: state(record) if record.outcome is None else None,
        semconv.KEY_REASON: record.reason,
        semconv.KEY_ERROR_TYPE: record.error_type,
    }


def _attempt(record: Record) -> dict[str, Any]:
    told = (lines.ATTEMPT, lines.OUTCOME, semconv.KEY_REASON, semconv.KEY_ERROR_TYPE, lines.WORKER)
    keys = keys_of(record)
    return known({key: keys[key] for key in (*told, "started_at", "ended_at")})


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
    return record.outcome or state(record)


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
    if record.engine != STARLETTE:
        attempt = "" if record.attempt is None else str(record.attempt)
        facts["engine"], facts[lines.ATTEMPT] = formats.one_line(record.engine), attempt
        facts |= {lines.WORKER: formats.one_line(record.worker), lines.QUEUE: formats.one_line(record.queue)}
    if (record.parent_trace_id, record.parent_span_id) != (record.trace_id, record.span_id):
        facts["scheduled in"] = formats.one_line(
            " ".join(filter(None, (record.parent_trace_id, record.parent_span_id)))
        )
    if record.recovered:
        facts["told"] = "by another process, after its own had died; perhaps a second time"
    return facts


def _tell_attempts(output: Output, attempts: list[Record]) -> None:
    """Write what became of the task's other attempts, the first one first."""
    if not attempts:
        return
    output.line()
    output.line(("  other attempts", FAINT))
    for attempt in attempts:
        reason = why(attempt)
        output.line(
            f"    {formats.moment(attempt.ended_at)}  attempt {attempt.attempt or '?'}  ",
            styled(attempt.outcome),
            f"  {reason}" if reason else "",
            f"  on {formats.one_line(attempt.worker)}" if attempt.worker else "",
        )


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
