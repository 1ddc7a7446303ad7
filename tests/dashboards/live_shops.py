"""Real shops as processes of their own, on loopback, each ended by its own pid."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from examples.demo.process import free_port
from tests.support.processes import server_process
from tests.support.waiting import wait_until

SHOP = "examples.shop.app:app"
TWO_WORKERS = ("--workers", "2", "--timeout-worker-healthcheck", "20")
"""More options of the server; it waits for new workers for long where all of this shares two cores."""
NOTICED = 60.0
"""Seconds in which a server has noticed that its workers are gone, and started others.

If it was waiting for an answer of one that was killed, it goes on waiting as for a living one.
"""
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Shop:
    """A running shop."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.log = log

    def get(self, path: str) -> str:
        """Return what the shop answers."""
        with _open(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def is_open(self) -> bool:
        """Tell whether it answers."""
        with suppress(OSError):
            return bool(self.get("/health"))
        return False

    def post(self, path: str) -> int:
        """Send an empty request and return the status."""
        try:
            with _open(urllib.request.Request(self.url + path, b""), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code

    def workers(self) -> list[int]:
        """Return the pids of a server's worker processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in _command_line(pid)]

    def spans(self) -> dict[str, tuple[str, str]]:
        """Read what OpenTelemetry's console exporter wrote to the log: trace and name by span."""
        decoder, text, spans = json.JSONDecoder(), self.log.read_text(errors="replace"), {}
        for start in re.finditer(r'\{\n    "name"', text):
            try:
                span, _ = decoder.raw_decode(text, start.start())
            except ValueError:  # it is being written
                continue
            context = span["context"]
            spans[context["span_id"][2:]] = (context["trace_id"][2:], span["name"])
        return spans

    def kill_workers(self) -> None:
        """Be the kernel, out of memory; the server starts new ones."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        """Be the kernel, and take one of the two, so that the other goes on answering."""
        self._send_one(signal.SIGKILL)

    def replace_worker(self) -> None:
        """Replace the older of the two workers; the tasks that it runs are given a second."""
        self._send_one(signal.SIGTERM)

    def deploy(self) -> None:
        """Replace all workers; the tasks that they run are given a second."""
        wait_until(lambda: len(self.workers()) == 2, NOTICED)
        self.process.send_signal(signal.SIGHUP)

    def _send_one(self, signal: signal.Signals) -> None:
        wait_until(lambda: len(self.workers()) == 2, NOTICED)
        os.kill(self.workers()[0], signal)


def _command_line(pid: str) -> bytes:
    """Return a process's command line: nothing if it has ended since it was listed."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def uvicorn(port: int, app: str = SHOP, *more: str) -> list[str]:
    """Return the command line of the server."""
    options = ["--no-access-log", "--timeout-graceful-shutdown", "1"]
    return [sys.executable, "-m", "uvicorn", app, "--port", str(port), *options, *more]


@contextmanager
def shop(
    directory: Path, mail_port: int, command: Callable[[int], list[str]] = uvicorn, **environment: str
) -> Iterator[Shop]:
    """Open a shop with a directory of its own; it is not awaited, so that several can open at a time."""
    directory.mkdir(parents=True)
    given = {"SHOP_DIRECTORY": str(directory), "SHOP_SMTP_PORT": str(mail_port), "PYTHONWARNINGS": ""}
    port, log = free_port(), directory / "shop.log"
    with server_process(command(port), log, os.environ | given | environment, grace=5) as process:
        yield Shop(process, port, log)
