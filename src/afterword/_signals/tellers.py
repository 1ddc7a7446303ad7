"""Who is told of what is no run's end: the log, and OpenTelemetry's logs where an application asks for them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, Protocol

from .._common.faults import contained
from .._common.log import emit
from .._common.model import TaskRun


class Happening(NamedTuple):
    """What has happened, as it is on a log line."""

    level: str
    event: str
    keys: dict[str, Any]
    run: TaskRun | None = None
    """The run that it is about, if it is about one."""


class Teller(Protocol):
    """Who is told."""

    @property
    def to(self) -> Hashable:
        """What it tells to; of several that tell to the same, one is enough."""
        ...

    def tell(self, happening: Happening) -> None:
        """Tell it."""
        ...


class Lines:
    """Writes log lines."""

    to = "log"

    def tell(self, happening: Happening) -> None:
        """Write one line."""
        emit(happening.level, happening.event, happening.keys)


def tell(tellers: Iterable[Teller], happening: Happening) -> None:
    """Tell everybody, each once; what one of them raises is suppressed, as with the log."""
    for teller in {teller.to: teller for teller in tellers}.values():
        with contained():
            teller.tell(happening)
