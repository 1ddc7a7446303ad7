"""How the cost grows: with tasks in flight, names, observers; requests without tasks; scrapes; memory."""

from __future__ import annotations

import sys
from collections import defaultdict

from tests.benchmarks.figures import Figure, differences, figure, ratios, slopes
from tests.benchmarks.processes import Process, workers
from tests.benchmarks.rounds import TASKS, Plan

NAMES = (1, 10, 100, 200)
IN_FLIGHT = (1, 100, 10_000)
Rows = dict[str, list[float]]


def _slope(process: Process, prefix: str, requests: int) -> float:
    paths = [f"{prefix}/0", f"{prefix}/{TASKS}"]
    none, many = process.do("measure", paths=paths, times=[2 * requests, requests])
    return slopes([none["cpu"]], [many["cpu"]], TASKS)[0]


def in_flight(plan: Plan) -> tuple[dict[int, Figure], Figure]:
    """Return the added cost of a task with others in flight, and that with most over that with least.

    Each number of tasks in flight has processes of its own, bare and observed.
    """
    started = [(name, count, Process(name)) for count in IN_FLIGHT for name in ("bare", "afterword")]
    rows: dict[tuple[str, int], list[float]] = defaultdict(list)
    try:
        for _, count, process in started:
            process.do("hold", count=count)
        for number in range(plan.rounds + 1):
            for name, count, process in started:
                slope = _slope(process, "/async", plan.requests)
                if number:  # the first one warms up
                    rows[name, count].append(slope)
    finally:
        for _, _, process in started:
            process.close()
    added = {count: differences(rows["afterword", count], rows["bare", count]) for count in IN_FLIGHT}
    figures = {count: figure(values) for count, values in added.items()}
    return figures, figure(ratios(added[IN_FLIGHT[-1]], added[IN_FLIGHT[0]]))


def names(plan: Plan) -> dict[int, Figure]:
    """Return the added cost of a task in an application with so many different ones."""
    rows: dict[int, list[float]] = defaultdict(list)
    with workers({"bare": sys.executable, "afterword": sys.executable}) as processes:
        for number in range(plan.rounds + 1):
            for count in NAMES:
                cost = [
                    _slope(processes[name], f"/names/{count}", plan.requests) for name in ("afterword", "bare")
                ]
                if number:
                    rows[count].append(cost[0] - cost[1])
    return {count: figure(values) for count, values in rows.items()}


def observers(plan: Plan) -> dict[int, Figure]:
    """Return the added cost of a task with so many observers of the user's."""
    by_name = {"afterword": 0, "afterword-observers-1": 1, "afterword-observers-10": 10}
    rows: dict[str, list[float]] = defaultdict(list)
    with workers(dict.fromkeys(["bare", *by_name], sys.executable)) as processes:
        for number in range(plan.rounds + 1):
            for name, process in processes.items():
                slope = _slope(process, "/async", plan.requests)
                if number:
                    rows[name].append(slope)
    return {count: figure(differences(rows[name], rows["bare"])) for name, count in by_name.items()}


def requests(plan: Plan) -> dict[str, Figure]:
    """Return an application's requests over the same, bare: with our hooks beside it, and in it."""
    rows: Rows = defaultdict(list)
    times = 10 * plan.requests
    with workers({"toggled": sys.executable}) as processes:
        for number in range(plan.rounds + 1):
            paths = ["/async/0", f"/async/{TASKS}"]
            modes = processes["toggled"].do("modes", paths=paths, times=[times, times])
            if not number:
                continue
            bare = modes["bare"]
            rows["instrumented, no tasks, µs added"].append(modes["instrumented"][0]["cpu"] - bare[0]["cpu"])
            rows["instrumented, no tasks"].append(modes["instrumented"][0]["cpu"] / bare[0]["cpu"])
            rows["beside, no tasks"].append(modes["beside"][0]["cpu"] / bare[0]["cpu"])
            rows["beside, 10 tasks"].append(modes["beside"][1]["cpu"] / bare[1]["cpu"])
    return {name: figure(values) for name, values in rows.items()}


def scrapes(plan: Plan) -> dict[str, Figure]:
    """Return the milliseconds of a scrape, by hand and Afterword's, with few names and with many."""
    rows: Rows = defaultdict(list)
    with workers({"hand-scrape": sys.executable, "afterword-scrape": sys.executable}) as processes:
        for count in (1, 100):
            for process in processes.values():
                process.do("check", path=f"/names/{count}/{count}")
            for _ in range(plan.rounds):
                for name, process in processes.items():
                    [cost] = process.do("measure", paths=["/metrics"], times=[5])
                    rows[f"{name.removesuffix('-scrape')}, {count} names"].append(cost["wall"] / 1000)
    return {name: figure(values) for name, values in rows.items()}


def left_behind(tasks: int) -> int:
    """Return how many blocks of memory are taken after so many tasks that were not after the first of them."""
    requests = tasks // TASKS
    with workers({"afterword": sys.executable}) as processes:
        process = processes["afterword"]
        process.do("measure", paths=[f"/async/{TASKS}"], times=[requests // 100])
        before = process.do("blocks")
        process.do("measure", paths=[f"/async/{TASKS}"], times=[requests])
        return int(process.do("blocks") - before)


def memory() -> dict[str, float]:
    """Return the bytes that one task in flight takes beyond a bare one."""
    names = ["bare", "hand", "afterword"]
    with workers(dict.fromkeys(names, sys.executable)) as processes:
        taken = {name: process.do("memory", count=500) for name, process in processes.items()}
    return {name: value - taken["bare"] for name, value in taken.items() if name != "bare"}
