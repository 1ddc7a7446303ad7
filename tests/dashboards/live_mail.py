"""Mail servers for the shops, and whatever else runs beside the tests: one event loop in a thread."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from examples.demo.mailserver import SLOW, Mailroom, serve
from examples.demo.traffic import CONCURRENCY, Traffic
from examples.demo.visitors import plan

LATE = 15.0
"""Seconds: what comes after such a mail is late by any measure here."""


class IllMailroom(Mailroom):
    """Takes ``LATE`` seconds for every mail, and never finishes with some."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail late, or never."""
        never = any(address.endswith(SLOW) for address in envelope.rcpt_tos)
        await asyncio.sleep(600 if never else LATE)
        return await super().handle_DATA(server, session, envelope)


async def serve_silence() -> asyncio.Server:
    """Take connections and never say a word."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    return await asyncio.start_server(silence, "127.0.0.1")


class MailServer:
    """A mail server that can go down."""

    def __init__(self, portal: BlockingPortal, mailroom: Mailroom | None) -> None:
        self._portal = portal
        self._server = portal.call(serve_silence) if mailroom is None else portal.call(serve, mailroom)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def go_down(self) -> None:
        """Close the port; again, if need be."""
        self._portal.call(self._server.close)


class Beside:
    """What runs beside a test."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self.mail_servers: list[MailServer] = []
        self._traffic: list[Future[None]] = []

    def mail_server(self, mailroom: Mailroom | None) -> MailServer:
        """Start a mail server; without a mailroom, one that never answers."""
        self.mail_servers.append(MailServer(self._portal, mailroom))
        return self.mail_servers[-1]

    def customers(
        self,
        url: str,
        seconds: float,
        rate: float,
        *,
        healthy: bool = False,
        only: str | None = None,
        concurrency: int = CONCURRENCY,
    ) -> Future[None]:
        """Send customers to a shop and return their traffic's future."""
        traffic = Traffic(url, plan(healthy=healthy, only=only), concurrency=concurrency)
        self._traffic.append(self._portal.start_task_soon(traffic.run, seconds, rate))
        return self._traffic[-1]

    def close(self) -> None:
        """Send all customers home, and close the mail servers and every connection."""
        for traffic in self._traffic:
            traffic.cancel()
        wait(self._traffic, timeout=10)
        for server in self.mail_servers:
            server.go_down()
        self._portal.call(_hang_up)


@contextmanager
def beside() -> Iterator[Beside]:
    """Run an event loop in a thread; what it still does at the end is cancelled."""
    with start_blocking_portal() as portal:
        aside = Beside(portal)
        try:
            yield aside
        finally:
            aside.close()
        portal.call(portal.stop, True)  # True: cancel what remains


async def _hang_up() -> None:
    """Wait until all connections of the mail servers are closed, as those of shops that are gone are at once."""
    async with asyncio.timeout(5):
        while any("SMTP" in repr(task) or "silence" in repr(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)  # what has ended closes its sockets in the next round of the loop
