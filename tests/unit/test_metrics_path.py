"""Where `/metrics` is, and whose it is if the user has something at the same address."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

import afterword
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, plain_app
from tests.unit.test_exposition import SCHEDULED, worked


def test_another_path(stage: InProcessStage):
    """`metrics_path` moves the endpoint."""
    app = worked(stage, metrics_path="/internal/metrics")
    assert SCHEDULED in ask(app, "/internal/metrics").text
    assert ask(app, "/metrics").status == 404


@pytest.mark.parametrize("options", [{"metrics_path": None}, {"registry": None}, {"metrics": False}])
def test_without_a_route(stage: InProcessStage, options):
    """Without path, registry or metrics there is no route."""
    assert ask(worked(stage, **options), "/metrics").status == 404


def test_without_a_registry_the_other_signals_go_on(stage: InProcessStage):
    """`registry=None` means no Prometheus series, and OpenTelemetry metrics all the same."""
    worked(stage, registry=None)
    assert list(stage.accounts.prometheus.samples()) == []
    assert stage.accounts.meter.story().scheduled == {"mail": 1, "report": 1, "audit": 1}


def test_a_path_that_is_taken_stays_the_users(stage: InProcessStage):
    """A route of the user's at `/metrics` is left alone, and ours is not added."""
    app = stage.fastapi()
    app.get("/metrics")(lambda: "mine")
    stage.instrument(app)
    assert ask(app, "/metrics").text == '"mine"'
    assert [route.path for route in app.routes].count("/metrics") == 1


def test_a_mount_that_is_taken_stays_the_users(stage: InProcessStage):
    """An application of the user's mounted at `/metrics` is left alone, as in prometheus_client's tutorial."""
    app = stage.fastapi()
    app.mount("/metrics", PlainTextResponse("mine"))
    stage.instrument(app)
    assert ask(app, "/metrics/").text == "mine"


def test_a_given_path_that_is_taken_is_an_error(stage: InProcessStage):
    """Who names a path that is taken is told so."""
    app = stage.fastapi()
    app.get("/numbers")(lambda: "mine")
    with pytest.raises(ValueError, match=r"^metrics_path: '/numbers'"):
        stage.instrument(app, metrics_path="/numbers")
    assert ask(app, "/numbers").text == '"mine"'


@pytest.mark.parametrize("how", ["route", "mount"])
def test_a_route_that_comes_later_wins(stage: InProcessStage, how):
    """A user's route at the same address, added after ours, is the one that answers."""
    app = stage.app()
    if how == "route":
        app.get("/metrics")(lambda: "mine")
    else:
        app.mount("/metrics", PlainTextResponse('"mine"'))
    assert ask(app, "/metrics" if how == "route" else "/metrics/").text == '"mine"'


def test_the_tasks_of_a_route_that_came_later_count(stage: InProcessStage):
    """Where the user's own route answers at our address, its tasks are in the account."""
    app = stage.app_with(stage.works("mail"))
    app.get("/metrics")(app.routes[-1].endpoint)
    assert ask(app, "/metrics").text == '{"answer":"yes"}'
    assert stage.outcomes == [("mail", "succeeded")]


def test_plain_starlette(stage: InProcessStage):
    """A Starlette application has the endpoint, too."""

    async def endpoint(request):
        return PlainTextResponse("yes")

    app = stage.instrument(plain_app("/", endpoint))
    assert "afterword_info" in ask(app, "/metrics").text
    afterword.uninstrument(app)
    assert ask(app, "/metrics").status == 404


def test_a_mounted_application_is_not_scraped_by_accident(stage: InProcessStage):
    """The endpoint is the outermost application's; a mounted one that is instrumented has its own."""
    inner = stage.instrument(stage.fastapi())
    outer = stage.instrument(Starlette(routes=[Mount("/inner", inner)]))
    assert "afterword_info" in ask(outer, "/metrics").text
    assert "afterword_info" in ask(outer, "/inner/metrics").text


def test_the_address_is_announced_once(stage: InProcessStage):
    """The log says where the endpoint is, once for an application."""
    app = stage.app(metrics_path="/numbers")
    ask(app, "/numbers")
    lines = [line for line in stage.accounts.lines.entries if "/numbers" in map(str, line.values())]
    assert [line["log_level"] for line in lines] == ["info"]


def test_a_route_that_the_user_removed(stage: InProcessStage):
    """`uninstrument` does not mind that its route is gone."""
    app = stage.app()
    app.router.routes[:] = [route for route in app.router.routes if route.path != "/metrics"]
    afterword.uninstrument(app)
    assert ask(app, "/metrics").status == 404
