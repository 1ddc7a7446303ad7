"""Under which span the spans of tasks hang: under one and the same of their request, whatever becomes of them."""

import gc

from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask

import afterword
from tests.support.comparison import Comparison
from tests.support.stage import Stage, named
from tests.support.visit import Visit, get
from tests.support.waiting import eventually

ENDED = {
    "/answers": ["audit", "mail", "report", "alert", "invoice"],
    "/replaces": ["mail", "audit"],
    "/breaks": ["report", "mail", "audit", "invoice", "tell"],
    "/streams": ["mail", "report", "alert"],
}
"""The tasks of each request below."""


def build(stage: Stage, tracer) -> FastAPI:
    """Build an application whose requests have tasks of every fate, scheduled inside spans of its own."""
    app = stage.fastapi()
    rescued = afterword.task(run_on_request_error=True)(stage.works("audit"))

    def dependency(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("audit"))

    @app.get("/answers", dependencies=[Depends(dependency)])
    def answers(tasks: BackgroundTasks) -> None:
        with tracer.start_as_current_span("ordering"):
            tasks.add_task(stage.works_in_thread("mail"))
            tasks.add_task(stage.fails("report"))
            tasks.add_task(stage.works("invoice"))

    @app.get("/replaces")
    async def replaces(tasks: BackgroundTasks) -> Response:
        with tracer.start_as_current_span("ordering"):
            tasks.add_task(stage.works("mail"))
            return Response(background=BackgroundTask(stage.works("audit")))

    @app.get("/breaks")
    async def breaks(tasks: BackgroundTasks) -> None:
        with tracer.start_as_current_span("ordering"):
            tasks.add_task(stage.works("mail"))
            tasks.add_task(rescued)
            BackgroundTasks().add_task(stage.works("invoice"))
        await BackgroundTask(stage.works("report"))()
        raise KeyError("boom")

    @app.get("/streams")
    async def streams(tasks: BackgroundTasks) -> StreamingResponse:
        async def stream():
            yield "first"
            try:
                await BackgroundTask(stage.fails("report"))()
            except ValueError:
                yield "last"

        tasks.add_task(stage.works("mail"))
        return StreamingResponse(stream())

    return app


@named("alert")
async def alert(run, exc) -> None:
    """Be told of a failed task."""


@named("tell")
async def tell(request, exc) -> None:
    """Be told of a failed request."""


def test_all_tasks_of_a_request_hang_under_its_span(comparison: Comparison):
    """Tasks that ran, failed, were skipped, dropped, abandoned or rescued, and alerts, are siblings in a trace."""
    spans = comparison.accounts.spans
    stage = comparison.stage()
    app = build(stage, spans.provider.get_tracer("mine"))
    stage.instrument(app, on_request_error=[tell], on_task_failure=[alert])
    with stage.serve(app) as server:
        for path, names in ENDED.items():
            spans.exporter.clear()
            visit = Visit(server, stage)
            get(path)(visit)
            visit.close()
            gc.collect()

            def told(names: list[str] = names) -> None:
                found = [span.attributes["background_task.name"] for span in spans.of_runs()]
                assert sorted(found) == sorted(f"shop.{name}" for name in names)

            eventually(told)
            requests = [span for span in spans.all() if span.parent is None]
            if comparison.telemetry_mode.traces_requests:
                [request] = requests
                parents = {span.parent.span_id for span in spans.of_runs() if span.parent is not None}
                assert parents == {request.context.span_id}, path
                assert request not in spans.of_runs()
