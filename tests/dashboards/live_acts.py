"""The acts: what goes wrong, in few shops at a time, since all that runs shares two cores with Prometheus."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from prometheus_client import CollectorRegistry, start_http_server

from examples.demo.mailserver import Mailroom
from tests.support.threads import repeating
from tests.support.waiting import wait_until

from .live_bureau import IMPATIENT, bureau
from .live_mail import IllMailroom
from .live_scene import Scene
from .live_shops import NOTICED, TWO_WORKERS, Shop
from .live_traffic import forgetting, more_troubles

_DEPLOYS = 15.0
"""Seconds from one worker's end to the next one's: another has started by then, and sends mails again."""
_HIDDEN = {
    "source_labels": ["__name__", "background_task_outcome"],
    "regex": "background_task_(ended|never_ran)_total;(dropped|abandoned)",
    "action": "drop",
}


def requests(scene: Scene) -> None:
    """Lose tasks on the error path, and forget, block, die and name too much; one shop is healthy."""
    good = scene.mail_server(Mailroom())
    scene.shop("healthy", good)
    careless = scene.shop("careless", good)
    scene.shop("neglected", good, "live_neglected", AFTERWORD_MAX_TASK_NAMES="3")
    blocked = scene.shop("blocked", good, "live_blocked")
    gone = scene.shop("gone", good, "live_blocked")
    forgotten = scene.shop("forgotten", good, "live_incidents")
    bare, thread = start_http_server(0, "127.0.0.1", CollectorRegistry())
    for end in (thread.join, bare.server_close, bare.shutdown):
        scene.stack.callback(end)
    scene.targets["neglected"].append(f"127.0.0.1:{bare.server_port}")
    scene.targets["filtered"] = scene.targets["careless"]
    scene.watch(scrape={"filtered": {"metric_relabel_configs": [_HIDDEN]}})
    scene.stack.enter_context(forgetting(forgotten))
    scene.customers("healthy", 3, healthy=True)
    scene.customers("neglected", 2, healthy=True)
    # exactly one of each: the first event of a name, or of a route and status
    assert careless.post("/orders/999/refund") == 404
    assert careless.post("/orders/2/refund") == 500
    assert careless.post("/orders/1/return") == 202
    gone.process.kill()
    scene.stack.enter_context(_pictures(blocked))


def more_requests(scene: Scene) -> None:
    """Let clients send what is not valid, a disk be full, errors and tasks be swallowed, and a scanner ask."""
    good = scene.mail_server(Mailroom())
    for job in ("refused", "disk-full", "swallowed", "replaced", "scanned"):
        scene.shop(job, good, "live_incidents")
    scene.watch()
    scene.stack.enter_context(more_troubles(scene.shops))


def mails(scene: Scene) -> None:
    """Let one mail server go down, and one be ill; and hold the database of a shop that has one thread."""
    good, dying, ill = map(scene.mail_server, (Mailroom(), Mailroom(), IllMailroom()))
    scene.shop("mail-down", dying)
    scene.shop("mail-ill", ill, SHOP_SMTP_TIMEOUT="600")
    scene.shop("starved", good, SHOP_THREADS="1")
    scene.watch()
    database = sqlite3.connect(scene.directory / "starved" / "shop.sqlite3", check_same_thread=False)
    scene.stack.enter_context(_busy(scene.stack.enter_context(closing(database))))
    scene.customers("mail-down", 6, only="order, slow mail")
    scene.customers("mail-ill", 5, healthy=True, only="order")
    scene.customers("starved", 20, only="browse", concurrency=6)
    wait_until(lambda: scene.count("mail-down", "background_task_started_total") > 30, 60)
    dying.go_down()


def workers(scene: Scene) -> None:
    """Kill a worker with its tasks, then replace the workers one after the other; the rest goes on answering."""
    silent = scene.mail_server(None)
    (metrics := scene.directory / "metrics").mkdir()
    shared = {"SHOP_SMTP_TIMEOUT": "600", "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    shop = scene.shop("workers", silent, "live_leisurely", *TWO_WORKERS, **shared)
    scene.watch()
    scene.customers("workers", 2, only="order, slow mail")
    wait_until(lambda: scene.count("workers", "background_task_running") > 8, 60)
    shop.kill_worker()
    wait_until(lambda: scene.count("workers", "background_task_lost_total") > 0, NOTICED)
    scene.stack.enter_context(_deploying(shop))


def queues(scene: Scene) -> None:
    """Publish what no worker takes, knows, survives or keeps up with; kill one, and give its message to two."""
    office = scene.stack.enter_context(bureau(scene.directory / "celery"))
    first, second = (office.worker(SHOP_SETTINGS=IMPATIENT) for _ in range(2))
    scene.targets["celery"] = [office.publisher.address, *(f"127.0.0.1:{one.port}" for one in (first, second))]
    scene.watch()
    office.trouble_itself()
    office.run_twice()
    office.kill(first)
    office.worker(first.port, queue="shop,slow")
    scene.stack.enter_context(office.publishing())  # it is said to grow while that is much of it: not for long


ACTS = (requests, mails, workers, queues)
"""What is played one after the other."""
MORE_ACTS = (*ACTS, more_requests)
"""The same where there is time for drills."""


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
    """Deploy by rolling, again and again: a busy machine may miss a scrape that says how one worker ended."""

    def deploy(over: threading.Event) -> None:
        with suppress(AssertionError):  # not both workers are there yet
            shop.replace_worker()
        over.wait(_DEPLOYS)

    with repeating(deploy):
        yield


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
