"""A scene of the shops: those that one act is about, and a Prometheus that watches them with shortened rules.

Each shop is a job of its own, so that an alert says by its job which trouble it is about.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dashboards.prometheus.server import Prometheus, configuration
from examples.demo.mailserver import Mailroom
from tests.support.waiting import wait_until

from .live_mail import Beside, MailServer, beside
from .live_rules import INTERVAL, scaled_rules
from .live_shops import Shop, shop, uvicorn

LONG = 600.0
"""Seconds: for as long as a scene may last."""
Look = Callable[[Prometheus], AbstractContextManager[object]]


class Scene:
    """What an act opens; all of it ends with the scene."""

    prometheus: Prometheus

    def __init__(self, directory: Path, stack: ExitStack, aside: Beside, look: Look) -> None:
        self.directory = directory
        self.stack = stack
        self.aside = aside
        self.targets: dict[str, list[str]] = {}
        self.shops: dict[str, Shop] = {}
        self._look = look

    def mail_server(self, mailroom: Mailroom | None) -> MailServer:
        """Start a mail server; without a mailroom, one that never answers."""
        return self.aside.mail_server(mailroom)

    def shop(self, job: str, mail: MailServer, app: str = "", *options: str, **environment: str) -> Shop:
        """Open a shop, or another application, with options of its server; nobody waits for it yet."""

        def command(port: int) -> list[str]:
            return uvicorn(port, *([f"tests.dashboards.{app}:app"] if app else []), *options)

        opened = self.stack.enter_context(shop(self.directory / job, mail.port, command, **environment))
        self.shops[job] = opened
        self.targets[job] = [opened.address]
        return opened

    def watch(self, scrape: dict[str, dict[str, Any]] | None = None) -> None:
        """Watch all that is open for longer than a range of the rules, so that what comes now is news."""
        for one in self.shops.values():
            wait_until(one.is_open, 60, one.log.read_text)
        rules = scaled_rules(self.directory)
        config = configuration(self.targets, rules, interval=f"{INTERVAL:g}s", scrape=scrape)
        self.prometheus = self.stack.enter_context(Prometheus(self.directory, config))
        self.stack.enter_context(self._look(self.prometheus))
        everybody = sum(map(len, self.targets.values()))
        wait_until(
            lambda: len(self.prometheus.query("min_over_time(up[7s]) == 1 and up offset 7s")) == everybody, 60
        )

    def _is_known(self) -> bool:
        everybody = sum(map(len, self.targets.values()))
        return len(self.prometheus.query("min_over_time(up[7s]) == 1 and up offset 7s")) == everybody

    def customers(self, job: str, rate: float, **more: Any) -> None:
        """Send customers, so many a second, for as long as the scene lasts."""
        self.aside.customers(self.shops[job].url, LONG, rate, **more)

    def count(self, job: str, metric: str) -> float:
        """Return the sum of a metric of a job, as Prometheus knows it."""
        found = self.prometheus.query(f'sum({metric}{{job="{job}"}})')
        return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def playing(directory: Path, act: Callable[[Scene], None], look: Look) -> Iterator[Scene]:
    """Play an act until its troubles are all there, with somebody who looks on."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scene = Scene(directory, stack, stack.enter_context(beside()), look)
        act(scene)
        yield scene
