"""`new_trace`: a trace for every task, linked to its request's."""

import logging

from fastapi import BackgroundTasks
from opentelemetry.trace import get_current_span
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, plain_app
from tests.support.versions import NATIVE_TELEMETRY, native_only


def test_a_new_trace_links_to_its_request(stage: InProcessStage):
    """With `new_trace` a task's span is a root in a trace of its own, linked to the request's span."""
    requests = []

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        requests.append(get_current_span().get_span_context())

    app = stage.native(**({"telemetry": traced_requests(stage)} if NATIVE_TELEMETRY else {}))
    app.get("/")(endpoint)
    ask(stage.instrument(app, new_trace=True))
    span = stage.accounts.spans.of("mail")
    assert span.parent is None
    assert span.context.trace_id != requests[0].trace_id
    assert [link.context.span_id for link in span.links] == [requests[0].span_id]


def traced_requests(stage: InProcessStage) -> dict:
    """Let FastAPI trace requests, but not the tasks."""
    return {"tracer_provider": stage.settings["tracer_provider"], "operation_spans": False}


def test_a_new_trace_without_a_request_span(stage: InProcessStage):
    """Where the request is not traced there is nothing to link to, for a run that never started as well."""

    async def endpoint(request):
        BackgroundTask(stage.works("abandoned"))
        return PlainTextResponse("yes", background=BackgroundTask(stage.works("mail")))

    ask(stage.instrument(plain_app("/", endpoint), new_trace=True))
    spans = stage.accounts.spans.of_runs()
    assert [(span.parent, len(span.links)) for span in spans] == [(None, 0)] * 2
    assert len({span.context.trace_id for span in spans}) == 2


@native_only
def test_a_new_trace_warns_of_adoption(stage: InProcessStage, caplog):
    """Where FastAPI opens spans for tasks itself, `new_trace` says what to switch off; else it says nothing."""
    stage.instrument(stage.native(), new_trace=True)
    [record] = [record for record in caplog.records if "new_trace" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "operation_spans" in record.getMessage()
    caplog.clear()
    stage.app(new_trace=True)
    stage.instrument(stage.native(telemetry=traced_requests(stage)), new_trace=True)
    assert not caplog.records
