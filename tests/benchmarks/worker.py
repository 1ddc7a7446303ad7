"""One configuration in a process of its own: reads commands, measures, answers.

``python -m tests.benchmarks.worker NAME``: a JSON object a line on standard input, one on standard output.
"""

import asyncio
import gc
import json
import os
import sys
import tracemalloc
from typing import Any

from tests.benchmarks.configurations import CONFIGURATIONS
from tests.benchmarks.driving import hold, repeat, request
from tests.support.alone import loopback_up


class Worker:
    """Does what it is told, with one application."""

    def __init__(self, made: Any) -> None:
        self._toggled = made if hasattr(made, "turn") else None
        self.app = made.app if self._toggled is not None else made
        self._holding: list[Any] = []

    async def do(self, command: dict[str, Any]) -> Any:
        """Carry out one command."""
        what = command.pop("do")
        return await getattr(self, what)(**command)

    async def check(self, path: str) -> int:
        """Ask once, and say with which status it was answered."""
        return await request(self.app, path)

    async def measure(self, paths: list[str], times: list[int]) -> list[dict[str, float]]:
        """Send each request so many times."""
        return [await repeat(self.app, path, count) for path, count in zip(paths, times, strict=True)]

    async def turn(self, mode: str) -> None:
        """Change the mode of a toggled application."""
        self._toggled.turn(mode)

    async def modes(self, paths: list[str], times: list[int]) -> dict[str, list[dict[str, float]]]:
        """Measure in each mode of a toggled application."""
        found = {}
        for mode in self._toggled.MODES:
            self._toggled.turn(mode)
            await repeat(self.app, paths[-1], 3)
            found[mode] = await self.measure(paths, times)
        return found

    async def hold(self, count: int) -> None:
        """Put tasks in flight, to stay there."""
        self._holding += await hold(self.app, count)

    async def memory(self, count: int) -> float:
        """Return how many bytes a request with one task in flight takes."""
        self._holding += await hold(self.app, 10)
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await self._hold_more(count)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / count

    async def blocks(self) -> int:
        """Return how many blocks of memory Python has taken."""
        gc.collect()
        return sys.getallocatedblocks()

    async def _hold_more(self, count: int) -> None:
        self.app.state.gate.waiting = 0
        self._holding += await hold(self.app, count)

    async def versions(self, packages: list[str]) -> dict[str, str]:
        """Return what is installed here."""
        from importlib.metadata import version

        return {package: version(package) for package in packages}

    async def identity(self) -> int:
        """Return this process's number."""
        return os.getpid()


async def _serve(commands: Any, answers: Any) -> None:
    # FastAPI is imported in here, and a peer before it
    worker = Worker(CONFIGURATIONS[sys.argv[1]].make())
    for line in commands:
        try:
            answer = {"answer": await worker.do(json.loads(line))}
        except Exception as exc:  # the parent says which configuration it was
            answer = {"error": repr(exc)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whoever prints, prints to standard error
    if "--alone" in sys.argv:
        loopback_up()
    # one core for each worker: its threads do not fight over the GIL from two, which makes two kinds of rounds
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asyncio.run(_serve(sys.stdin, answers))
    os._exit(0)  # tasks in flight and agents' threads are left behind


if __name__ == "__main__":
    main()
