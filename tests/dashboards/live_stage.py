"""Shops in trouble, all at a time, and one Prometheus that watches them with shortened rules.

Each shop is a job of its own, so that an alert says by its job which trouble it is about.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from dashboards.prometheus.server import Prometheus, configuration
from examples.demo.mailserver import Mailroom
from tests.support.threads import repeating
from tests.support.waiting import wait_until

from .live_bureau import IMPATIENT, bureau
from .live_mail import Beside, IllMailroom, beside
from .live_rules import INTERVAL, scaled_rules
from .live_shops import NOTICED, TWO_WORKERS, Shop, shop, uvicorn
from .live_traffic import forgetting, more_troubles

_LONG = 600.0
_DEPLOYS = 40.0
"""Seconds from one deploy to the next, in which workers start and send mails again."""
_HIDDEN = {
    "source_labels": ["__name__", "background_task_outcome"],
    "regex": "background_task_(ended|never_ran)_total;(dropped|abandoned)",
    "action": "drop",
}


@contextmanager
def stage(
    directory: Path, watch: Callable[[Prometheus], AbstractContextManager[object]], *, more: bool = False
) -> Iterator[Prometheus]:
    """Open the shops and Prometheus, let somebody watch it, and let the troubles begin; in drills, some more."""
    with ExitStack() as stack:
        aside = stack.enter_context(beside())
        good, dying, ill, silent = map(aside.mail_server, (Mailroom(), Mailroom(), IllMailroom(), None))

        def neglected(port: int) -> list[str]:
            return uvicorn(port, "tests.dashboards.live_neglected:app")

        def blocked(port: int) -> list[str]:
            return uvicorn(port, "tests.dashboards.live_blocked:app")

        def incidents(port: int) -> list[str]:
            return uvicorn(port, "tests.dashboards.live_incidents:app")

        def workers(port: int) -> list[str]:
            return uvicorn(port, "tests.dashboards.live_leisurely:app", *TWO_WORKERS)

        metrics = directory / "metrics"
        metrics.mkdir()
        shops = {
            "healthy": shop(directory / "healthy", good.port),
            "mail-down": shop(directory / "mail-down", dying.port),
            "mail-ill": shop(directory / "mail-ill", ill.port, SHOP_SMTP_TIMEOUT="600"),
            "starved": shop(directory / "starved", good.port, SHOP_THREADS="1"),
            "careless": shop(directory / "careless", good.port),
            "neglected": shop(directory / "neglected", good.port, neglected, AFTERWORD_MAX_TASK_NAMES="3"),
            "blocked": shop(directory / "blocked", good.port, blocked),
            "gone": shop(directory / "gone", good.port, blocked),
            **{
                job: shop(directory / job, good.port, incidents)
                for job in ("forgotten", *(("refused", "disk-full", "swallowed", "scanned") if more else ()))
            },
            "workers": shop(
                directory / "workers",
                silent.port,
                workers,
                SHOP_SMTP_TIMEOUT="600",
                PROMETHEUS_MULTIPROC_DIR=str(metrics),
            ),
        }
        opened = {job: stack.enter_context(one) for job, one in shops.items()}
        bare, thread = start_http_server(0, "127.0.0.1", CollectorRegistry())
        for end in (thread.join, bare.server_close, bare.shutdown):
            stack.callback(end)
        targets = {job: [one.address] for job, one in opened.items()}
        targets["neglected"].append(f"127.0.0.1:{bare.server_port}")
        targets["filtered"] = targets["careless"]
        office = stack.enter_context(bureau(directory / "celery"))
        first, second = (office.worker(SHOP_SETTINGS=IMPATIENT) for _ in range(2))
        targets["celery"] = [office.publisher.address, *(f"127.0.0.1:{one.port}" for one in (first, second))]
        for one in opened.values():
            wait_until(one.is_open, 60, one.log.read_text)
        config = configuration(
            targets,
            scaled_rules(directory),
            interval=f"{INTERVAL:g}s",
            scrape={"filtered": {"metric_relabel_configs": [_HIDDEN]}},
        )
        prometheus = stack.enter_context(Prometheus(directory, config))
        stack.enter_context(watch(prometheus))
        # for longer than a range of the rules, so that what comes now is news
        everybody = sum(map(len, targets.values()))
        stack.enter_context(forgetting(opened["forgotten"]))
        wait_until(lambda: len(prometheus.query("min_over_time(up[7s]) == 1 and up offset 7s")) == everybody, 60)
        database = sqlite3.connect(directory / "starved" / "shop.sqlite3", check_same_thread=False)
        stack.enter_context(_busy(stack.enter_context(closing(database))))
        _trouble(opened, aside)
        opened["gone"].process.kill()
        stack.enter_context(_pictures(opened["blocked"]))
        if more:
            stack.enter_context(more_troubles(opened))
        office.trouble_itself()
        wait_until(lambda: _count(prometheus, "workers", "background_task_running") > 4, 60)
        opened["workers"].kill_workers()
        wait_until(lambda: _count(prometheus, "workers", "background_task_lost_total") > 4, NOTICED)
        wait_until(lambda: _count(prometheus, "workers", "background_task_running") > 4, NOTICED)
        opened["workers"].deploy()
        wait_until(lambda: _count(prometheus, "mail-down", "background_task_started_total") > 30, 60)
        dying.go_down()
        office.run_twice()
        office.kill(first)
        office.worker(first.port, queue="shop,slow")
        stack.enter_context(office.publishing())  # it is said to grow while that is much of it: not for long
        stack.enter_context(_deploying(opened["workers"]))
        yield prometheus


def _trouble(shops: dict[str, Shop], aside: Beside) -> None:
    """Send the customers, each for as long as it takes."""
    aside.customers(shops["healthy"].url, _LONG, 3, healthy=True)
    aside.customers(shops["mail-down"].url, _LONG, 6, only="order, slow mail")
    aside.customers(shops["mail-ill"].url, _LONG, 5, healthy=True, only="order")
    aside.customers(shops["neglected"].url, _LONG, 2, healthy=True)
    aside.customers(shops["workers"].url, _LONG, 2, only="order, slow mail")
    aside.customers(shops["starved"].url, _LONG, 20, only="browse", concurrency=6)
    # exactly one of each: the first event of a name, or of a route and status
    assert shops["careless"].post("/orders/999/refund") == 404
    assert shops["careless"].post("/orders/2/refund") == 500
    assert shops["careless"].post("/orders/1/return") == 202


@contextmanager
def _pictures(shop: Shop) -> Iterator[None]:
    """Let somebody send pictures, one after the other."""

    def send(over: threading.Event) -> None:
        shop.post("/pictures")
        over.wait(2.8)  # more than a second of which the loop is held up; in the rest it is scraped

    with repeating(send):
        yield


@contextmanager
def _deploying(shop: Shop) -> Iterator[None]:
    """Deploy again and again: a busy machine may miss so many scrapes that it does not see the first time."""

    def deploy(over: threading.Event) -> None:
        if not over.wait(_DEPLOYS):
            with suppress(AssertionError):  # not both workers are there yet
                shop.deploy()

    with repeating(deploy):
        yield


def _count(prometheus: Prometheus, job: str, metric: str) -> float:
    found = prometheus.query(f'sum({metric}{{job="{job}"}})')
    return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def _busy(database: sqlite3.Connection) -> Iterator[None]:
    """Write to a shop's database most of the time, so that its own writers wait for it in their threads."""

    def write(over: threading.Event) -> None:
        database.execute("BEGIN IMMEDIATE")
        over.wait(0.15)
        database.rollback()
        over.wait(0.03)

    database.isolation_level = None
    with repeating(write):
        yield
