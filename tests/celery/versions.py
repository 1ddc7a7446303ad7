"""What an older Celery, or its kombu, does not do: the situations that need it are not played there."""

from __future__ import annotations

from importlib.metadata import version

import pytest


def _has(package: str, *least: int) -> bool:
    return tuple(int(part) for part in version(package).split(".")[:2]) >= least


def _needed(has: bool, why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has, reason=f"celery {version('celery')}, kombu {version('kombu')}: {why}")


SEARCHES_OFTEN = _needed(_has("kombu", 5, 6), "looks for unacknowledged messages every 100 s, whatever it is told")
TERMINATES_GREENLETS = _needed(_has("celery", 5, 5), "terminates nothing in the gevent pool")
HEARS_AGAIN = _needed(
    _has("celery", 5, 6), "after a lost connection, its main process hears of no end of a task that ran meanwhile"
)
SPAWNS = _needed(_has("celery", 5, 7), "has no --pool-start-method")
PUTS_BACK = _has("celery", 5, 5) or not _has("billiard", 4, 3)
"""Whether a cold shutdown puts a message back that is acknowledged late; else Redis does, after an hour."""
