"""How long answers take: the histogram of whoever wants it, which ends when the answer has been sent."""

import asyncio
from pathlib import Path

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import StreamingResponse

import afterword
from afterword._common import semconv
from afterword._common.model import RequestInfo
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import succeeded
from tests.support.waiting import wait_until_async

COUNT = f"{semconv.RESPONSE_DURATION.prometheus}_count"


def answers(stage: InProcessStage, route: str = "/", status: str = "200", method: str = "GET") -> float | None:
    """Return how many answers have been timed."""
    return stage.sample(COUNT, http_request_method=method, http_route=route, http_response_status_code=status)


def test_the_time_ends_before_the_background_work(stage: InProcessStage):
    """An answer is timed when it has been sent, while its task is still running; each answer once."""
    gate, in_the_task = asyncio.Event(), []

    @named("mail")
    async def waits() -> None:
        in_the_task.append(answers(stage))
        await gate.wait()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(waits)

    async def main() -> None:
        request = asyncio.create_task(call(stage.app(endpoint, response_duration=True)))
        await wait_until_async(lambda: in_the_task)
        gate.set()
        await request

    asyncio.run(main())
    assert in_the_task == [1.0]
    assert answers(stage) == 1.0
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("path", ["/items/7", "/items/8?colour=red"])
def test_a_route_is_its_template(stage: InProcessStage, path: str):
    """The label is the route with those around it, never what a client has sent."""
    app, inner, router = stage.fastapi(), FastAPI(), APIRouter(prefix="/items")
    router.get("/{item}")(lambda item: item)
    inner.include_router(router)
    app.mount("/shop", inner)
    stage.instrument(app, response_duration=True)
    assert ask(app, f"/shop{path}").status == 200
    assert answers(stage, "/shop/items/{item}") == 1.0


def test_what_matches_no_route_is_in_one_series(stage: InProcessStage):
    """A scanner's paths and methods are not labels: they are no route, and no method that we know."""
    app = stage.app(lambda: None, response_duration=True)
    for path in ("/wp-admin", "/.env"):
        ask(app, path)
    assert answers(stage, "", "404") == 2.0
    asyncio.run(call(app, "/", "BREW"))
    assert answers(stage, "/", "405", "_OTHER") == 1.0


def test_the_answer_to_an_error_is_timed_with_its_status(stage: InProcessStage):
    """Answers that were made of an exception are timed as they left: the endpoint's 409, and the server's 500."""

    async def endpoint(status: int = 500) -> None:
        raise HTTPException(status) if status < 500 else ValueError("boom")

    app = stage.app(endpoint, response_duration=True)
    ask(app, "/?status=409")
    ask(app)
    assert answers(stage, status="409") == answers(stage, status="500") == 1.0


def test_a_stream_is_timed_to_its_end_and_not_where_it_breaks_off(stage: InProcessStage):
    """A stream's time ends with its last part; one that breaks off has no end."""
    seen = []

    async def endpoint(breaks: bool = False) -> StreamingResponse:
        async def parts():
            yield "once"
            seen.append(answers(stage))
            if breaks:
                raise ValueError("boom")

        return StreamingResponse(parts())

    app = stage.app(endpoint, response_duration=True)
    ask(app)
    ask(app, "/?breaks=true")
    assert seen == [None, 1.0]
    assert answers(stage) == 1.0


def test_opentelemetry_has_the_same(stage: InProcessStage):
    """The instrument has the same name and attributes, without those that are not known."""
    app = stage.app(lambda: None, response_duration=True)
    ask(app)
    ask(app, "/nowhere")
    points = stage.accounts.meter.points(semconv.RESPONSE_DURATION.name)
    assert [(dict(point.attributes), point.count) for point in points] == [
        ({"http.request.method": "GET", "http.route": "/", "http.response.status_code": 200}, 1),
        ({"http.request.method": "GET", "http.response.status_code": 404}, 1),
    ]


def test_several_processes_time_answers_in_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a directory for several processes, the times are in the files that all of them share."""
    from afterword._ledger.ages import oldest_ages
    from afterword._signals.prometheus import CountsRequests, series_of

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr("afterword._signals.prometheus.several_processes", lambda: True)
    info = RequestInfo("GET")
    info.route = "/items/{item}"
    CountsRequests(series_of(CollectorRegistry(), oldest_ages)).answered(info, 200, 0.4)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    labels = {"http_request_method": "GET", "http_route": info.route, "http_response_status_code": "200"}
    assert registry.get_sample_value(COUNT, labels) == 1.0


def test_nothing_is_timed_where_nobody_wants_it(stage: InProcessStage):
    """Off by default: no series, and a request passes nothing of ours for it."""
    app = stage.app(lambda: None)
    ask(app)
    assert answers(stage) is None
    assert app.__dict__["_afterword_account"].timed is None


@pytest.mark.parametrize("value", [1, "yes", None])
def test_anything_but_a_switch_is_refused(stage: InProcessStage, value):
    """The argument is named in the error."""
    with pytest.raises(TypeError, match="response_duration"):
        stage.app(response_duration=value)


def test_celery_answers_nobody():
    """For a Celery application the argument means nothing, and is refused by name."""
    celery = pytest.importorskip("celery")
    with pytest.raises(TypeError, match="response_duration: it means nothing"):
        afterword.instrument(celery.Celery("shop", set_as_current=False), response_duration=True)
