"""Kill busy workers of a real server, again and again, and see whether the law holds after each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.support.threads import repeating
from tests.support.waiting import wait_until
from tests.workers.servers import balance, gunicorn, lost, scrape, serve, uvicorn

CLIENTS = 4


@contextlib.contextmanager
def load(address: str) -> Iterator[set[int]]:
    """Let clients schedule tasks for as long as this lasts; yield who has answered so far."""
    answered = set[int]()

    def visit(_: threading.Event) -> None:
        with contextlib.suppress(httpx.HTTPError):  # of a worker that was killed
            answered.add(httpx.get(f"{address}/many", timeout=10).json())

    with repeating(visit, CLIENTS):
        yield answered


def kill_one(address: str, log: Path) -> float:
    """Kill a worker under load; return what the law leaves over when the others have come to rest."""
    with load(address) as answered:
        wait_until(lambda: bool(answered), why=log.read_text)
        time.sleep(random.random() * 0.2)  # whatever it is doing then
        os.kill(random.choice(sorted(answered)), signal.SIGKILL)

    def at_rest() -> bool:
        return not any(scrape(address).get((f"background_task_{now}", "quick")) for now in ("pending", "running"))

    wait_until(at_rest, why=log.read_text)
    return balance(scrape(address), "quick")


def main() -> None:
    """Kill as many as the command line says, and print what came of it."""
    times = int(sys.argv[1])
    for command in (gunicorn, uvicorn):
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory, "log")
            with serve(command, Path(directory), log) as address:
                left = [kill_one(address, log) for _ in range(times)]
                samples = scrape(address)
        off = sum(value != 0 for value in left)
        scheduled = samples["background_task_scheduled_total", "quick"]
        print(
            f"{command.__name__}: {times} kills, {off} off; {lost(samples, 'quick')} of {scheduled} lost; {left}"
        )


if __name__ == "__main__":
    main()
