"""From the children of a prefork pool to the worker's main process, which keeps the account of all.

What a child publishes or skips is counted there. Each message is one line of JSON, short enough for the system to
write it in one piece, so that children may share the pipe. Only the prefork pool has one: under gevent, a thread
that reads a pipe would stop the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
from typing import Any, Final

from .._common import semconv
from .._common.faults import EXITS
from .._common.log import log_fault, once, warn
from .._common.model import CELERY, Outcome, Reason, RequestInfo, TaskRun, full_name
from .instrumentation import CeleryInstrumentation, known_as

_WHOLE: Final = 4096
"""What a system writes in one piece, at least on Linux."""
_ROOM: Final = 1 << 20
_PATIENCE_SECONDS: Final = 1.0
_F_SETPIPE_SZ: Final = 1031


class _Pipe:
    def __init__(self) -> None:
        self.owner = os.getpid()
        self.reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.fcntl(writing, _F_SETPIPE_SZ, _ROOM)
        self.writing: int | None = writing
        threading.Thread(target=self._read, name="afterword-children", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Write one message; main may be busy for a while, but no task waits longer than a second for it."""
        for _ in range(2):
            if self.writing is None:
                break
            try:
                os.write(self.writing, data)
            except BlockingIOError:
                _wait_for_room(self.writing)
            except OSError:  # the main process is dead
                break
            else:
                return
        if once.first("pipe"):
            warn("the worker's main process does not listen: what its children publish is not counted")

    def reopen(self) -> None:
        """Get the writing end anew: this process has closed what it inherited, and may have reused its number."""
        try:
            self.writing = os.open(f"/proc/{self.owner}/fd/{self.writing}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # not on Linux
            self.writing = None

    def _read(self) -> None:
        left = b""
        while True:
            try:
                data = os.read(self.reading, 1 << 16)
            except OSError:
                return
            *lines, left = (left + data).split(b"\n")
            for line in lines:
                try:
                    _take(json.loads(line))
                except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
                    if once.first("what a child has done"):
                        log_fault(
                            "a message of a child of the worker cannot be counted; this is logged once", fault
                        )


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()  # select takes no descriptor above a thousand
    poll.register(descriptor, select.POLLOUT)
    poll.poll(_PATIENCE_SECONDS * 1000)


_pipe: _Pipe | None = None


def open_for_children() -> None:
    """Make the pipe, before the first child is forked."""
    global _pipe
    if _pipe is None or _pipe.owner != os.getpid():
        _pipe = _Pipe()


def reopen_in_child() -> None:
    """In a child that has closed what it inherited, get hold of the pipe again."""
    if _pipe is not None and in_child():
        _pipe.reopen()


def in_child() -> bool:
    """Return whether this process is a child of a prefork pool, whose main process counts."""
    return _pipe is not None and _pipe.owner != os.getpid()


def count(
    known: CeleryInstrumentation,
    what: str,
    run: TaskRun,
    detail: str | None = None,
    exc: BaseException | None = None,
) -> None:
    """Count something that is not the end of one of this worker's messages, here or in the main process."""
    pipe = _pipe
    if pipe is None or pipe.owner == os.getpid():
        _count(known, what, run, detail, exc)
        return
    pipe.write(_message(known.number, what, run, detail, exc))


def _count(
    known: CeleryInstrumentation, what: str, run: TaskRun, detail: str | None, exc: BaseException | None
) -> None:
    if what == PUBLISH:
        known.books.publish(run)
    elif what == PUBLISHED:
        known.books.published(run)
    elif what == FAIL:
        known.books.publish_failed(run, exc)
    elif what == SKIP:
        known.books.skip(run, detail or "")
    elif what in (EAGER, EAGER_AGAIN):  # it has run in the child already
        _replay(known, run, is_first=what == EAGER)


def _replay(known: CeleryInstrumentation, run: TaskRun, *, is_first: bool) -> None:
    books = known.books
    outcome, reason, duration = run.outcome, run.reason, run.duration
    run.outcome = run.reason = run.started_at = None
    if is_first:
        books.publish(run)
    books.begin(run)
    run.duration = duration
    if outcome is not None:
        books.close(run, outcome, reason, run.detail)
    elif reason is not None:
        books.give_back(run, reason, run.detail or "")


_TEXTS: Final = (
    *("id", "name", "function", semconv.KEY_DETAIL, "_destination"),
    *(semconv.KEY_ERROR_TYPE, semconv.KEY_TRACE_ID, semconv.KEY_SPAN_ID),
)
"""Attributes of a run; those that log lines have, too, are called alike."""
_NUMBERS: Final = (semconv.KEY_ATTEMPT, "duration", "_publish_time")
_OUTCOME: Final = "outcome"
PUBLISH: Final = "publish"
PUBLISHED: Final = "published"
FAIL: Final = "fail to publish"
SKIP: Final = "skip"
EAGER: Final = "eager"
EAGER_AGAIN: Final = "eager, again"
"""What is counted."""
_WHY: Final = semconv.KEY_REASON


def _message(app: int, what: str, run: TaskRun, detail: str | None, exc: BaseException | None) -> bytes:
    said: dict[str, Any] = {key: value for key in _TEXTS if isinstance(value := getattr(run, key), str)}
    said |= {"app": app, "what": what, **{key: getattr(run, key) for key in _NUMBERS}}
    if detail is not None:
        said["why"] = detail[:500]
    if exc is not None:
        said[semconv.KEY_ERROR_TYPE] = full_name(exc)
    if run.outcome is not None:
        said[_OUTCOME] = str(run.outcome)
    if run.reason is not None:
        said[_WHY] = str(run.reason)
    if run.request is not None:
        said["request"] = [run.request.method, run.request.route, run.request.request_id]
    data = _line(said)
    for key in ("request", "function", "why", semconv.KEY_DETAIL, "_destination", "id"):
        if len(data) <= _WHOLE:
            break
        said.pop(key, None)
        data = _line(said)
    return data


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"


def _take(said: dict[str, Any]) -> None:
    known = known_as(said["app"])
    if known is None:
        return
    request = said.get("request")
    run = TaskRun(
        said["name"],
        said.get("function", said["name"]),
        RequestInfo(*request) if request else None,
        0,
        is_async=False,
    )
    run.engine = CELERY
    for key in (*_TEXTS, *_NUMBERS):
        if said.get(key) is not None:
            setattr(run, key, said[key])
    if _OUTCOME in said:
        run.outcome = Outcome(said[_OUTCOME])
    if _WHY in said:
        run.reason = Reason(said[_WHY])
    try:
        _count(known, said["what"], run, said.get("why"), None)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        known.record_fault("counting what a child has done", fault)
