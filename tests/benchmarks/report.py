"""The tables: the goals first, then every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.benchmarks.configurations import CONFIGURATIONS, PAIRS, PEERS
from tests.benchmarks.figures import Figure, exactly
from tests.benchmarks.results import Results
from tests.benchmarks.rounds import KINDS, TASKS

NOT_MEASURED = "not measured"

_HAND = "instructions: full output ÷ the hand-written equivalent"
_LEAN = "instructions: full output ÷ a lean hand-written wrapper"
_METRICS = "instructions: the account and metrics ÷ that lean wrapper"
_REQUEST = "instructions: request without tasks ÷ bare"
_BESIDE = "instructions: un-instrumented beside, request ÷ bare"
_BESIDE_TASKS = "instructions: un-instrumented beside, request with 10 tasks ÷ bare"
_IN_FLIGHT = "CPU time: 10,000 tasks in flight ÷ 1 in flight, per task"
_MEMORY = "memory of a task in flight, kB"

BEFORE = {
    _HAND: "0.785",
    _LEAN: "1.144",
    _METRICS: "0.264",
    _REQUEST: "1.164",
    _BESIDE: "1.036",
    _BESIDE_TASKS: "1.180",
    _IN_FLIGHT: "1.035",
    _MEMORY: "9.7",
}
"""What was measured so in November 2026, on the commit before the way was made shorter (README.md)."""


class Goal(NamedTuple):
    """A ratio that is to stay below a bound."""

    what: str
    bound: float
    figure: Figure | None

    @property
    def verdict(self) -> str:
        """Whether the median keeps the bound."""
        if self.figure is None:
            return NOT_MEASURED
        return "yes" if self.figure.median <= self.bound else "no"


def goals(results: Results) -> list[Goal]:
    """Return the goals, with what was measured: in instructions, which do not drift, where that can be counted."""
    counts, costs = results.counts, results.costs

    def added(name: str, base: str) -> Figure | None:
        """Return what a task adds to a bare one, over what it adds in another configuration."""
        if name not in counts or base not in counts:
            return None
        bare = counts["bare"].instructions
        return exactly((counts[name].instructions - bare) / (counts[base].instructions - bare))

    def request(name: str, tasks: int) -> Figure | None:
        """Return a request with so many tasks, over the same of a bare application."""
        if name not in counts:
            return None
        mine, bare = (counts[who].request + tasks * counts[who].instructions for who in (name, "bare"))
        return exactly(mine / bare)

    kept = results.memory.get("afterword")
    return [
        Goal(_HAND, 0.68, added("afterword", "hand")),
        Goal(_LEAN, 0.95, added("afterword", "lean")),
        Goal(_METRICS, 0.20, added("afterword-metrics", "lean")),
        Goal(_REQUEST, 1.08, request("afterword", 0)),
        Goal(_BESIDE, 1.02, request("toggled", 0)),
        Goal(_BESIDE_TASKS, 1.15, request("toggled", TASKS)),
        Goal(_IN_FLIGHT, 1.05, results.in_flight_ratio),
        Goal(_MEMORY, 6.5, None if kept is None else exactly(kept / 1000)),
        Goal("CPU time: ours ÷ Logfire's span and metrics", 1.0, costs.ratio("async", "afterword", "logfire")),
        Goal("CPU time: ours ÷ New Relic", 1.0, costs.ratio("async", "afterword", "newrelic")),
        Goal(
            "CPU time: ours ÷ Datadog with its writer", 1.0, costs.ratio("async", "afterword", "datadog-writing")
        ),
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def _text(found: Figure | None, digits: int = 1) -> str:
    return "–" if found is None else found.text(digits)


def _instructions(results: Results) -> Iterator[str]:
    counts = results.counts
    if not counts:
        return
    bare = counts["bare"]
    hand = counts["hand"].instructions - bare.instructions
    rows = [
        [
            CONFIGURATIONS[name].label,
            f"{found.instructions:,.0f}",
            f"{found.instructions - bare.instructions:,.0f}",
            f"{(found.instructions - bare.instructions) / hand:.3f}",
            f"{found.allocations:,.0f}",
            f"{found.request:,.0f}",
            f"{found.request / bare.request:.3f}",
        ]
        for name, found in counts.items()
    ]
    yield "## Instructions and allocations of one async task"
    yield ""
    yield "Counted by callgrind: they do not drift with the machine's load. Allocations are calls to `malloc`."
    yield ""
    head = ["a task", "added to bare", "÷ by hand", "allocations", "a request without tasks", "÷ bare"]
    yield from _table(["", *head], rows)


def _costs(results: Results) -> Iterator[str]:
    costs = results.costs
    measured = {name for _, name in costs.slopes} - {"bare"}
    rows = []
    for name in [f"{who}{pair}" for pair in PAIRS for who in ("hand", "afterword")] + list(PEERS):
        label = CONFIGURATIONS[name].label
        if name in results.problems or name not in measured:
            rows.append([label, results.problems.get(name, NOT_MEASURED), *[""] * len(KINDS)])
            continue
        figures = [_text(costs.figure(kind, name)) for kind in KINDS]
        rows.append([label, *figures, _text(costs.ratio("async", name, "hand"), 2)])
    yield "## What a task adds, µs of CPU time"
    yield ""
    yield (
        "Request level: the difference between a request with 10 tasks and one without, over 10, less the same of "
        "a bare application. Direct: tasks called one by one in an endpoint. Median [quartiles] of the rounds."
    )
    yield ""
    yield from _table(["", "request, async", "request, sync", "direct, async", "direct, sync", "÷ by hand"], rows)


def _growth(results: Results) -> Iterator[str]:
    yield "## Growth and the rest"
    yield ""
    rows: list[list[str]] = []
    for what, figures in (
        ("tasks in flight", results.in_flight),
        ("different names", results.names),
        ("observers of the user's", results.observers),
    ):
        rows += [[f"{count:,} {what}, µs added per task", _text(found)] for count, found in figures.items()]
    rows += [[f"scrape, {name}, ms", _text(found, 2)] for name, found in results.scrapes.items()]
    rows += [[f"request, {name}", _text(found, 3)] for name, found in results.requests.items()]
    rows += [
        [f"memory of a task in flight, {CONFIGURATIONS[name].label}, bytes added", f"{value:,.0f}"]
        for name, value in results.memory.items()
    ]
    if results.ever_run:
        rows.append([f"blocks of memory that {results.ever_run:,} tasks left behind", f"{results.left_behind:,}"])
    yield from _table(["", "median [quartiles]"], rows)


def _lines(results: Results) -> Iterator[str]:
    yield "# What a background task costs"
    yield ""
    yield f"{results.surroundings}."
    if results.versions:
        yield "Peers: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()) + "."
    plan = results.plan
    yield f"{plan.rounds} interleaved rounds of {plan.requests} requests with 10 tasks. By `make bench`."
    yield ""
    yield from _table(
        ["goal", "at most", "before", "measured", "kept"],
        [
            [goal.what, f"{goal.bound:.2f}", BEFORE.get(goal.what, "–"), _text(goal.figure, 3), goal.verdict]
            for goal in goals(results)
        ],
    )
    yield from _costs(results)
    yield from _instructions(results)
    yield from _growth(results)
    for name, problem in results.problems.items():
        yield f"{name}: {problem}"


def report(results: Results) -> str:
    """Return all tables, in Markdown."""
    return "\n".join(_lines(results)).rstrip() + "\n"
