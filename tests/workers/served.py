"""A server whose application keeps a journal, through more than one of its lives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from examples.demo.process import free_port
from tests.support import ROOT
from tests.support.journals import in_flight_of
from tests.support.waiting import wait_until
from tests.workers.servers import is_up

APP = "tests.workers.journal_app:app"


def one(port: int) -> list[str]:
    """Return the command line of uvicorn with one process."""
    return [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log", APP]


def uvicorn(port: int) -> list[str]:
    """Return that of uvicorn with two workers."""
    return [*one(port)[:-1], "--workers", "2", APP]


def gunicorn(port: int) -> list[str]:
    """Return that of gunicorn with two workers, and the shipped configuration."""
    return [sys.executable, "-m", "gunicorn", "-c", "examples/gunicorn.conf.py", "-b", f"127.0.0.1:{port}", APP]


def preloaded(port: int) -> list[str]:
    """Return that of gunicorn whose workers are forked from a process that has loaded the application."""
    return [*gunicorn(port)[:-1], "--preload", APP]


class Served:
    """A server, its journal and its witnesses, for longer than one of its lives."""

    def __init__(self, directory: Path, command: Callable[[int], list[str]]) -> None:
        self.directory, self.port = directory, free_port()
        self.journal, self.lines_file = directory / "journal", directory / "lines"
        self.command = command(self.port)
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "AFTERWORD_JOURNAL": str(self.journal),
            "AFTERWORD_JOURNAL_RUNS": "1000000",
            "AFTERWORD_JOURNAL_MB": "4000",
            "WITNESS": str(directory / "witness"),
            "LINES": str(self.lines_file),
            "CANCELLED": str(directory / "cancelled"),
            "PYTHONWARNINGS": "",
        }
        for name in ("witness", "metrics"):
            (directory / name).mkdir()
        if command in (uvicorn, gunicorn, preloaded):
            self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory / "metrics")
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.server = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: is_up(self.address), why=self.log)

    def start_held(self) -> None:
        """Start, and let one task hold on with another one behind it."""
        self.start()
        assert httpx.get(f"{self.address}/long", timeout=10).status_code == 200
        states = {"long": "running", "quick": "pending"}
        wait_until(lambda: {each.task: each.state for each in in_flight_of(self.journal)} == states, why=self.log)

    def log(self) -> str:
        return (self.directory / "log").read_text()[-5000:]

    def kill(self) -> None:
        """Kill every process of the server."""
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(10)
            self.server = None

    def scheduled(self) -> set[str]:
        """Return the runs that their own processes have noted as scheduled."""
        return {run for file in (self.directory / "witness").iterdir() for run in file.read_text().split()}

    def cancelled(self) -> set[str]:
        """Return the runs that have noted themselves that they were cancelled."""
        path = self.directory / "cancelled"
        return set(path.read_text().split()) if path.exists() else set()

    def lines(self) -> list[dict[str, Any]]:
        """Return the whole lines that were written about a run."""
        found = []
        for line in self.lines_file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # torn by a kill
                found.append(json.loads(line))
        return [line for line in found if "task_run" in line and line["level"] != "debug"]
