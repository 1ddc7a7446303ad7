"""The demo with Celery: a Redis, two workers, one of which is killed while it works, and one account over all.

``make demo-celery``, or ``python -m examples.demo.with_celery``. With ``DEMO_SECONDS=40``, it ends by itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import cycle

from afterword._common.model import CELERY
from afterword._views.account import Account, read
from examples.shop.queues import CONSUMED, QUEUES

from . import samples
from .backstage import RedisProcess, WorkerProcess
from .evidence import TASKS, Finding
from .performance import CONSOLE, Demo, main
from .process import ShopProcess, free_port
from .traffic import Traffic
from .visitors import Visit, plan, statements

_NAMES = ("worker-1", "worker-2")
_WRITING = f"{TASKS}write_statement"
_RATE, _SECONDS = 30, 0.2
_MOMENT = 0.05
_BEGUN = 0.2
_QUIET = 2.0
_PATIENCE = 60.0
_WIDTH = 165


class CeleryDemo(Demo):
    """The same performance, with the statements left to Celery."""

    settle_seconds = 60.0  # what a killed worker had received comes again after fifteen

    async def prepare(self, stack: AsyncExitStack) -> dict[str, str]:
        """Start Redis. All processes count into files of one folder, which outlive a killed one."""
        self.redis = await stack.enter_async_context(RedisProcess(self.directory / "redis"))
        numbers = self.directory / "numbers"
        numbers.mkdir()
        return {"SHOP_BROKER": self.redis.url, "PROMETHEUS_MULTIPROC_DIR": str(numbers)}

    async def begin(self, stack: AsyncExitStack, shop: ShopProcess, environment: dict[str, str]) -> None:
        """Start the workers."""
        self.stack, self.shop, self.environment = stack, shop, environment
        self.workers = list(await asyncio.gather(*map(self._start, _NAMES)))
        self.logs += [worker.log for worker in self.workers]
        self.say(f"Two Celery workers, {' and '.join(_NAMES)}, take their work from {self.redis.url}.")

    async def _start(self, name: str) -> WorkerProcess:
        worker = WorkerProcess(name, free_port(), self.directory, self.environment)
        return await self.stack.enter_async_context(worker)

    def trickle(self) -> Iterator[Visit]:
        """Return what customers do while the demo goes on serving."""
        return plan(more=statements())

    async def interfere(self, seconds: float) -> None:
        """Let customers want statements, all at once; kill a worker in the middle of that, and start the next."""
        await asyncio.sleep(seconds / 3)
        month = Traffic(self.shop.url, cycle(statements()))
        victim = await self._caught(month)
        await victim.kill()
        self.workers.remove(victim)
        self.say(f"{victim.name} is killed while it writes a statement (kill -9), and another one started.")
        self.workers.append(await self._start(victim.name))
        await month.run(_SECONDS, _RATE)
        self.surprises += month.surprises

    async def _caught(self, month: Traffic) -> WorkerProcess:
        """Return a worker at work: on a busy machine, all may be written by the time that all were wanted."""
        seconds = _SECONDS
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            await month.run(seconds, _RATE)
            worker = await self._at_work()
            if worker is not None:
                return worker
            seconds *= 2
        raise RuntimeError(f"no worker has begun to write a statement; see {self.workers[0].log}")

    async def _at_work(self) -> WorkerProcess | None:
        """Return a worker that is writing a statement and does not ask for messages, or none where all is quiet.

        Redis forgets a message that is on its way to a worker that is killed, and then it is in no account.
        """
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + _QUIET:
            await asyncio.sleep(_MOMENT)
            now = await self.shop.ask(f"{CONSOLE}/api/now", self.token)
            waiting = sum([await self.redis.messages(queue) for queue in CONSUMED])
            ages = {
                process["pid"]: max(
                    (run["age_s"] for run in process["runs"] if run["task"] == _WRITING), default=0
                )
                for process in now["processes"]
            }
            if waiting or any(ages.values()):
                quiet_since = time.monotonic()
            for worker in self.workers:
                if not waiting and ages.get(worker.pid, 0) > _BEGUN:
                    return worker
        return None

    async def read(self, shop: ShopProcess) -> dict[str, Account]:
        """Return the account of all processes, with what is in the queues, of which Redis alone knows."""
        accounts = await super().read(shop)
        for task, queue in QUEUES.items():
            account = accounts.get(f"{TASKS}{task} (celery)")
            if account is not None:
                account.queued = await self.redis.messages(queue)
        return accounts

    async def more_findings(self, accounts: dict[str, Account]) -> list[Finding]:
        """Compare what each process says, and what the logs tell of lost tasks."""
        lost = sum(account.lost for account in accounts.values())
        lines = sum(len(samples.lost_tasks(log)) for log in self.logs)
        same = [_counted(read(await worker.metrics())) == _counted(accounts) for worker in self.workers]
        return [
            Finding("lines of lost tasks", lines, "tasks lost", lost),
            Finding("workers tell the same account", sum(same), "workers run", len(self.workers)),
        ]

    def more_places(self) -> dict[str, str]:
        """Return where the workers' numbers and lines are."""
        workers = sorted(self.workers, key=lambda worker: worker.name)
        places = {worker.name: f"{worker.url}/metrics, {worker.log}" for worker in workers}
        lost = next((line for log in self.logs for line in samples.lost_tasks(log)), None)
        if lost is not None:
            places["a lost task"] = f"grep {lost.get('trace_id')} {self.directory}/*.log"
        return places


def _counted(accounts: dict[str, Account] | None) -> dict[str, list[int]]:
    """Return how many were scheduled and have ended, of each task that Celery runs."""
    celery = [account for account in (accounts or {}).values() if account.engine == CELERY]
    return {one.name: [one.scheduled, one.ended.total(), one.returned.total(), one.lost] for one in celery}


if __name__ == "__main__":
    sys.exit(main(CeleryDemo, _WIDTH))
