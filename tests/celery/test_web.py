"""A web application that publishes: one trace and one account, from its request to the last attempt."""

from __future__ import annotations

from fastapi import BackgroundTasks, FastAPI, HTTPException
from opentelemetry import trace

import afterword
from tests.celery.stage import Stage
from tests.support.asgi import ask, with_header


def test_a_request_and_two_workers(stage: Stage):
    """What a request publishes runs in two workers, even if it fails; all spans and lines know the request."""
    app = FastAPI()
    tracer = trace.get_tracer("web", tracer_provider=stage.provider)

    def audit() -> None:
        """Run in the web process, or be dropped with the request."""

    @app.post("/orders/{number}")
    def order(number: int, tasks: BackgroundTasks) -> None:
        with tracer.start_as_current_span("request"):
            tasks.add_task(audit)
            stage.publish("retries", 1, queue="first")
            stage.publish("fails", queue="second")
            step = stage.signature("works").set(queue="first")
            (step | step).apply_async()
        if number == 2:
            raise HTTPException(409)

    for queue in ("first", "second"):
        stage.worker("prefork", "-c1", queue=queue)
    afterword.instrument(app, registry=stage.registry, tracer_provider=stage.provider)
    try:
        for number in (1, 2):
            ask(app, f"/orders/{number}", "POST", headers=with_header("x-request-id", f"r-{number}"))
    finally:
        afterword.uninstrument(app)
    stage.settles(
        *("2 scheduled retries", "4 started retries", "2 returned retries retry", "2 ended retries succeeded"),
        *("2 scheduled fails", "2 started fails", "2 ended fails failed"),
        *("4 scheduled works", "4 started works", "4 ended works succeeded"),
    )
    ends = [str(line["event"]).removeprefix("background_task.") for line in stage.lines()]
    assert sorted(ends) == ["dropped", *["failed"] * 2, *["returned"] * 2, *["succeeded"] * 7]
    told = {(line["http_method"], line["http_route"], line["request_id"]) for line in stage.lines()}
    assert told == {("POST", "/orders/{number}", f"r-{number}") for number in (1, 2)}
    requests = {span["trace"] for span in stage.spans() if span["name"] == "request"}
    names = [span["name"] for span in stage.spans() if span["trace"] in requests]
    assert names.count("background_task shop.retries") == names.count("publish shop.retries") == 4
    assert names.count("background_task shop.fails") == names.count("publish shop.fails") == 2
