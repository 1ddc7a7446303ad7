"""A mail server for the shop: it takes mail for everybody, and keeps none of it.

It refuses recipients ``@refused.example`` as a real server does, with 550, and takes its time with
recipients ``@slow.example``. By itself: ``python -m examples.demo.mailserver --port 8025``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import Counter
from typing import Any

from aiosmtpd.smtp import SMTP

REFUSED = "@refused.example"
SLOW = "@slow.example"
SLOWNESS = 0.4


class Mailroom:
    """What the server does with a mail; counts what it took and what it refused, by recipient."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """Refuse an address or take it."""
        if address.endswith(REFUSED):
            self.refused[address] += 1
            return f"550 5.1.1 <{address}>: recipient address rejected: user unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail, for some recipients after a while."""
        if any(address.endswith(SLOW) for address in envelope.rcpt_tos):
            await asyncio.sleep(SLOWNESS)
        self.accepted.update(envelope.rcpt_tos)
        return "250 OK"


async def serve(mailroom: Mailroom, port: int = 0) -> asyncio.Server:
    """Start the server on the loopback interface, on a free port unless one is given."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(mailroom, hostname="mail.shop.example", loop=loop), "127.0.0.1", port
    )


async def _main(port: int) -> None:
    async with await serve(Mailroom(), port) as server:
        print(f"mail server on 127.0.0.1:{port}, Ctrl-C to stop", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A local mail server that refuses some recipients.")
    parser.add_argument("--port", type=int, default=8025)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args().port))
