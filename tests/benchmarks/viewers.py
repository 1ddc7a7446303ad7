"""What open pages of the console cost: a task's share of the server's time, memory, and how long requests wait.

``python -m tests.benchmarks.viewers`` serves an application that keeps a journal (``--memory``: its last runs in
memory), sends it 1,000 tasks a second, and in turns has no page and a hundred pages open. The times of a shared
machine drift, so ``--instructions`` counts those instead, with valgrind: tasks and what pages are told are slower
then, by the same factor, so that the shares are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI

from afterword import instrument
from afterword._console import watching
from afterword._ledger.journal.retention import Retention
from examples.demo.process import free_port
from tests.benchmarks.instructions import _control, _read
from tests.support.processes import plain_environment, server_process

TOKEN = "the-token-of-the-benchmark"
TASKS = 10
SLOWER = 20.0
"""How much slower everything is under valgrind."""
CALLGRIND = ("--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no")
_TICKS_SECONDS = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")


async def work() -> None:
    """Be done at once."""


def create() -> FastAPI:
    """Make the application."""
    slower = float(os.environ.get("SLOWER", "1"))
    watching._TICK *= slower
    watching._ALIVE_SECONDS *= slower
    if slower > 1:  # it looks through 4 MiB now and then, by chance in the one count or in the other
        Retention.apply = lambda *_: None  # type: ignore[method-assign]
    app = FastAPI()
    instrument(app, console="/afterword", journal=os.environ.get("JOURNAL"))

    @app.get("/work")
    async def schedule(tasks: BackgroundTasks) -> None:
        for _ in range(TASKS):
            tasks.add_task(work)

    gc.collect()
    gc.freeze()  # a whole collection more or less would count for more than what is counted here
    return app


async def request(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return reader, writer


class Load:
    """Sends requests at a steady rate, on kept connections, and notes how long each waits for its answer."""

    def __init__(self, port: int, rate: float) -> None:
        self._port, self._rate = port, rate
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.delays: list[float] = []
        self.tasks = 0

    async def run(self, seconds: float) -> None:
        """Send for so long."""
        begin, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while (now := time.perf_counter() - begin) < seconds:
                if sent <= now * self._rate:
                    sent += 1
                    group.create_task(self._one())
                else:
                    await asyncio.sleep(0.001)

    async def _one(self) -> None:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        begin = time.perf_counter()
        writer.write(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"null")
        self.delays.append(time.perf_counter() - begin)
        self.tasks += TASKS
        self._idle.append(connection)


@contextlib.asynccontextmanager
async def pages(port: int, count: int) -> AsyncIterator[None]:
    """Have so many pages open, which read all that comes."""

    async def read(reader: asyncio.StreamReader) -> None:
        while await reader.read(1 << 16):
            pass

    opened = [await request(port, "/afterword/api/events") for _ in range(count)]
    reading = [asyncio.create_task(read(reader)) for reader, _ in opened]
    yield
    for task in reading:
        task.cancel()
    for _, writer in opened:
        writer.close()


def seconds_of(pid: int) -> float:
    """Return the processor time that a process has used, of user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_of(pid: int) -> float:
    """Return the memory of a process, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def measure(port: int, pid: int, arguments: argparse.Namespace) -> None:
    """Measure in turns, without pages and with pages."""
    costs: dict[int, list[float]] = {0: [], arguments.pages: []}
    load = Load(port, arguments.rate / TASKS)
    await load.run(3)
    for _ in range(arguments.rounds):
        for count, found in costs.items():
            async with pages(port, count):
                await asyncio.sleep(1)
                before, load.tasks, load.delays = seconds_of(pid), 0, []
                await load.run(arguments.seconds)
                cost = (seconds_of(pid) - before) / load.tasks * 1e6
            found.append(cost)
            delays = [delay * 1e3 for delay in sorted(load.delays)]
            print(
                f"{count:4} pages: {cost:6.1f} µs a task, {load.tasks / arguments.seconds:6.0f} tasks a second, "
                f"requests p50 {delays[len(delays) // 2]:.1f} p99 {delays[int(len(delays) * 0.99)]:.1f} "
                f"max {delays[-1]:.1f} ms, memory {memory_of(pid):.1f} MiB",
                flush=True,
            )
    without, with_pages = (statistics.median(found) for found in costs.values())
    print(f"a task costs {with_pages / without:.3f} of what it does without a page")


async def count(port: int, pid: int, directory: Path, arguments: argparse.Namespace) -> None:
    """Count instructions, without pages and with pages."""
    found: dict[int, float] = {}
    load = Load(port, arguments.rate / TASKS / SLOWER)
    await load.run(5)
    for pages_open in (0, arguments.pages):
        async with pages(port, pages_open):
            await asyncio.sleep(_TICKS_SECONDS * SLOWER)
            for order in ("--instr=on", "--zero"):
                await asyncio.to_thread(_control, pid, order)
            load.tasks = 0
            await load.run(arguments.seconds)
            for order in (f"--dump={pages_open}", "--instr=off"):
                await asyncio.to_thread(_control, pid, order)
        found[pages_open] = _read(directory, str(pages_open))[0] / load.tasks
        print(f"{pages_open:4} pages: {found[pages_open] / 1000:.1f} thousand instructions a task", flush=True)
    print(f"a task takes {found[arguments.pages] / found[0]:.3f} of what it does without a page")


def main() -> None:
    """Serve, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1000, help="tasks a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instructions", action="store_true", help="count them, with valgrind")
    parser.add_argument("--memory", action="store_true", help="without a journal")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        environment = plain_environment() | {"AFTERWORD_CONSOLE_TOKEN": TOKEN, "AFTERWORD_LOGS": "false"}
        if not arguments.memory:
            environment["JOURNAL"] = f"{directory}/journal"
        command = [sys.executable, "-m", "uvicorn", "--factory", "tests.benchmarks.viewers:create"]
        command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        command += ["--timeout-keep-alive", "600"]
        if arguments.instructions:
            environment["SLOWER"] = str(SLOWER)
            command = ["valgrind", *CALLGRIND, f"--callgrind-out-file={directory}/out", *command]
        with server_process(command, Path(directory, "log"), environment, grace=5) as server:
            asyncio.run(_up(port))
            if arguments.instructions:
                asyncio.run(count(port, server.pid, Path(directory), arguments))
            else:
                asyncio.run(measure(port, server.pid, arguments))


async def _up(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
