"""Finds telling lines in the shop's log, one JSON object a line among uvicorn's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def lines(log: Path) -> Iterator[Line]:
    """Yield the log's JSON lines."""
    with log.open(errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def first(log: Path, wanted: Callable[[Line], bool]) -> Line | None:
    """Return the first line that is wanted."""
    return next((line for line in lines(log) if wanted(line)), None)


def failed_request(log: Path) -> Line | None:
    """Return a request that failed through a fault of the shop's, with its traceback."""
    return first(log, lambda line: line.get("event") == "request.failed" and line.get("http_status") == 500)


def task_that_never_ran(log: Path, failed: Line | None) -> Line | None:
    """Return a task that never ran: one of that failed request if there is one, else any."""
    given_up = ("background_task.dropped", "background_task.abandoned")
    trace = failed and failed.get("trace_id")
    mine = first(log, lambda line: line.get("event") in given_up and line.get("trace_id") == trace)
    return mine or first(log, lambda line: line.get("event") in given_up)


def lost_tasks(log: Path) -> list[Line]:
    """Return the tasks that a killed process took along."""
    return [line for line in lines(log) if line.get("event") == "background_task.lost"]


def describe_lost(line: Line) -> dict[str, str]:
    """Tell of a ``background_task.lost`` line."""
    return {
        "task": f"{line.get('task')}, {line.get('state')} for {line.get('age_s')} s in process {line.get('pid')}",
        "why": str(line.get("detail")),
        "trace": str(line.get("trace_id")),
    }


def describe_request(line: Line) -> dict[str, str]:
    """Tell of a ``request.failed`` line."""
    return {
        "request": f"{line.get('http_method')} {line.get('http_route')} → {line.get('http_status')}",
        "error": _error(line),
        "trace": str(line.get("trace_id")),
    }


def describe_task(line: Line) -> dict[str, str]:
    """Tell of a ``background_task.dropped`` or ``.abandoned`` line."""
    return {
        "task": f"{line.get('task')}, {str(line.get('event')).removeprefix('background_task.')}",
        "request": f"{line.get('http_method')} {line.get('http_route')}",
        "why": str(line.get("detail") or line.get("reason")),
        "trace": str(line.get("trace_id")),
    }


def _error(line: Line) -> str:
    """Return the error as the last line of its traceback says it."""
    match line.get("exception"):
        case [{"exc_type": name, "exc_value": text}, *_]:
            return f"{name}: {text}"
        case str(traceback) if traceback.strip():
            return traceback.strip().splitlines()[-1]
        case _:
            return str(line.get("error_type"))
