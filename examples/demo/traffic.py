"""Drives a bounded, steady stream of visits against the shop over HTTP.

By itself, against a shop that is already open::

    python -m examples.demo.traffic --base-url http://127.0.0.1:8000 --seconds 60 --rate 20 --healthy
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import httpx

from .visitors import Visit, plan, statements

CONCURRENCY = 16


class Traffic:
    """Sends visits at a steady rate, never more than a few at a time, and compares the answers."""

    def __init__(self, base_url: str, visits: Iterator[Visit], *, concurrency: int = CONCURRENCY) -> None:
        self.base_url = base_url
        self.visits = visits
        self.concurrency = concurrency
        self.answers: Counter[int] = Counter()
        """Answers by status."""
        self.surprises: Counter[str] = Counter()
        """Answers that were not the expected ones, and requests without an answer."""

    @property
    def sent(self) -> int:
        """How many requests have come to an end."""
        return self.answers.total() + self.surprises.total()

    async def run(self, seconds: float, rate: float, progress: Callable[[], object] = lambda: None) -> None:
        """Send ``rate`` requests a second for so many seconds and await the answers; tell of each."""
        slots = asyncio.Semaphore(self.concurrency)
        # each visit has a connection of its own, as each customer has: after a failed task uvicorn closes the
        # connection, even where the next request is already on its way
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=0)
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def one(client: httpx.AsyncClient, number: int, visit: Visit) -> None:
            try:
                await self._send(client, number, visit)
            finally:
                slots.release()
                progress()

        async with (
            httpx.AsyncClient(base_url=self.base_url, limits=limits, timeout=30, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(int(seconds * rate)):
                await asyncio.sleep(start + number / rate - loop.time())
                await slots.acquire()
                if loop.time() > start + seconds:  # the shop is slower than the visitors
                    slots.release()
                    break
                group.create_task(one(client, number, next(self.visits)))

    async def _send(self, client: httpx.AsyncClient, number: int, visit: Visit) -> None:
        try:
            headers = {"x-request-id": f"visit-{number}"} | visit.content.get("headers", {})
            response = await client.request(visit.method, visit.path, **visit.content | {"headers": headers})
        except httpx.HTTPError as error:
            self.surprises[f"{visit.name}: {type(error).__name__}"] += 1
            return
        if response.status_code == visit.status:
            self.answers[response.status_code] += 1
        else:
            self.surprises[f"{visit.name}: {response.status_code} instead of {visit.status}"] += 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo.traffic", description="Steady, bounded traffic against the shop."
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10, help="requests a second (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help="at most so many at a time")
    parser.add_argument("--healthy", action="store_true", help="only visits whose tasks all succeed")
    parser.add_argument("--statements", action="store_true", help="statements, too, the work of Celery's workers")
    parser.add_argument("--only", metavar="TEXT", help="only visits whose name contains this")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> int:
    more = statements() if arguments.statements else ()
    visits = plan(healthy=arguments.healthy, only=arguments.only, more=more)
    traffic = Traffic(arguments.base_url, visits, concurrency=arguments.concurrency)
    await traffic.run(arguments.seconds, arguments.rate)
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(traffic.answers.items()))
    print(f"{traffic.sent} requests; answers by status: {answers or 'none'}")
    for surprise, count in traffic.surprises.items():
        print(f"unexpected {count} times: {surprise}", file=sys.stderr)
    return 1 if traffic.surprises else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(_main(_arguments())))
    except KeyboardInterrupt:
        sys.exit(0)
    except ValueError as error:
        sys.exit(str(error))
