"""Instructions and allocations of one task under callgrind: figures that do not drift.

A run of so many tasks is counted between two signals to valgrind, so that imports and warming up are not in it.
Allocations are counted in a second run, where Python gets every object's memory from ``malloc``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.ours import JOURNALS
from tests.benchmarks.processes import Process
from tests.benchmarks.rounds import TASKS

NAMES = ("bare", "hand", "lean", "afterword", "toggled")
KEEPING = ("afterword-journal", "afterword-recent")
PARTS = ("afterword-core", "afterword-traces", "afterword-metrics", "afterword-logs")
PAIRED = (
    "hand-otel",
    "afterword-otel",
    "hand-unsampled",
    "afterword-unsampled",
    "hand-native",
    "afterword-native",
)
_REQUESTS = 10
_MALLOC = ("malloc", "calloc", "realloc")


class Count(NamedTuple):
    """What one task takes, and the request around it."""

    instructions: float
    allocations: float
    request: float
    """Instructions of a request without tasks."""


def available() -> bool:
    """Return whether callgrind is here."""
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def count(*, quick: bool) -> dict[str, Count]:
    """Return what one task takes, in each configuration; the parts and pairs are left out if it is to be quick."""
    names = NAMES if quick else (*NAMES, *PAIRED, *PARTS, *KEEPING)
    jobs = [(name, "pymalloc") for name in names] + [(name, "malloc") for name in names]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        found = dict(zip(jobs, pool.map(lambda job: _per_task(*job), jobs), strict=True))
    return {
        name: found[name, "pymalloc"]._replace(allocations=found[name, "malloc"].allocations) for name in names
    }


def _per_task(name: str, allocator: str) -> Count:
    with tempfile.TemporaryDirectory() as directory:
        wrapper = [
            "env",
            f"PYTHONMALLOC={allocator}",
            f"{JOURNALS}={directory}",
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--compress-strings=no",
            "--compress-pos=no",
            f"--callgrind-out-file={directory}/out",
        ]
        process = Process(name, sys.executable, wrapper)
        try:
            number = process.do("identity")
            if name == "toggled":
                process.do("turn", mode="beside")
            process.do("measure", paths=[f"/async/{TASKS}"], times=[5])
            totals = []
            for tasks in (0, TASKS):
                _control(number, "--instr=on")
                _control(number, "--zero")
                process.do("measure", paths=[f"/async/{tasks}"], times=[_REQUESTS])
                _control(number, f"--dump={tasks}")
                _control(number, "--instr=off")
                totals.append(_read(Path(directory), f"{tasks}"))
        finally:
            process.close()
    none, many = totals
    tasks = TASKS * _REQUESTS
    return Count((many[0] - none[0]) / tasks, (many[1] - none[1]) / tasks, none[0] / _REQUESTS)


def _control(number: int, order: str) -> None:
    subprocess.run(["callgrind_control", order, str(number)], check=True, capture_output=True, timeout=60)


def _read(directory: Path, label: str) -> tuple[int, int]:
    """Read the newest dump: its total, and the calls to the allocator."""
    newest = max(directory.glob("out*"), key=lambda path: path.stat().st_mtime_ns)
    text = newest.read_text(errors="replace")
    total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    calls = re.findall(rf"^cfn=(?:{'|'.join(_MALLOC)})\ncalls=(\d+)", text, re.MULTILINE)
    if total is None:
        raise ValueError(f"callgrind wrote no total for {label}")
    return int(total[1]), sum(map(int, calls))
