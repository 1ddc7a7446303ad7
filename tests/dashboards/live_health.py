"""A shop where all is well, with the rules as they are: no minute of theirs is shortened."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboards import names, promql
from dashboards.prometheus.server import OPTIONAL_RULES, RULES, Prometheus, configuration
from examples.demo.mailserver import Mailroom
from tests.support.waiting import wait_until

from .live_mail import beside
from .live_shops import shop
from .live_situations import Watch

JOB = "well"
_INTERVAL = "15s"
_RATE = 3
"""Customers a second."""


class Health:
    """What has been seen of the shop."""

    def __init__(self, prometheus: Prometheus, watch: Watch) -> None:
        self._prometheus = prometheus
        self._watch = watch
        self._start = time.monotonic()

    def last(self, minutes: float) -> None:
        """Wait until so many minutes have passed."""
        threading.Event().wait(max(0.0, self._start + 60 * minutes - time.monotonic()))

    @property
    def fired(self) -> dict[str, str]:
        """The alerts that fired, and what the first of each said."""
        return {alert: found[0]["annotations"]["description"] for (_, alert), found in self._watch.fired.items()}

    def tasks(self) -> int:
        """Return how many tasks have succeeded, as Prometheus knows."""
        succeeded = promql.series(names.ENDED, promql.equals(names.OUTCOME, names.Outcome.SUCCEEDED))
        found = self._prometheus.query(f"sum({succeeded})")
        return int(float(found[0]["value"][1])) if found else 0


@contextmanager
def health(directory: Path, minutes: float) -> Iterator[Health]:
    """Open the shop, send it customers for so long, and watch it with a Prometheus of its own."""
    with beside() as aside:
        mail = aside.mail_server(Mailroom())
        with shop(directory / JOB, mail.port) as open_shop:
            wait_until(open_shop.is_open, 60, open_shop.log.read_text)
            config = configuration({JOB: [open_shop.address]}, (*RULES, *OPTIONAL_RULES), interval=_INTERVAL)
            with Prometheus(directory, config) as prometheus:
                aside.customers(open_shop.url, 60 * minutes + 600, _RATE, healthy=True)
                watch = Watch()
                with watch.over(prometheus):
                    yield Health(prometheus, watch)
