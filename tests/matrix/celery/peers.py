"""The peers of a worker: as `tests.matrix.peers` starts them, but all processes note in one file what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Peer:
    """Nobody."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def start(self) -> None:
        """Begin, in a process that may not have imported Celery yet; children are forked of it."""

    def says(self, text: str) -> None:
        """Note what it says."""
        from tests.celery.shop import append

        append(self._file, {"says": text})


class Sentry(Peer):
    """Sentry with tracing: its CeleryIntegration switches itself on. What Redis was asked is left out."""

    def start(self) -> None:
        from tests.benchmarks.peers import start_sentry

        start_sentry(self._keep)

    def _keep(self, envelope: Any) -> None:
        from tests.matrix.peers import sentry_item

        for item in envelope.items:
            text = sentry_item(item, without="db.redis")
            if text:
                self.says(text)


class Datadog(Peer):
    """Datadog's tracer, as of `ddtrace-run`: its spans of Celery's tasks. What Redis was asked is left out."""

    def start(self) -> None:
        from tests.benchmarks.peers import start_datadog

        start_datadog(self._keep)

    def _keep(self, trace: list[Any]) -> None:
        for span in trace:
            if span.name.startswith("celery."):
                told = [span.get_tag(tag) for tag in ("celery.action", "celery.state", "error.type")]
                self.says(f"{span.name} {span.resource} error={span.error} {told}")


PEERS: dict[str, type[Peer]] = {"nobody": Peer, "sentry": Sentry, "datadog": Datadog}
