"""What the scenarios schedule. They have real names, so that it is seen who finds them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tests.support.waiting import wait_until_async

did: list[str] = []
"""What the tasks did, in order."""

tags: list[Callable[[], str]] = []
"""What a task can see of its request, by a peer's own means."""


def note(what: str) -> None:
    """Do something that is seen from outside."""
    did.append(" ".join([what, *(tag() for tag in tags)]))


async def send_mail() -> None:
    """Work on the event loop."""
    note("send_mail")


def write_report() -> None:
    """Work in a worker thread."""
    note("write_report")


async def charge_card() -> None:
    """Fail on the event loop."""
    note("charge_card fails")
    raise ValueError("boom")


def convert_file() -> None:
    """Fail in a worker thread."""
    note("convert_file fails")
    raise OSError("boom")


async def count_visit(number: int, *, by: str) -> None:
    """Work with arguments."""
    note(f"count_visit {number} {by}")


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as most decorators do."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@logged
async def clean_up() -> None:
    """Work behind a decorator."""
    note("clean_up")


class Archive:
    """A callable object that works on the event loop."""

    async def __call__(self) -> None:
        note("Archive")


class Till:
    """Its method is the task, in a worker thread."""

    def close(self) -> None:
        note("Till.close")


NAMES = frozenset(
    f"{__name__}.{name}"
    for name in (
        "send_mail",
        "write_report",
        "charge_card",
        "convert_file",
        "count_visit",
        "clean_up",
        "hold",
        "Archive",
        "Till.close",
    )
)
"""How they are to be called in every signal."""


class _Hold:
    """Whether `hold` is to go on; on asyncio and on trio."""

    released = False


async def hold() -> None:
    """Run until it is released."""
    note("hold begins")
    await wait_until_async(lambda: _Hold.released)
    _Hold.released = False
    note("hold ends")


def release() -> None:
    """Let `hold` go on."""
    _Hold.released = True
