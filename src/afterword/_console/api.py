"""The JSON API: what is asked for by a path and its parameters, and the view that answers it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from .._common import semconv
from .._common.model import CELERY, LOST, RETURNED, STARLETTE, STATE_PENDING, STATE_RUNNING, Outcome
from .._ledger.journal import lines
from .._ledger.journal.history import Filter
from .._views import causes, now, requests, runs, summary, tasks
from .._views.account import Accounts
from .._views.checks import Threads
from .._views.reader import Reader
from .answers import error, json_answer
from .parameters import Parameters, WrongError
from .reading import Answers, Considerate

_OUTCOMES: Final = (*map(str, Outcome), LOST, RETURNED)
_ENGINES: Final = (STARLETTE, CELERY)
_STATES: Final = (STATE_PENDING, STATE_RUNNING, LOST)
_HOUR: Final = 3600.0
_RUN: Final = re.compile(r"[\w.:@+=~-]{1,200}")
_ID: Final = (
    "the id of a run is taken, or its beginning, 8 characters or more: letters, digits and . : @ + = ~ - _"
)
PLACE: Final = "{trace_id}"
"""Where the address of a trace has its id."""

SINCE: Final = "since"
ROUTE: Final = "route"
TRACE: Final = "trace"
LIMIT: Final = "limit"
CURSOR: Final = "cursor"
"""Parameters besides those that are called as the keys of a run."""

Question = Callable[[Reader, Parameters], Any]


class MissingError(Exception):
    """There is nothing that is asked for."""


def _causes(reader: Reader, given: Parameters) -> Any:
    return causes.view(
        reader,
        given.seconds(SINCE, _HOUR),
        outcomes=given.one_of(lines.OUTCOME, _OUTCOMES),
        task=given.text(semconv.KEY_TASK),
        route=given.text(ROUTE),
        limit=given.count(LIMIT, 100),
    )


def _tasks(reader: Reader, given: Parameters) -> Any:
    return tasks.view(reader, given.seconds(SINCE, _HOUR))


def _requests(reader: Reader, given: Parameters) -> Any:
    return requests.view(
        reader,
        given.seconds(SINCE, _HOUR),
        limit=given.count(LIMIT, 50),
        task=given.text(semconv.KEY_TASK),
        route=given.text(ROUTE),
    )


def _runs(reader: Reader, given: Parameters) -> Any:
    since = given.seconds(SINCE, 0.0)
    outcomes, engines = given.one_of(lines.OUTCOME, _OUTCOMES), given.one_of(lines.ENGINE, _ENGINES)
    wanted = Filter(
        outcomes=outcomes,
        attempts=RETURNED in outcomes,
        engine=engines[0] if len(engines) == 1 else None,
        task=given.text(semconv.KEY_TASK),
        route=given.text(ROUTE),
        trace=given.text(TRACE),
        reason=given.text(semconv.KEY_REASON),
        error_type=given.text(semconv.KEY_ERROR_TYPE),
        since=time.time() - since if since else None,
    )
    states, limit, cursor = given.one_of(lines.STATE, _STATES), given.count(LIMIT, 50), given.text(CURSOR)
    try:
        return runs.page(reader, wanted, states=states, limit=limit, cursor=cursor)
    except ValueError as wrong:
        raise WrongError("cursor: what 'next' of the page before says is taken") from wrong


def _now(reader: Reader, given: Parameters) -> Any:
    return now.view(reader, given.text(semconv.KEY_TASK))


_SUMMARY: Final = "summary"
_QUESTIONS: Final[dict[str, tuple[tuple[str, ...], Question]]] = {
    "causes": ((SINCE, lines.OUTCOME, semconv.KEY_TASK, ROUTE, LIMIT), _causes),
    "tasks": ((SINCE,), _tasks),
    "requests": ((SINCE, LIMIT, semconv.KEY_TASK, ROUTE), _requests),
    "runs": (
        (
            *(
                lines.OUTCOME,
                lines.STATE,
                semconv.KEY_TASK,
                ROUTE,
                semconv.KEY_REASON,
                semconv.KEY_ERROR_TYPE,
                lines.ENGINE,
                TRACE,
                SINCE,
            ),
            *(LIMIT, CURSOR),
        ),
        _runs,
    ),
    "now": ((semconv.KEY_TASK,), _now),
}
_KNOWN: Final = ", ".join([_SUMMARY, *_QUESTIONS, "runs/ID", "events"])


class Api:
    """Answers questions about the runs of a reader.

    ``trace_url`` is the address of a trace, with ``{trace_id}`` where its id belongs. ``accounts`` returns the
    account that the application publishes, ``threads`` the use of its worker threads; ``prepare`` is called on the
    event loop before something is read in a thread.
    """

    def __init__(
        self,
        reader: Reader,
        trace_url: str | None,
        *,
        accounts: Callable[[], Accounts | None],
        threads: Callable[[], Threads | None],
        prepare: Callable[[], object],
    ) -> None:
        self._reader = Considerate(reader)
        self._trace_url = trace_url
        self._accounts = accounts
        self._threads = threads
        self._prepare = prepare
        self._answers = Answers()

    async def answer(self, name: str, query: bytes) -> Response:
        """Return the answer to a question; raises what reading raises."""
        self._prepare()
        try:
            question = self._question(name, query)
            return json_answer(await self._answers.get((name, query), question))
        except WrongError as wrong:
            return error(400, str(wrong))
        except MissingError as missing:
            return error(404, str(missing))

    def _question(self, name: str, query: bytes) -> Callable[[], Any]:
        kind, _, run = name.partition("/")
        if run and kind == "runs":
            if not _RUN.fullmatch(run):
                raise WrongError(_ID)
            Parameters(query, ())
            return lambda: self._one(run)
        if name == _SUMMARY:
            since = Parameters(query, (SINCE,)).seconds(SINCE, _HOUR)
            return lambda: self._summary(since)
        takes, view = _QUESTIONS.get(name, ((), None))
        if view is None:
            raise MissingError(f"there is no such question; there are {_KNOWN}")
        given = Parameters(query, takes)
        return lambda: view(self._reader, given)

    def _summary(self, since: float) -> Any:
        return summary.view(self._reader, since, metrics=self._accounts, threads=self._threads)

    def _one(self, run: str) -> Any:
        found = runs.one(self._reader, run)
        if found is None:
            raise MissingError("there is no such run: it was never there, or too long ago to be kept")
        trace = found["run"].get(semconv.KEY_TRACE_ID)
        if self._trace_url is not None and trace:
            found["trace_url"] = self._trace_url.replace(PLACE, quote(trace, safe=""))
        return found
