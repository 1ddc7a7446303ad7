"""Where `/metrics` is, and whose it is if the user has something at the same address."""

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

import afterword
from tests.support.asgi import ask
from tests.support.in_process import Bench, plain_app

SCHEDULED = "background_task_scheduled_total"


def worked(bench: Bench, **options) -> FastAPI:
    """Return an application in which tasks have run."""
    app = bench.app_with(bench.works("mail"), bench.works_in_thread("report"), **options)
    ask(app)
    return app


def test_another_path(bench: Bench):
    """`metrics_path` moves the endpoint."""
    app = worked(bench, metrics_path="/internal/metrics")
    assert SCHEDULED in ask(app, "/internal/metrics").text
    assert ask(app, "/metrics").status == 404


@pytest.mark.parametrize("options", [{"metrics_path": None}, {"registry": None}, {"metrics": False}])
def test_without_a_route(bench: Bench, options):
    """Without path, registry or metrics there is no route."""
    assert ask(worked(bench, **options), "/metrics").status == 404


def test_without_a_registry_the_other_signals_go_on(bench: Bench):
    """`registry=None` means no Prometheus series, and OpenTelemetry metrics all the same."""
    worked(bench, registry=None)
    assert list(bench.accounts.prometheus.samples()) == []
    assert bench.accounts.meter.story().scheduled == {"mail": 1, "report": 1}


def test_a_path_that_is_taken_stays_the_users(bench: Bench):
    """A route of the user's at `/metrics` is left alone, and ours is not added."""
    app = bench.fastapi()
    app.get("/metrics")(lambda: "mine")
    bench.instrument(app)
    assert ask(app, "/metrics").text == '"mine"'
    assert [route.path for route in app.routes].count("/metrics") == 1


def test_a_mount_that_is_taken_stays_the_users(bench: Bench):
    """An application of the user's mounted at `/metrics` is left alone, as in prometheus_client's tutorial."""
    app = bench.fastapi()
    app.mount("/metrics", PlainTextResponse("mine"))
    bench.instrument(app)
    assert ask(app, "/metrics/").text == "mine"


def test_a_given_path_that_is_taken_is_an_error(bench: Bench):
    """Who names a path that is taken is told so."""
    app = bench.fastapi()
    app.get("/numbers")(lambda: "mine")
    with pytest.raises(ValueError, match=r"^metrics_path: '/numbers'"):
        bench.instrument(app, metrics_path="/numbers")
    assert ask(app, "/numbers").text == '"mine"'


@pytest.mark.parametrize("how", ["route", "mount"])
def test_a_route_that_comes_later_wins(bench: Bench, how):
    """A user's route at the same address, added after ours, is the one that answers."""
    app = bench.app()
    if how == "route":
        app.get("/metrics")(lambda: "mine")
    else:
        app.mount("/metrics", PlainTextResponse('"mine"'))
    assert ask(app, "/metrics" if how == "route" else "/metrics/").text == '"mine"'


def test_the_tasks_of_a_route_that_came_later_count(bench: Bench):
    """Where the user's own route answers at our address, its tasks are in the account."""
    app = bench.app_with(bench.works("mail"))
    app.get("/metrics")(app.routes[-1].endpoint)
    assert ask(app, "/metrics").text == '{"answer":"yes"}'
    assert bench.outcomes == [("mail", "succeeded")]


def test_plain_starlette(bench: Bench):
    """A Starlette application has the endpoint, too."""

    async def endpoint(request):
        return PlainTextResponse("yes")

    app = bench.instrument(plain_app("/", endpoint))
    assert "afterword_info" in ask(app, "/metrics").text
    afterword.uninstrument(app)
    assert ask(app, "/metrics").status == 404


def test_a_mounted_application_is_not_scraped_by_accident(bench: Bench):
    """The endpoint is the outermost application's; a mounted one that is instrumented has its own."""
    inner = bench.instrument(bench.fastapi())
    outer = bench.instrument(Starlette(routes=[Mount("/inner", inner)]))
    assert "afterword_info" in ask(outer, "/metrics").text
    assert "afterword_info" in ask(outer, "/inner/metrics").text


def test_the_address_is_announced_once(bench: Bench):
    """The log says where the endpoint is, once for an application."""
    app = bench.app(metrics_path="/numbers")
    ask(app, "/numbers")
    lines = [line for line in bench.accounts.lines.entries if "/numbers" in map(str, line.values())]
    assert [line["log_level"] for line in lines] == ["info"]


def test_a_route_that_the_user_removed(bench: Bench):
    """`uninstrument` does not mind that its route is gone."""
    app = bench.app()
    app.router.routes[:] = [route for route in app.router.routes if route.path != "/metrics"]
    afterword.uninstrument(app)
    assert ask(app, "/metrics").status == 404
