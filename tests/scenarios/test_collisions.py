"""FastAPI's native telemetry and contrib's instrumentor at once, which collide with each other."""

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import dropped, failed, request_error, skipped, succeeded
from tests.support.telemetry_modes import COLLISIONS
from tests.support.visit import get

pytestmark = [
    pytest.mark.skipif(not COLLISIONS, reason="this FastAPI has no telemetry of its own"),
    pytest.mark.parametrize("telemetry_mode", COLLISIONS, indirect=True, ids=lambda mode: mode.name),
]


def add_routes(app: FastAPI, stage: Stage) -> None:
    """Add tasks that work, fail and never run, of FastAPI's kind and of Starlette's."""

    @app.get("/fails")
    async def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works_in_thread("report"))
        tasks.add_task(stage.fails("mail"))
        tasks.add_task(stage.works("audit"))

    @app.get("/own")
    async def own() -> JSONResponse:
        return JSONResponse({}, background=BackgroundTask(stage.works("invoice")))

    @app.get("/broken")
    async def broken(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise KeyError("boom")


@pytest.mark.parametrize("prefix", ["", "/sub"], ids=["plain", "mounted"])
def test_one_span_per_run(comparison: Comparison, prefix: str):
    """Whoever opens spans around a task, each run is one span, and the story is the same."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        if prefix:
            sub = FastAPI()
            add_routes(sub, stage)
            app.mount(prefix, sub)
        else:
            add_routes(app, stage)
        return app

    comparison.verify(
        build,
        get(f"{prefix}/fails", f"{prefix}/own", f"{prefix}/broken"),
        *(succeeded("report"), failed("mail"), skipped("audit"), succeeded("invoice")),
        *(dropped("mail"), request_error(500, "KeyError", f"{prefix}/broken")),
        peers_keep_some=bool(prefix),  # there the two collide with each other, with and without us
    )
