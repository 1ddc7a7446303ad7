"""Whoever sends requests to the small applications in trouble, for as long as a context lasts."""

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from tests.support.threads import repeating

from .live_shops import Shop

_REMEMBERED = 60
"""How many requests schedule a reminder; after them, it is forgotten."""


@contextmanager
def forgetting(shop: Shop) -> Iterator[None]:
    """Send requests all the time, of which the later ones schedule nothing any more."""
    asked = itertools.count()

    def send(over: threading.Event) -> None:
        with suppress(OSError):
            shop.post(f"/reminders/{next(asked) < _REMEMBERED}")
        over.wait(0.1)

    with repeating(send):
        yield


@contextmanager
def more_troubles(shops: Mapping[str, Shop]) -> Iterator[None]:
    """Let invalid orders come in bursts, invoices find no room, parcels no carrier, labels no printer."""
    visits = {
        "refused": "/orders",
        "disk-full": "/invoices",
        "swallowed": "/parcels",
        "replaced": "/labels",
        "scanned": "/.env",
    }
    with ExitStack() as stack:
        for job, path in visits.items():
            stack.enter_context(_posting(shops[job], path))
        yield


@contextmanager
def _posting(shop: Shop, path: str) -> Iterator[None]:
    def send(over: threading.Event) -> None:
        with suppress(OSError):
            shop.post(path)
        over.wait(0.1)

    with repeating(send):
        yield
