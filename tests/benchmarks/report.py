"""The tables: the goals first, then every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.benchmarks.configurations import CONFIGURATIONS, PAIRS, PEERS
from tests.benchmarks.figures import Figure
from tests.benchmarks.results import Results
from tests.benchmarks.rounds import KINDS

NOT_MEASURED = "not measured"


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
    """Return the goals, with what was measured; the ratios are those of each round."""
    costs, requests, served = results.costs, results.requests, results.served

    def against(name: str, base: str) -> Figure | None:
        return costs.ratio("async", name, base)

    return [
        Goal("full output with Prometheus ÷ hand-written", 0.70, against("afterword", "hand")),
        Goal(
            "full output with OpenTelemetry metrics ÷ hand-written", 0.70, against("afterword-otel", "hand-otel")
        ),
        Goal("trace not sampled ÷ hand-written", 0.65, against("afterword-unsampled", "hand-unsampled")),
        Goal(
            "native span adopted ÷ native span and hand-written",
            0.65,
            against("afterword-native", "hand-native"),
        ),
        Goal("full output ÷ Datadog's two spans, written", 0.75, against("afterword", "datadog-writing")),
        Goal("full output ÷ Datadog's two spans, dropped unwritten", 0.75, against("afterword", "datadog")),
        Goal("un-instrumented beside, request without tasks ÷ bare", 1.02, requests.get("beside, no tasks")),
        Goal("un-instrumented beside, request with 10 tasks ÷ bare", 1.02, requests.get("beside, 10 tasks")),
        Goal("request without tasks ÷ bare, in process", 1.05, requests.get("instrumented, no tasks")),
        Goal("request without tasks ÷ bare, uvicorn, server's CPU", 1.05, served.get("cpu")),
        Goal("request without tasks ÷ bare, uvicorn, client's clock", 1.05, served.get("wall")),
        Goal("10,000 tasks in flight ÷ 1 in flight, per task", 1.10, results.in_flight_ratio),
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
        ["goal: ratio in one run", "at most", "median [quartiles]", "kept"],
        [[goal.what, f"{goal.bound:.2f}", _text(goal.figure, 3), goal.verdict] for goal in goals(results)],
    )
    yield from _costs(results)
    yield from _instructions(results)
    yield from _growth(results)
    for name, problem in results.problems.items():
        yield f"{name}: {problem}"


def report(results: Results) -> str:
    """Return all tables, in Markdown."""
    return "\n".join(_lines(results)).rstrip() + "\n"
