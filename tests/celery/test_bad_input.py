"""Messages that are no tasks, forged, of other hosts' clocks: the worker goes on, and the account holds."""

from __future__ import annotations

import uuid
from time import time
from typing import Any

import pytest

from tests.celery.conftest import shared_by
from tests.celery.stage import Stage

shared = shared_by("prefork", "threads", "gevent")


JSON, PICKLE = "application/json", "application/x-python-serialize"
INVALID = "abandoned invalid_message"


def send(stage: Stage, headers: dict[str, Any], body: bytes = b"[[1], {}, {}]", kind: str = JSON) -> str:
    """Send what Celery would not have sent; return its id."""
    task_id = uuid.uuid4().hex
    given = stage.app.amqp.as_task_v2(task_id, "shop.works").headers
    with stage.app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            body,
            routing_key="shop",
            headers={**given, **headers},
            serializer=None,
            content_type=kind,
            content_encoding="utf-8",
        )
    return task_id


def sample(stage: Stage, name: str) -> float:
    """Return the sum of a worker's samples of a name."""
    found = [line for line in stage.workers[0].scrape().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.split()[-1]) for line in found)


@pytest.mark.parametrize(
    ("body", "kind", "outcome"),
    [
        pytest.param(b"{{{{", JSON, INVALID, id="no JSON"),
        pytest.param(b"\x80\x04.", PICKLE, INVALID, id="pickled"),
        pytest.param(b"[[1], [2], {}]", JSON, "failed exception", id="not callable so"),
    ],
)
def test_a_message_that_is_no_task(play: Stage, body: bytes, kind: str, outcome: str):
    """A message that cannot be read as a task ends once, also where Celery says nothing, or that it succeeded."""
    result = send(play, {}, body, kind)
    word = outcome.partition(" ")[0]
    play.settles(*(["started works"] if word == "failed" else []), f"ended works {word}")
    play.tells(result, outcome)


def test_a_message_of_somebody_else(play: Stage):
    """A message that has nothing of a task is nobody's, and the next one runs as ever."""
    with play.app.producer_pool.acquire(block=True) as producer:
        producer.publish({"hello": "world"}, routing_key="shop")
    result = play.publish("works")
    play.settles("scheduled works", "started works", "ended works succeeded")
    play.tells(result.id, "succeeded")


def test_a_clock_that_is_ahead(play: Stage):
    """A publisher's clock an hour ahead makes no wait below zero: it is 0, and counted; held is by one clock."""
    before = sample(play, "afterword_clock_skewed_total"), sample(play, "background_task_held_seconds_count")
    result = send(play, {"afterword_at": time() + 3600})
    play.settles("started works", "ended works succeeded")
    play.tells(result, "succeeded")
    [line] = play.lines(result)
    assert line["wait_s"] == 0
    assert sample(play, "afterword_clock_skewed_total") == before[0] + 1
    assert sample(play, "background_task_held_seconds_count") == before[1] + 1
    assert sample(play, "background_task_held_seconds_sum") < 1800


def test_a_clock_that_is_behind(play: Stage):
    """A publisher's clock an hour behind shows as an hour's wait; held tells that it was not the worker's."""
    skewed = sample(play, "afterword_clock_skewed_total")
    result = send(play, {"afterword_at": time() - 3600})
    play.settles("started works", "ended works succeeded")
    play.tells(result, "succeeded")
    [line] = play.lines(result)
    assert 3600 <= line["wait_s"] < 5400
    assert sample(play, "afterword_clock_skewed_total") == skewed
    assert sample(play, "background_task_held_seconds_sum") < 1800


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none, of a worker without us"),
        pytest.param({"afterword_at": "now", "afterword_from": "nowhere", "traceparent": "forged"}, id="texts"),
        pytest.param(
            {"afterword_at": 1e300, "afterword_from": {"bound": {"x" * 1000: "y" * 1000, "event": "mine"}}},
            id="far away",
        ),
        pytest.param(
            {"afterword_at": -1, "afterword_from": {"http_route": "z" * 1_000_000, "bound": [1, 2, 3]}},
            id="a megabyte",
        ),
        pytest.param(
            {
                "x-datadog-trace-id": "1",
                "sentry-trace": "x",
                "baggage": "a" * 9000,
                "b3": "0",
                "uber-trace-id": "::",
            },
            id="other tracers",
        ),
        pytest.param({"afterword_at": [1], "afterword_from": {"bound": {"n": [1]}, "more": 1}}, id="newer"),
        pytest.param({"is_eager": True, "headers": {"afterword_at": 5}, "hostname": 5}, id="as if it were eager"),
    ],
)
def test_headers_that_somebody_else_wrote(play: Stage, headers: dict):
    """Whatever a message says of itself, its task runs, and its account holds."""
    result = send(play, headers)
    play.settles("started works", "ended works succeeded")
    play.tells(result, "succeeded")
    assert all(len(str(value)) < 1000 for line in play.lines(result) for value in line.values())
