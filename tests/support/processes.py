"""Servers in processes of their own, which end with the test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support import ROOT


def plain_environment() -> dict[str, str]:
    """Return the environment without what would configure telemetry."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "FASTAPI_", "AFTERWORD_"))}


@contextlib.contextmanager
def server_process(
    command: Sequence[str], log: Path, environment: Mapping[str, str], grace: float = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own; at the end it has its grace, and then all of them are killed."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        if grace:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # workers that hold on to their tasks, too
        server.wait(10)
