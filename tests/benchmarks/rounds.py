"""Interleaved rounds: every configuration is measured once a round, so that what drifts hits all alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tests.benchmarks.configurations import CONFIGURATIONS
from tests.benchmarks.figures import Figure, differences, figure, ratios, slopes
from tests.benchmarks.processes import BrokenWorkerError, Process, workers

TASKS = 10
KINDS = ("async", "sync", "direct-async", "direct-sync")


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    requests: int
    """Requests with ten tasks a round; requests without are as many times as often as they are cheaper."""


class Costs:
    """What a task added, for each configuration, round by round, in microseconds of CPU time."""

    def __init__(self) -> None:
        self.slopes: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.wall: dict[tuple[str, str], list[float]] = defaultdict(list)

    def added(self, kind: str, name: str, *, wall: bool = False) -> list[float]:
        """Return what observing a task adds to calling it, round by round."""
        table = self.wall if wall else self.slopes
        return differences(table[kind, name], table[kind, "bare"])

    def figure(self, kind: str, name: str) -> Figure | None:
        """Return what observing a task adds; ``None`` if that was not measured."""
        return figure(self.added(kind, name)) if self.slopes.get((kind, name)) else None

    def ratio(self, kind: str, name: str, base: str) -> Figure | None:
        """Return how many times another configuration's added cost one has; the ratio of each round."""
        if not self.slopes.get((kind, name)) or not self.slopes.get((kind, base)):
            return None
        return figure(ratios(self.added(kind, name), self.added(kind, base)))


def check(processes: dict[str, Process], paths: list[str], problems: dict[str, str]) -> None:
    """Ask every worker once, and leave out those that do not work here."""
    for name, process in list(processes.items()):
        try:
            statuses = {process.do("check", path=path) for path in paths}
        except BrokenWorkerError as exc:
            statuses = {str(exc)}
        if statuses != {200}:
            problems[name] = f"does not work: {statuses}"
            processes.pop(name).close()


def _kinds_of(name: str) -> tuple[str, ...]:
    with_threads = name in ("bare", "hand", "afterword") or CONFIGURATIONS[name].environment != "own"
    return KINDS if with_threads else ("async",)


def tasks_round(processes: dict[str, Process], kind: str, requests: int) -> Iterator[tuple[str, float, float]]:
    """Measure one kind of task in every configuration once."""
    for name, process in processes.items():
        if kind in _kinds_of(name):
            paths, times = [f"/{kind}/0", f"/{kind}/{TASKS}"], [2 * requests, requests]
            none, many = process.do("measure", paths=paths, times=times)
            yield (
                name,
                *(slopes([none[clock]], [many[clock]], TASKS)[0] for clock in ("cpu", "wall")),
            )


def measure_tasks(pythons: dict[str, str], plan: Plan, problems: dict[str, str]) -> Costs:
    """Measure what a task costs, in all configurations."""
    costs = Costs()
    with workers(pythons) as processes:
        check(processes, [f"/{kind}/{TASKS}" for kind in KINDS], problems)
        for kind in KINDS:  # warm up
            list(tasks_round(processes, kind, plan.requests))
        for number in range(plan.rounds):
            for kind in KINDS:
                if kind != "async" and number % 3:
                    continue  # the kinds beside the main one are measured in every third round
                for name, cpu, wall in tasks_round(processes, kind, plan.requests):
                    costs.slopes[kind, name].append(cpu)
                    costs.wall[kind, name].append(wall)
    return costs
