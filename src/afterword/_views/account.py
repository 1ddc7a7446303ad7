"""The account of an application's background tasks, read from the text of ``/metrics``, and the law on it."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from .._common import semconv
from .._common.model import STARLETTE

_TOTAL, _BUCKET, _BOUND = "_total", "_bucket", "le"
_METRICS: Final = (
    *(semconv.SCHEDULED, semconv.PENDING, semconv.RUNNING, semconv.ENDED, semconv.LOST, semconv.FAILURES),
    *(semconv.WAIT, semconv.THREAD_WAIT, semconv.DURATION, semconv.INFO, semconv.RETURNED),
)
_NAMES: Final = "|".join(re.escape(metric.prometheus) for metric in _METRICS)
_OURS: Final = re.compile(
    rf"^[ \t]*(?:# *(?:HELP|TYPE|UNIT)[ \t]+)?(?:{_NAMES})(?:_total|_bucket)?[ \t{{].*$", re.M
)
"""The lines that matter; an application may have any number of others, and parsing them takes its time."""
_NAME: Final = semconv.SCHEDULED.labels[0]
_ENGINE: Final = semconv.SCHEDULED.labels[1]
_OUTCOME: Final = semconv.ENDED.labels[1]
_ERROR_TYPE: Final = semconv.FAILURES.labels[1]
_REASON: Final = semconv.RETURNED.labels[1]


@dataclass(slots=True)
class Histogram:
    """A histogram's cumulative buckets, summed over its other labels."""

    buckets: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, bound: str, count: float) -> None:
        """Add the count of one bucket."""
        self.buckets[float(bound)] += count

    def quantile(self, q: float) -> float | None:
        """Return what ``histogram_quantile`` returns: linear within the bucket that the rank falls into."""
        rank = q * self.buckets.get(math.inf, 0.0)
        lower_bound = lower_count = 0.0
        for bound, count in sorted(self.buckets.items()):
            if count and count >= rank:
                if bound == math.inf:
                    return lower_bound
                share = (rank - lower_count) / (count - lower_count)
                return lower_bound + (bound - lower_bound) * share
            lower_bound, lower_count = bound, count
        return None


@dataclass(slots=True)
class Account:
    """One task's account."""

    name: str
    engine: str = STARLETTE
    scheduled: int = 0
    pending: int = 0
    running: int = 0
    lost: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Failed runs by the type of the error."""
    returned: Counter[str] = field(default_factory=Counter)
    """Attempts that did not end their task, by the reason; what has been started again is no run more."""
    queued: int | None = None
    """Messages that nobody has received, where whoever reads the account has asked the broker."""
    wait: Histogram = field(default_factory=Histogram)
    thread_wait: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)

    @property
    def in_flight(self) -> int:
        """Runs that have not ended."""
        return self.pending + self.running

    @property
    def is_whole(self) -> bool:
        """Whether the law can be checked: one process has not all of what a queue carries to others."""
        return self.engine == STARLETTE or self.queued is not None

    @property
    def missing(self) -> int:
        """Scheduled runs that are neither queued nor in flight nor ended nor lost: none, by the law."""
        if not self.is_whole:
            return 0
        return self.scheduled - (self.queued or 0) - self.in_flight - self.ended.total() - self.lost


Accounts = dict[str, Account]


def read(metrics: str, content_type: str = "") -> Accounts | None:
    """Return every task's account by name; ``None`` if nothing in the text is of Afterword.

    Raises ``ValueError`` for a text that is no metrics.
    """
    lines = _OURS.findall(metrics)
    if not lines:
        return None
    accounts: Accounts = {}
    try:
        for family in _parsed(lines, content_type):
            for sample in family.samples:
                name = sample.labels.get(_NAME)
                if name is not None:
                    engine = sample.labels.get(_ENGINE, STARLETTE)
                    name = name if engine == STARLETTE else f"{name} ({engine})"
                    _add(accounts.setdefault(name, Account(name, engine)), sample)
    except Exception as fault:  # the parser raises whatever comes of it
        raise ValueError(f"what it answers cannot be read as metrics: {fault}") from fault
    return dict(sorted(accounts.items()))


def _parsed(lines: list[str], content_type: str) -> Iterable[Metric]:
    families: Iterable[Metric]
    if content_type.startswith("application/openmetrics-text"):
        families = openmetrics.text_string_to_metric_families("\n".join([*lines, "# EOF\n"]))
    else:
        families = text_string_to_metric_families("\n".join([*lines, ""]))
    return families


def _add(account: Account, sample: Any) -> None:
    labels, value = sample.labels, sample.value
    if sample.name == semconv.SCHEDULED.prometheus + _TOTAL:
        account.scheduled += int(value)
    elif sample.name == semconv.PENDING.prometheus:
        account.pending += int(value)
    elif sample.name == semconv.RUNNING.prometheus:
        account.running += int(value)
    elif sample.name == semconv.LOST.prometheus + _TOTAL:
        account.lost += int(value)
    elif sample.name == semconv.ENDED.prometheus + _TOTAL:
        account.ended[labels[_OUTCOME]] += int(value)
    elif sample.name == semconv.FAILURES.prometheus + _TOTAL:
        account.failures[labels[_ERROR_TYPE]] += int(value)
    elif sample.name == semconv.RETURNED.prometheus + _TOTAL:
        account.returned[labels[_REASON]] += int(value)
    else:
        times = {
            semconv.WAIT.prometheus + _BUCKET: account.wait,
            semconv.THREAD_WAIT.prometheus + _BUCKET: account.thread_wait,
            semconv.DURATION.prometheus + _BUCKET: account.duration,
        }.get(sample.name)
        if times is not None:
            times.add(labels[_BOUND], value)


def broken(accounts: Iterable[Account]) -> list[Account]:
    """Return the accounts that break the law: scheduled = pending + running + the six outcomes + lost."""
    return [account for account in accounts if account.missing]
