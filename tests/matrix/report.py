"""RESULTS.md: the tables that are made of what came of the cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.matrix import cells
from tests.matrix.celery.scenarios import SCENARIOS as CELERY_SCENARIOS
from tests.matrix.cell import Cell
from tests.matrix.known import KNOWN
from tests.matrix.results import Result
from tests.matrix.scenarios import SCENARIOS
from tests.matrix.servers import SERVERS

_NOT_YET = Result("", not_run="not yet")
TABLE = Path(__file__).with_name("RESULTS.md")

_ACTS = ("together", "removed in the middle", "removed", "again")
_PEER_ACTS = ("peer removed", "peer removed, then ours")
_CELERY_ACTS = ("the application", "the account", "the peer")
_PEERS = {
    "native-off": ("FastAPI's telemetry, off", "fastapi"),
    "native": ("FastAPI's telemetry", "fastapi"),
    "native-own-providers": ("FastAPI's telemetry, providers of its own", "fastapi"),
    "contrib": ("OpenTelemetry contrib FastAPI", "opentelemetry-instrumentation-fastapi"),
    "contrib-own-provider": ("the same, a provider of its own", "opentelemetry-instrumentation-fastapi"),
    "contrib-asgi": ("OpenTelemetry contrib ASGI", "opentelemetry-instrumentation-asgi"),
    "logfire": ("Logfire", "logfire"),
    "sentry": ("Sentry", "sentry-sdk"),
    "datadog": ("Datadog", "ddtrace"),
    "newrelic": ("New Relic", "newrelic"),
    "instrumentator": ("prometheus-fastapi-instrumentator", "prometheus-fastapi-instrumentator"),
    "correlation-id": ("asgi-correlation-id", "asgi-correlation-id"),
}
"""What a peer is called, and the package whose version is told."""

_OF_CELERY = ("python", "celery", "kombu", "billiard", "redis", "opentelemetry-sdk")
_SHARED = ("python", "fastapi", "starlette", "uvicorn", "opentelemetry-sdk", "prometheus-client", "structlog")
TOLD = {
    *_SHARED,
    *_OF_CELERY,
    *("uvicorn-worker", "httptools", "h11", "uvloop", "hypercorn", "trio", "gunicorn", "anyio"),
    *(package for _, package in _PEERS.values()),
}
"""The packages whose versions are kept."""

_INTRODUCTION = """\
# Beside other tools, and on every runtime

By `make matrix`; a part of it by `make matrix CELLS=logfire,trio`. Each cell is a real server on loopback in an
environment of its own, with no other network where the machine allows that. It plays the scenarios below with
Afterword and without, and a column says `yes` where all of this holds:

- the application behaves as without Afterword: the same answers to the byte, the same deeds in the same order, the
  same exceptions at the server;
- the account is exact in the observer, the scrape, the OpenTelemetry metrics, the spans and the log, and the law
  holds;
- each run has one span, ours or an adopted one, and no other OpenTelemetry span of a task is left beside it;
- every task has its function's own name, whoever wrapped the function;
- taken out, Afterword leaves no hook in any class but under another tool's patch, where it only passes calls on;
- the peer says of the requests and, in its own way, of the tasks what it says without Afterword.

The columns are the acts of one process, in order: Afterword and the peer **together**; Afterword taken out **while
a task runs**, with another one waiting behind it (both are still accounted for); **taken out**; put in **again**.
Where the peer can be taken out, a second process takes **the peer out first**, and **then Afterword**."""
_CELERY_INTRODUCTION = f"""\
Both play {len(CELERY_SCENARIOS)} situations, one after the other: each way in which a task can end there,
retries, limits, killed processes, chains and chords ([scenarios](celery/scenarios.py)); with the peer, with
Afterword, and with both. A column says `yes` where both together are as one of them alone: **the application** in
how each task ended for Celery, and in what it did; **the account** in our metrics, spans and lines, and the law
holds; **the peer** in what it says of tasks (events, transactions, spans), and it says something. Commands to
Redis are not compared: a task that is acknowledged late and is delivered again has one more, which is ours."""
_LIMITS = """\
## What is not run here

- Cancellation at a shutdown and clients that go away: the scenarios of `tests/scenarios` hold those, with
  FastAPI's and contrib's telemetry.
- Other pools than prefork beside Sentry and Datadog, and workers beside New Relic and Logfire.
- Packages that are half installed, so that their import fails: `tests/unit/test_unknown_versions.py`.
- What a vendor's own agent or backend adds: their output is caught in the process.
- The metrics and logs of FastAPI's own telemetry, and New Relic's and Datadog's metrics, are not compared.
- Taking out Sentry, New Relic, and middleware: they offer no way.

## What to know of a peer

- ddtrace 4.16.0 never runs a callable object with an async `__call__` that was added with `add_task`. Its wrapper
  returns as if it had, so Afterword, which sees the wrapper return, says `succeeded` as ddtrace's own span does.
- A sync task that was added with `add_task` beside ddtrace gets its thread from ddtrace's wrapper: the wait for
  that thread is in its duration.
- New Relic 14.1.0 wraps a module-level `BackgroundTask` anew on every call, so that each request takes twice as
  long as the one before. The scenarios call theirs a few times only."""


def text(results: dict[str, Result]) -> str:
    """Return what RESULTS.md is to say."""
    return "\n".join(_lines(results)).rstrip() + "\n"


def _lines(results: dict[str, Result]) -> Iterator[str]:
    notes: list[str] = []
    yield _INTRODUCTION
    yield ""
    yield _summary(results)
    yield ""
    yield from _peers(results, notes)
    yield from _celery(results, notes)
    yield from _runtimes(results, notes)
    yield from (f"{number}. {note}" for number, note in enumerate(notes, 1))
    yield ""
    yield _LIMITS
    yield ""
    yield from _scenarios()


def _summary(results: dict[str, Result]) -> str:
    counts: Counter[str] = Counter()
    for cell in cells.selected([]):
        acts = (*_ACTS, *_PEER_ACTS) if cell.removable else _CELERY_ACTS if cell.kind == "celery" else _ACTS
        told = _acts(cell, results.get(cell.name, _NOT_YET), acts, [])
        counts.update(each.partition(" [")[0] for each in told)
    order = ("yes", "known", "**no**", "not run", "–")
    told = ", ".join(f"{counts[each]} {each}" for each in order if counts[each])
    number = len(cells.selected([]))
    return f"In {number} cells: {told}. `known` fails through no fault of Afterword, for the reason below."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _peers(results: dict[str, Result], notes: list[str]) -> Iterator[str]:
    peers = cells.peers()
    yield "## Peers"
    yield ""
    shared = _shared_versions([results[cell.name] for cell in peers if cell.name in results])
    yield f"On uvicorn with h11 and asyncio: {shared}."
    yield ""
    yield (
        "“Says” is what the peer says by itself of one round of the scenarios: statements of its own (events, "
        "transactions, spans, counts), and OpenTelemetry spans of tasks and of the rest."
    )
    yield ""
    rows = []
    for cell in peers:
        result = results.get(cell.name, _NOT_YET)
        label, package = _PEERS[cell.peer]
        peer = label if label == package else f"{label}: {package}"
        rows.append(
            [
                f"{peer} {result.versions.get(package, '')}",
                "after ours" if cell.late else "before ours",
                _said(result),
                *_acts(cell, result, (*_ACTS, *_PEER_ACTS), notes),
                result.on,
            ]
        )
    acts = ("together", "while a task runs", "taken out", "again", "the peer out first", "then Afterword")
    yield from _table(["peer", "comes", "says", *acts, "run on"], rows)


def _celery(results: dict[str, Result], notes: list[str]) -> Iterator[str]:
    yield "## Celery workers"
    yield ""
    of_celery = cells.celery()
    shared = _shared_versions([results[cell.name] for cell in of_celery if cell.name in results], _OF_CELERY)
    yield f"A prefork worker on Redis, and a process that publishes to it: {shared}."
    yield ""
    yield from _CELERY_INTRODUCTION.splitlines()
    yield ""
    rows = []
    for cell in of_celery:
        result = results.get(cell.name, _NOT_YET)
        label, package = _PEERS[cell.peer]
        rows.append(
            [
                f"{label}: {package} {result.versions.get(package, '')}",
                "after ours" if cell.late else "before ours",
                _said(result),
                *_acts(cell, result, _CELERY_ACTS, notes),
                result.on,
            ]
        )
    yield from _table(["peer", "comes", "says", *_CELERY_ACTS, "run on"], rows)


def _shared_versions(results: Iterable[Result], names: Iterable[str] = _SHARED) -> str:
    told = []
    for name in names:
        found = sorted({result.versions[name] for result in results if name in result.versions})
        told.append(f"{name} {' and '.join(found)}")
    return ", ".join(told)


def _said(result: Result) -> str:
    return " / ".join(str(count) for count in result.said.values()) or "–"


def _runtimes(results: dict[str, Result], notes: list[str]) -> Iterator[str]:
    yield "## Runtimes"
    yield ""
    rows = []
    for cell in cells.runtimes():
        result = results.get(cell.name, _NOT_YET)
        versions = result.versions
        parts = [*SERVERS[cell.server].label.split(", "), *(["eager tasks"] if cell.eager else [])]
        rows.append(
            [
                versions.get("python", cell.environment.partition("/")[2]),
                "–" if cell.kind == "starlette" else versions.get("fastapi", ""),
                versions.get("starlette", ""),
                ", ".join(f"{part} {versions.get(part, '')}".strip() for part in parts),
                *_acts(cell, result, _ACTS, notes),
                result.on,
            ]
        )
    acts = ("running", "while a task runs", "taken out", "again")
    yield from _table(["Python", "FastAPI", "Starlette", "server", *acts, "run on"], rows)


def _acts(cell: Cell, result: Result, acts: Iterable[str], notes: list[str]) -> Iterator[str]:
    for act in acts:
        problems = result.acts.get(act)
        if result.not_run:
            yield _with_note("not run", f"Not run: {result.not_run}.", notes)
        elif result.broken:
            yield _with_note("**no**", f"`{cell.name}` did not get through: {result.broken}", notes)
        elif problems is None:
            yield "–"
        elif not problems:
            yield "yes"
        elif unknown := [f"{what}: {told}" for what, told in problems.items() if not result.known(act, what)]:
            yield _with_note("**no**", f"`{cell.name}`, {act}: {'; '.join(unknown)}", notes)
        else:
            yield _with_note("known", KNOWN[cell.name, act].reason, notes)


def _with_note(text: str, note: str, notes: list[str]) -> str:
    note = " ".join(note.split())
    if note not in notes:
        notes.append(note)
    return f"{text} [{notes.index(note) + 1}]"


def _scenarios() -> Iterator[str]:
    yield "## The scenarios"
    yield ""
    rows = []
    for scenario in SCENARIOS:
        outcomes = [str(getattr(expected, "outcome", "a failed request")) for expected in scenario.expected]
        rows.append([f"`{scenario.path}`", scenario.what, ", ".join(outcomes), "" if scenario.starlette else "no"])
    yield from _table(["request", "what", "told", "also with Starlette alone"], rows)
