"""Reads the account of the background tasks from the text of ``/metrics``, and checks the law on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from afterword import Outcome

OUTCOMES = tuple(outcome.value for outcome in Outcome)


@dataclass
class Histogram:
    """A histogram's cumulative buckets, summed over its other labels."""

    buckets: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, bound: str, count: float) -> None:
        """Add the count of one bucket."""
        self.buckets[float(bound)] += count

    def quantile(self, q: float) -> float | None:
        """Return what ``histogram_quantile`` returns: linear within the bucket that the rank falls into."""
        rank = q * self.buckets[float("inf")]
        lower_bound = lower_count = 0.0
        for bound, count in sorted(self.buckets.items()):
            if count and count >= rank:
                if bound == float("inf"):
                    return lower_bound
                share = (rank - lower_count) / (count - lower_count)
                return lower_bound + (bound - lower_bound) * share
            lower_bound, lower_count = bound, count
        return None


@dataclass
class Account:
    """One task's account."""

    name: str
    scheduled: int = 0
    pending: int = 0
    running: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Failed runs by the type of the error."""
    wait: Histogram = field(default_factory=Histogram)
    thread_wait: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)

    @property
    def in_flight(self) -> int:
        """Runs that have not ended."""
        return self.pending + self.running

    @property
    def balanced(self) -> bool:
        """The law: scheduled = pending + running + the sum of all outcomes."""
        return self.scheduled == self.in_flight + self.ended.total()


def read(metrics: str) -> dict[str, Account]:
    """Read every task's account from the text of a scrape, by name."""
    accounts: dict[str, Account] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            name = sample.labels.get("background_task_name")
            if name is None:
                continue
            account = accounts.setdefault(name, Account(name))
            match sample.name.removeprefix("background_task_"):
                case "scheduled_total":
                    account.scheduled += int(sample.value)
                case "pending":
                    account.pending += int(sample.value)
                case "running":
                    account.running += int(sample.value)
                case "ended_total":
                    account.ended[sample.labels["background_task_outcome"]] += int(sample.value)
                case "failures_total":
                    account.failures[sample.labels["error_type"]] += int(sample.value)
                case "wait_seconds_bucket":
                    account.wait.add(sample.labels["le"], sample.value)
                case "thread_wait_seconds_bucket":
                    account.thread_wait.add(sample.labels["le"], sample.value)
                case "duration_seconds_bucket":
                    account.duration.add(sample.labels["le"], sample.value)
    return dict(sorted(accounts.items()))


def settled(accounts: dict[str, Account]) -> bool:
    """Whether no task is waiting or running, and the law holds for each."""
    return all(account.balanced and not account.in_flight for account in accounts.values())
