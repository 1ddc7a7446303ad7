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

from tests.benchmarks.processes import Process
from tests.benchmarks.rounds import TASKS

NAMES = ("bare", "hand", "epilogue")
_REQUESTS = 10
_MALLOC = ("malloc", "calloc", "realloc")


class Count(NamedTuple):
    """What one task takes."""

    instructions: float
    allocations: float


def available() -> bool:
    """Return whether callgrind is here."""
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def count() -> dict[str, Count]:
    """Return what one task takes, in each configuration."""
    jobs = [(name, allocator) for name in NAMES for allocator in ("pymalloc", "malloc")]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
        found = dict(zip(jobs, pool.map(lambda job: _per_task(*job), jobs), strict=True))
    return {name: Count(found[name, "pymalloc"].instructions, found[name, "malloc"].allocations) for name in NAMES}


def _per_task(name: str, allocator: str) -> Count:
    with tempfile.TemporaryDirectory() as directory:
        wrapper = [
            "env",
            f"PYTHONMALLOC={allocator}",
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
    times = TASKS * _REQUESTS
    return Count((many.instructions - none.instructions) / times, (many.allocations - none.allocations) / times)


def _control(number: int, order: str) -> None:
    subprocess.run(["callgrind_control", order, str(number)], check=True, capture_output=True, timeout=60)


def _read(directory: Path, label: str) -> Count:
    """Read the newest dump: its total, and the calls to the allocator."""
    newest = max(directory.glob("out*"), key=lambda path: path.stat().st_mtime_ns)
    text = newest.read_text(errors="replace")
    total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    calls = re.findall(rf"^cfn=(?:{'|'.join(_MALLOC)})\ncalls=(\d+)", text, re.MULTILINE)
    if total is None:
        raise ValueError(f"callgrind wrote no total for {label}")
    return Count(float(total[1]), float(sum(map(int, calls))))
