"""The requests that the tests send, what comes of them, and how the accounts are compared."""

from __future__ import annotations

from tests.otlp.serving import Numbers, Process

VISITS = ["/good", "/good", "/bad", "/refused", "/good"]
STATUSES = [200, 200, 200, 409, 200]
STORY = sorted(
    [("send_mail", "succeeded"), ("resize_picture", "succeeded")] * 3
    + [("charge_card", "failed"), ("send_mail", "skipped"), ("send_mail", "dropped")]
)
"""The outcomes of the tasks of one round of requests."""

_ACCOUNT = ("background_task_", "afterword_request_errors", "afterword_observer_errors")


def visit(server: Process, times: int = 1) -> list[int]:
    """Send the requests, wait until their tasks have ended, and return the answers' statuses."""
    before = server.ended()
    statuses = [server.get(path) for path in VISITS * times]
    server.wait_for(lambda: server.ended() == before + len(STORY) * times)
    return statuses


def account(numbers: Numbers) -> Numbers:
    """Return what has to be equal at rest: not the process's own gauges, and sums to the microsecond.

    To Prometheus, a label that is empty is none.
    """
    return {
        (name, frozenset(label for label in labels if label[1])): round(value, 6)
        for (name, labels), value in numbers.items()
        if name.startswith(_ACCOUNT) and "oldest_age" not in name
    }


def ended(numbers: Numbers) -> dict[tuple[str, str], float]:
    """Return how often each outcome of each task occurred, those that did."""
    counts = {}
    for (name, labels), value in numbers.items():
        if name == "background_task_ended_total" and value:
            known = dict(labels)
            counts[known["background_task_name"].rpartition(".")[2], known["background_task_outcome"]] = value
    return counts
