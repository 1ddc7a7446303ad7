"""The demo: opens the shop, sends customers, shows the account of its background tasks, keeps serving.

``make demo``, or ``python -m examples.demo``. ``DEMO_SECONDS=20 make demo`` ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from afterword._views.account import Account, broken, read

from . import evidence, report
from .evidence import Finding
from .mailserver import Mailroom, serve
from .process import ShopProcess, free_port
from .traffic import Traffic
from .visitors import Visit, plan

CONSOLE = "/afterword"
_RATE = 30
_THREADS = 4
_TRICKLE = 2
_TRAFFIC_SECONDS = 15.0
_OVERHEAD = 6.0
_A_DAY = 86_400.0


class Demo:
    """One performance, from opening the shop to closing it. ``with_celery`` has one with more around it."""

    settle_seconds = 15.0
    """How long the account may take to come to rest."""

    def __init__(self, console: Console, arguments: argparse.Namespace) -> None:
        self.console = console
        self.arguments = arguments
        self.started = time.monotonic()
        self.directory = Path(tempfile.mkdtemp(prefix="afterword-shop-"))
        self.database = self.directory / "shop.sqlite3"
        self.log = self.directory / "shop.log"
        self.logs = [self.log]
        self.token = secrets.token_urlsafe(32)
        self.surprises: Counter[str] = Counter()
        self.mailroom = Mailroom()

    async def run(self) -> int:
        """Perform; the exit status says whether the account was right."""
        port = free_port(self.arguments.port)
        async with await serve(self.mailroom) as mail_server, AsyncExitStack() as stack:
            environment = {
                "AFTERWORD_CONSOLE": CONSOLE,
                "AFTERWORD_CONSOLE_TOKEN": self.token,
                "AFTERWORD_JOURNAL": str(self.directory / "journal"),
                "SHOP_DIRECTORY": str(self.directory),
                "SHOP_DATABASE": str(self.database),
                "SHOP_SMTP_HOST": "127.0.0.1",
                "SHOP_SMTP_PORT": str(mail_server.sockets[0].getsockname()[1]),
                "SHOP_THREADS": str(_THREADS),
            }
            environment |= await self.prepare(stack)
            shop = await stack.enter_async_context(ShopProcess(port, self.log, environment))
            self.say(f"The shop is open at [bold]{shop.url}[/], served by uvicorn on {_THREADS} threads.")
            if port != self.arguments.port:
                self.say(f"[yellow]Port {self.arguments.port} is taken, so it is {port} instead.[/]")
            await self.begin(stack, shop, environment)
            await self._visit(shop)
            accounts = await self._settled(shop)
            findings = evidence.compare(accounts, self.mailroom, self.directory, self.database)
            findings += await self.more_findings(accounts)
            right = report.verdict(self.console, shop.url, accounts, findings)
            report.explain(self.console, accounts, self.logs)
            look = f"{shop.url}{CONSOLE}/#token={self.token}"
            report.where_to_look(self.console, shop.url, self.log, look, self.more_places())
            await self._keep_serving(shop)
        return 0 if right and not self.surprises else 1

    # --- what ``make demo-celery`` adds -------------------------------------------------------------------------

    async def prepare(self, stack: AsyncExitStack) -> dict[str, str]:
        """Start what the shop needs, and return what it has to be told of it."""
        return {}

    async def begin(self, stack: AsyncExitStack, shop: ShopProcess, environment: dict[str, str]) -> None:
        """Start what goes on beside the shop."""

    def trickle(self) -> Iterator[Visit]:
        """Return what customers do while the demo goes on serving."""
        return plan()

    async def interfere(self, seconds: float) -> None:
        """Disturb the work, while customers come for so many seconds."""

    async def read(self, shop: ShopProcess) -> dict[str, Account]:
        """Return the account as it is now."""
        return read(await shop.metrics()) or {}

    async def more_findings(self, accounts: dict[str, Account]) -> list[Finding]:
        """Return more comparisons."""
        return []

    def more_places(self) -> dict[str, str]:
        """Return where else to look."""
        return {}

    # ------------------------------------------------------------------------------------------------------------

    async def _visit(self, shop: ShopProcess) -> None:
        traffic = Traffic(shop.url, plan())
        seconds = _TRAFFIC_SECONDS
        if self.arguments.seconds is not None:
            seconds = min(seconds, max(2.0, self.arguments.seconds - _OVERHEAD))
        self.console.print(
            f"Customers visit it for {seconds:.0f} s. Nothing fails by chance: some addresses are refused, "
            "some pictures are broken, the lamp is out of stock.\n",
            highlight=False,
        )
        columns = (TextColumn("Visits"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task("visits", total=int(seconds * _RATE))
            visits = traffic.run(seconds, _RATE, lambda: progress.advance(bar))
            await asyncio.gather(visits, self.interfere(seconds))
            progress.update(bar, total=traffic.sent)
        self.surprises += traffic.surprises
        for surprise, count in self.surprises.items():
            self.say(f"[red]unexpected, {count} times:[/] {surprise}")

    async def _settled(self, shop: ShopProcess) -> dict[str, Account]:
        """Read the account when nothing is in flight any more, or after a while as it is."""
        deadline = time.monotonic() + self.settle_seconds
        while True:
            accounts = await self.read(shop)
            is_settled = not broken(accounts.values()) and not any(one.in_flight for one in accounts.values())
            if is_settled or time.monotonic() > deadline:
                return accounts
            await asyncio.sleep(0.2)

    async def _keep_serving(self, shop: ShopProcess) -> None:
        seconds = None
        until = "Ctrl-C to stop"
        if self.arguments.seconds is not None:
            seconds = max(0.0, self.started + self.arguments.seconds - 1 - time.monotonic())
            until = f"for another {seconds:.0f} s"
        self.say(f"\nServing on [bold]{shop.url}[/] — {until}")
        trickle = asyncio.create_task(self._trickle(shop))
        try:
            if not await shop.wait(seconds):
                raise RuntimeError(f"the shop has closed by itself; see {self.log}")
        finally:
            trickle.cancel()

    async def _trickle(self, shop: ShopProcess) -> None:
        if self.arguments.trickle:
            await Traffic(shop.url, self.trickle()).run(_A_DAY, self.arguments.trickle)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True, highlight=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="Open the shop, send customers, show the account."
    )
    parser.add_argument("--port", type=int, default=8000, help="where to serve (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("DEMO_SECONDS") or None,
        help="end after so long (default: DEMO_SECONDS, else at Ctrl-C)",
    )
    parser.add_argument(
        "--trickle",
        type=float,
        nargs="?",
        const=_TRICKLE,
        metavar="RATE",
        help="keep sending customers while serving: %(const)s a second, or RATE",
    )
    return parser.parse_args()


async def _main(kind: type[Demo], console: Console, arguments: argparse.Namespace) -> int:
    demo = asyncio.ensure_future(kind(console, arguments).run())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, demo.cancel)
    try:
        return await demo
    except asyncio.CancelledError:
        console.print("\nThe shop is closed.")
        return 0
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", soft_wrap=True)
        return 1


def main(demo: type[Demo] = Demo, width: int = 130) -> int:
    """Run the demo on the terminal, or for a file as wide as the table needs."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=width)
    return asyncio.run(_main(demo, console, _arguments()))
