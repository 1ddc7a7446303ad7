"""Everything that one run has measured."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import growth, instructions, serving
from tests.benchmarks.configurations import CONFIGURATIONS, PAIRS, PEERS
from tests.benchmarks.environments import ensure, package_of
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import BrokenWorkerError, Process
from tests.benchmarks.rounds import Costs, Plan, measure_tasks

_PACKAGES = (
    "afterword",
    "fastapi",
    "starlette",
    "opentelemetry-sdk",
    "prometheus-client",
    "structlog",
    "uvicorn",
)


@dataclass
class Results:
    """The figures, and what could not be measured."""

    plan: Plan
    problems: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    counts: dict[str, instructions.Count] = field(default_factory=dict)
    in_flight: dict[int, Figure] = field(default_factory=dict)
    in_flight_ratio: Figure | None = None
    names: dict[int, Figure] = field(default_factory=dict)
    observers: dict[int, Figure] = field(default_factory=dict)
    requests: dict[str, Figure] = field(default_factory=dict)
    served: dict[str, Figure] = field(default_factory=dict)
    scrapes: dict[str, Figure] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    ever_run: int = 0
    left_behind: int = 0
    """Blocks of memory, after as many tasks as were ever run."""

    @property
    def surroundings(self) -> str:
        """Where and when this was measured."""
        packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        load = os.getloadavg()[0]
        return (
            f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {_processor()}, "
            f"{os.cpu_count()} cores, load {load:.1f} at the end; {packages}"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure(plan: Plan, *, peers: bool = True, quick: bool = False) -> Results:
    """Measure everything."""
    results = Results(plan)
    pythons = dict.fromkeys(["bare", *(f"{who}{pair}" for pair in PAIRS for who in ("hand", "afterword"))], "")
    for name in PEERS if peers else ():
        _add_peer(name, pythons, results)
    pythons = {name: python or sys.executable for name, python in pythons.items()}
    # plans for what is not the main table
    fewer = plan._replace(rounds=max(4, plan.rounds // 3))
    _say(f"tasks, in {len(pythons)} configurations")
    results.costs = measure_tasks(pythons, plan, results.problems)
    if instructions.available():
        _say("instructions")
        results.counts = instructions.count(quick=quick)
    else:
        results.problems["instructions"] = "valgrind is not installed"
    _say("requests without tasks")
    results.requests = growth.requests(plan)
    results.served = serving.served(plan)
    _say("growth")
    results.in_flight, results.in_flight_ratio = growth.in_flight(fewer)
    results.names = growth.names(fewer)
    results.observers = growth.observers(fewer)
    _say("scrapes and memory")
    results.scrapes = growth.scrapes(fewer)
    results.memory = growth.memory()
    results.ever_run = 20_000 if quick else 1_000_000
    _say(f"what {results.ever_run:,} tasks leave behind")
    results.left_behind = growth.left_behind(results.ever_run)
    return results


def _add_peer(name: str, pythons: dict[str, str], results: Results) -> None:
    peer = CONFIGURATIONS[name].environment
    environment = ensure(peer)
    if environment.problem:
        results.problems[name] = environment.problem
        return
    pythons[name] = environment.python
    if name == peer:
        worker = Process(name, environment.python)
        try:
            results.versions |= worker.do("versions", packages=[package_of(peer)])
        except BrokenWorkerError as exc:
            results.problems[name] = str(exc)
        finally:
            worker.close()


def _say(what: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')}  measuring {what}", flush=True)
