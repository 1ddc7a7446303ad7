"""What is said about tasks and requests: the expectations of a test and the story that a signal tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

ANY = "*"
"""Stands for a value that the contract leaves open."""

HTTP_EXCEPTION = "fastapi.exceptions.HTTPException"
OUTCOMES = {"succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned"}


def short(name: Any) -> str:
    """Return the last part of a task's name; tests mostly call their tasks ``shop.mail``."""
    return str(name).rpartition(".")[2]


@dataclass(frozen=True)
class Ended:
    """One run that is expected to end so."""

    name: str
    outcome: str
    reason: str | None = None
    error_type: str | None = None

    @property
    def started(self) -> bool:
        return self.outcome in {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class RequestError:
    """One failed request that is expected to be reported."""

    status: str
    error_type: str
    route: str
    method: str = "GET"


Expectation = Ended | RequestError


def succeeded(name: str) -> Ended:
    """Expect a run that returned."""
    return Ended(name, "succeeded")


def failed(name: str, error_type: str = "ValueError", reason: str = "exception") -> Ended:
    """Expect a run that raised."""
    return Ended(name, "failed", reason, error_type)


def cancelled(name: str) -> Ended:
    """Expect a run that was cancelled or torn down while it ran."""
    return Ended(name, "cancelled", "cancelled")


def skipped(name: str, reason: str = "earlier_task_failed") -> Ended:
    """Expect a run behind one that failed in the same batch, or was cancelled."""
    return Ended(name, "skipped", reason)


def dropped(name: str, reason: str = "request_failed") -> Ended:
    """Expect a run whose request failed before it could start."""
    return Ended(name, "dropped", reason)


def abandoned(name: str, reason: str = "never_attached") -> Ended:
    """Expect a run that nothing will ever call."""
    return Ended(name, "abandoned", reason)


def request_error(status: int | str, error_type: str, route: str = "/", method: str = "GET") -> RequestError:
    """Expect a request that is reported as failed."""
    return RequestError(str(status), error_type, route, method)


def answered_error(status: int, error_type: str, route: str = "/", method: str = "GET") -> RequestError:
    """Expect an error that is reported, although it was answered with a 2xx and so failed no request."""
    return request_error(status, error_type, route, method)


@dataclass
class Story:
    """What one signal tells, as counts; ``None`` where the signal does not speak of something."""

    scheduled: Counter[str] | None = field(default_factory=Counter)
    started: Counter[str] | None = field(default_factory=Counter)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] | None = field(default_factory=Counter)
    error_types: Counter[tuple[str, str, str]] | None = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str, str, str]] | None = field(default_factory=Counter)

    def add_run(self, run: Ended) -> None:
        """Tell of one run, from scheduling to outcome."""
        if self.scheduled is not None:
            self.scheduled[run.name] += 1
        if self.started is not None and run.started:
            self.started[run.name] += 1
        self.add_end(run)

    def add_end(self, run: Ended) -> None:
        """Tell of the outcome of one run."""
        self.ended[run.name, run.outcome] += 1
        if self.reasons is not None and run.reason is not None:
            self.reasons[run.name, run.outcome, run.reason] += 1
        if self.error_types is not None:
            self.error_types[run.name, run.outcome, str(run.error_type)] += 1
        if run.outcome == "failed":
            self.failures[run.name, str(run.error_type)] += 1

    def add_error(self, error: RequestError) -> None:
        """Tell of one failed request."""
        if self.errors is not None:
            self.errors[error.method, error.route, error.status, error.error_type] += 1


def story_of(expected: Iterable[Expectation]) -> Story:
    """Return the story that the expectations add up to."""
    story = Story(error_types=None)  # what the signals agree on, and few tests name
    for item in expected:
        if isinstance(item, Ended):
            story.add_run(item)
        else:
            story.add_error(item)
    return story


def assert_same(told: Story, reference: Story, who: str) -> None:
    """Compare everything that both of them speak of; ``ANY`` in the reference matches what was told."""
    for aspect in vars(reference):
        mine, theirs = getattr(told, aspect), getattr(reference, aspect)
        if mine is not None and theirs is not None:
            mine, theirs = _without_zeros(mine), _without_zeros(theirs)
            assert _blurred(mine, theirs) == theirs, f"{who}: {aspect} is {mine}, expected {theirs}"


def _without_zeros(counts: Counter[Any]) -> Counter[Any]:
    return Counter({key: count for key, count in counts.items() if count})


def _blurred(told: Counter[Any], reference: Counter[Any]) -> Counter[Any]:
    """Replace what a pattern of the reference leaves open, so that equality decides."""
    patterns = [key for key in reference if isinstance(key, tuple) and ANY in key]
    blurred: Counter[Any] = Counter()
    for key, count in told.items():
        exact = min(count, reference[key])
        match = next((pattern for pattern in patterns if _matches(key, pattern)), key)
        blurred[key] += exact
        blurred[match] += count - exact
    return _without_zeros(blurred)


def _matches(key: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return all(expected in (ANY, value) for value, expected in zip(key, pattern, strict=True))
