"""The worker processes, seen from the parent."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.configurations import CONFIGURATIONS
from tests.support import ROOT
from tests.support.alone import ALONE, can_be_alone


class BrokenWorkerError(Exception):
    """A configuration does not work here."""


def environment_variables() -> dict[str, str]:
    """Return the environment of everything that is measured: equal hashes, no telemetry settings from outside."""
    prefixes = ("OTEL_", "DD_", "NEW_RELIC_", "SENTRY_", "LOGFIRE_", "AFTERWORD_", "PROMETHEUS_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"PYTHONHASHSEED": "0"}


class Process:
    """One worker."""

    def __init__(self, name: str, python: str | Path = sys.executable, wrapper: Iterable[str] = ()) -> None:
        self.name = name
        alone = CONFIGURATIONS[name].environment != "own" and can_be_alone()
        command = [*wrapper, str(python), "-m", "tests.benchmarks.worker", name]
        self._process = subprocess.Popen(
            [*ALONE, *command, "--alone"] if alone else command,
            cwd=ROOT,
            env=environment_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def do(self, what: str, **options: Any) -> Any:
        """Send a command and wait for the answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise BrokenWorkerError(self.name)
        try:
            stdin.write(json.dumps({"do": what, **options}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise BrokenWorkerError(f"{self.name}: {answer['error']}")
        return answer["answer"]

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def workers(pythons: dict[str, str]) -> Iterator[dict[str, Process]]:
    """Start one worker for each configuration, with its environment's Python."""
    processes = {name: Process(name, python) for name, python in pythons.items()}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.close()
