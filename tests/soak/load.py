"""The load: connections that stay open and ask as fast as they are answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from itertools import count
from time import monotonic

CONNECTIONS = 8
ROUND = ("/works",) * 6 + ("/fails", "/refused", "/forgets", "/works")

EXPECTED: Mapping[str, Mapping[tuple[str, str], int]] = {
    "/works": {("mail", "succeeded"): 1, ("thumbnail", "succeeded"): 1},
    "/fails": {("report", "failed"): 1, ("mail", "skipped"): 1},
    "/refused": {("mail", "dropped"): 1},
    "/forgets": {("thumbnail", "abandoned"): 1},
}
"""The runs that a request leads to, by task and outcome."""


async def drive(port: int, seconds: float) -> Counter[str]:
    """Ask for so many seconds; return how many requests of each path were answered."""
    end = monotonic() + seconds
    sent: Counter[str] = Counter()
    await asyncio.gather(*(_connection(port, end, sent) for _ in range(CONNECTIONS)))
    return sent


async def _connection(port: int, end: float, sent: Counter[str]) -> None:
    numbers = count()
    while monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            # a new connection now and then, so that both workers get some
            for number, _ in zip(numbers, range(1000), strict=False):
                if monotonic() >= end:
                    return
                path = ROUND[number % len(ROUND)]
                writer.write(f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length.split(b":")[1]))
                sent[path] += 1
                if path == "/fails":
                    break  # uvicorn hangs up when the task raises
        finally:
            writer.close()


def expected_of(sent: Mapping[str, int]) -> Counter[tuple[str, str]]:
    """Return the runs that all these requests must have led to."""
    runs: Counter[tuple[str, str]] = Counter()
    for path, times in sent.items():
        for run, each in EXPECTED[path].items():
            runs[run] += each * times
    return runs
