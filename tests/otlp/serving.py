"""Real servers in processes of their own, on loopback, stopped by the signals that stop them in production."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.process import free_port
from tests.support import ROOT
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import SECONDS, wait_until

QUIET = {
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": "300",
}
"""Exports every fraction of a second, for tests that do not ask for the last flush."""
PATIENT = {
    "OTEL_BSP_SCHEDULE_DELAY": "600000",
    "OTEL_BLRP_SCHEDULE_DELAY": "600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "600000",
}
"""Exports never by themselves: what arrives was flushed."""

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def uvicorn(app: str, port: int, *options: str) -> list[str]:
    """Return uvicorn's command line for an application, or for a factory of `tests.otlp.apps`."""
    place = [app] if ":" in app else ["--factory", f"tests.otlp.apps:{app}"]
    return [sys.executable, "-m", "uvicorn", *place, "--port", str(port), "--no-access-log", *options]


def gunicorn(app: str, port: int, *options: str) -> list[str]:
    """Return gunicorn's command line, with two uvicorn workers."""
    worker = ["-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "gunicorn", *worker, *options, f"tests.otlp.apps:{app}()"]


def automatic(app: str, port: int, *options: str) -> list[str]:
    """Return uvicorn's command line, as `opentelemetry-instrument uvicorn` runs it."""
    command = Path(sys.executable).with_name("opentelemetry-instrument")
    return [str(command), *uvicorn(app, port, *options)]


class Process:
    """One server process and what it prints."""

    def __init__(self, server: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.server = server
        self.address = address
        self.log = log

    def get(self, path: str) -> int:
        """Send a request over a connection of its own, and return the status."""
        return httpx.get(f"{self.address}{path}", timeout=20).status_code

    def text(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the JSON log lines of one event."""
        found = []
        for line in self.text().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    found.append(entry)
        return found

    def scrape(self) -> Numbers:
        """Return every series of ours that the process shows to Prometheus."""
        text = httpx.get(f"{self.address}/metrics", timeout=20).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith(("background_task_", "afterword_"))
        }

    def ended(self) -> float:
        """Return how many runs have ended, by the process's own account."""
        return sum(v for (name, _), v in self.scrape().items() if name == "background_task_ended_total")

    def wait_for(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        """Wait for a condition; on failure show what the process printed."""
        wait_until(condition, seconds, self.log.read_text)

    def stop(self, seconds: float = 40) -> int:
        """Ask the process to stop as a deploy does, and return how it ended."""
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(seconds)


@contextlib.contextmanager
def process(
    command: Callable[..., list[str]], app: str, log: Path, *options: str, **environment: str
) -> Iterator[Process]:
    """Run a server, without any `OTEL_*` of the machine's, until the block ends or it is stopped before."""
    port = free_port()
    kept = plain_environment()
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    with server_process(command(app, port, *options), log, kept | environment) as server:
        running = Process(server, f"http://127.0.0.1:{port}", log)
        running.wait_for(lambda: _is_up(running))
        yield running


def _is_up(running: Process) -> bool:
    assert running.server.poll() is None, running.text()
    with contextlib.suppress(httpx.HTTPError):
        return running.get("/up") == 200
    return False
