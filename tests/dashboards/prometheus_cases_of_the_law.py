"""The law over all of Celery's processes: what is recorded of it while workers come and go."""

import re

from dashboards import names
from dashboards.names import CELERY, ENGINE, LOST, PENDING, QUEUE_MESSAGES, RUNNING, SCHEDULED, TASK, Outcome
from dashboards.promql import equals
from dashboards.promql import series as select
from dashboards.recording import NOT_IN_HAND, QUEUE_DIFFERENCE

from .prometheus_cases import MAIL, Case, ended, of_task, queue, series

_LEFT = f"round({QUEUE_DIFFERENCE})"
_ALL = select("", equals(ENGINE, CELERY))


def left(value: float) -> dict[str, float]:
    """Return how many tasks are in none of the places where they may be."""
    return {_ALL: value}


def info(instance: str, values: str) -> dict[str, str]:
    """Return that a process is there, which began with its first scrape."""
    missing = re.match(r"_x(\d+)", values)
    start = 60 * int(missing[1]) if missing else 0
    return {
        series(names.INFO, instance=instance, **{names.VERSION: "1"}): values,
        series(names.ACCOUNT_START, instance=instance): values.replace("1x", f"{start}x"),
    }


def at(metric: str, instance: str, values: str) -> dict[str, str]:
    """Return a series of one of the processes."""
    return {of_task(metric, engine=CELERY, instance=instance): values}


def succeeded(instance: str, values: str) -> dict[str, str]:
    """Return how many have succeeded in a worker."""
    return {ended(Outcome.SUCCEEDED, engine=CELERY, instance=instance): values}


def published(values: str) -> dict[str, str]:
    """Return how many are scheduled by a process that runs none of them."""
    none = {**at(PENDING, "a:80", "0x240"), **at(RUNNING, "a:80", "0x240")}
    return {**info("a:80", "1x240"), **at(SCHEDULED, "a:80", values), **none}


def worker(instance: str, running: str, ends: str, lost: str) -> dict[str, str]:
    """Return the series of a worker."""
    held = running.replace("2", "0")
    return {
        **at(SCHEDULED, instance, held),
        **at(PENDING, instance, held),
        **at(RUNNING, instance, running),
        **succeeded(instance, ends),
        **at(LOST, instance, lost),
    }


CASES = (
    Case(
        "law, about 0: a worker replaces another one, and a queue grows",
        {
            **published("0+3x240"),
            **info("w:1", "1x60 stale"),
            **worker("w:1", "0x60 stale", "0+2x60 stale", "0x60 stale"),
            **info("w:2", "_x61 1x180"),
            **worker("w:2", "_x61 0x180", "_x61 2+2x180", "_x61 0x180"),
            queue(QUEUE_MESSAGES): "0+1x240",
            queue(QUEUE_MESSAGES, instance="b:80"): "0+1x240",
        },
        recorded={
            f"abs({QUEUE_DIFFERENCE}) < bool 1.5": {minute: left(1) for minute in (5, 30, 60, 62, 100, 125, 200)},
            f"round({NOT_IN_HAND})": {200: {select("", equals(ENGINE, CELERY), equals(TASK, MAIL)): 60}},
        },
    ),
    Case(
        "law, above 0 for an hour: a worker was killed with what it ran, and nobody tells",
        {
            **published("5x240"),
            **info("w:1", "1x30 stale"),
            **worker("w:1", "2x30 stale", "3x30 stale", "0x30 stale"),
            **info("w:2", "_x40 1x200"),
            **worker("w:2", "_x40 0x200", "_x40 0x200", "_x40 0x200"),
        },
        recorded={_LEFT: {5: left(0), 29: left(0), 35: left(2), 85: left(2), 100: left(0)}},
    ),
    Case(
        "law, 0 again: the next worker finds what was lost in the journal",
        {
            **published("5x240"),
            **info("w:1", "1x30 stale"),
            **worker("w:1", "2x30 stale", "3x30 stale", "0x30 stale"),
            **info("w:2", "_x40 1x200"),
            **worker("w:2", "_x40 0x200", "_x40 0x200", "_x40 2x200"),
        },
        recorded={_LEFT: {29: left(0), 35: left(2), 45: left(0), 85: left(0)}},
    ),
    Case(
        "law, about 0: a worker is restarted at its address, soon after all began",
        {
            **published("0+2x240"),
            **info("w:1", "1x240"),
            **worker("w:1", "0x240", "0+2x20 0+2x219", "0x240"),
        },
        recorded={f"abs({QUEUE_DIFFERENCE}) < bool 3.5": {minute: left(1) for minute in (19, 25, 45, 59, 100)}},
    ),
    Case(
        "law, nothing is recorded where there is no Celery",
        {
            of_task(SCHEDULED): "0+3x60",
            of_task(PENDING): "0x60",
            of_task(RUNNING): "0x60",
            ended(Outcome.SUCCEEDED): "0+3x60",
        },
        recorded={QUEUE_DIFFERENCE: {30: {}}},
    ),
)
