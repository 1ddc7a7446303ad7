"""One run: two workers under load, their memory watched, their account read at the end."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.process import free_port
from tests.soak.load import drive, expected_of
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import wait_until

WORKERS = 2
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Figures:
    """What came of a run. Memory is resident, of all workers, in MiB."""

    seconds: float
    requests: int
    runs: int
    after_warm_up: float
    at_the_end: float
    missing: Counter[tuple[str, str]]
    left_open: int
    journal_went_off: bool = False

    @property
    def growth(self) -> float:
        """MiB that the memory has grown by since the warm-up."""
        return self.at_the_end - self.after_warm_up


def soak(seconds: float, directory: Path, environment: Mapping[str, str] = {}) -> Figures:
    """Run it; ``directory`` holds the log and the workers' numbers."""
    numbers, log, port = directory / "numbers", directory / "log", free_port()
    numbers.mkdir()
    env = plain_environment() | {"PROMETHEUS_MULTIPROC_DIR": str(numbers), "PYTHONWARNINGS": ""} | environment
    command = ["-m", "uvicorn", "--workers", str(WORKERS), "--port", str(port), "--log-level", "critical"]
    with server_process([sys.executable, *command, "tests.soak.app:app"], log, env) as server:
        wait_until(lambda: _is_up(port), why=log.read_text)
        sent, memory = asyncio.run(_watched(server.pid, port, seconds))
        expected = expected_of(sent)
        with contextlib.suppress(AssertionError):  # what is missing then is among the figures
            wait_until(lambda: _ended(port) == expected)
        ended, left_open = _ended(port), _open(port)
    quarter = max(1, len(memory) // 4)
    expected.subtract(ended)
    return Figures(
        seconds,
        sent.total(),
        ended.total(),
        statistics.median(memory[quarter : 2 * quarter] or memory),
        statistics.median(memory[-quarter:]),
        Counter({run: count for run, count in expected.items() if count}),
        left_open,
        "the journal in " in log.read_text(errors="replace"),
    )


async def _watched(pid: int, port: int, seconds: float) -> tuple[Counter[str], list[float]]:
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(sum(_resident(child) for child in _below(pid)) / 1024)
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        return await drive(port, seconds), memory
    finally:
        watching.cancel()


def _below(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _samples(port: int) -> Iterator[tuple[str, dict[str, str], float]]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _ended(port: int) -> Counter[tuple[str, str]]:
    ended: Counter[tuple[str, str]] = Counter()
    for name, labels, value in _samples(port):
        if name == "background_task_ended_total" and value:
            task = labels["background_task_name"].rpartition(".")[2]
            ended[task, labels["background_task_outcome"]] += int(value)
    return ended


def _open(port: int) -> int:
    states = ("background_task_pending", "background_task_running")
    return int(sum(value for name, _, value in _samples(port) if name in states))
