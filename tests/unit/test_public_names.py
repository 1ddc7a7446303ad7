"""What can be imported, and what `instrument` and `task` make of bad arguments."""

import pkgutil

import pytest
from fastapi import FastAPI, HTTPException
from opentelemetry import metrics, trace
from starlette.applications import Starlette
from starlette.routing import Route

import afterword
from afterword import Outcome, Reason, TaskObserver, TaskRun
from afterword._common.model import full_name
from tests.support.in_process import SILENT, InProcessStage

PUBLIC = [
    "Outcome",
    "Reason",
    "RequestErrorCallback",
    "RequestInfo",
    "TaskFailureCallback",
    "TaskObserver",
    "TaskRun",
    "__version__",
    "configure",
    "current",
    "instrument",
    "running",
    "runs",
    "task",
    "uninstrument",
]


class NoAttributes:
    """A callable that takes no attributes."""

    __slots__ = ()

    def __call__(self) -> None:
        raise AssertionError("never called")


def test_the_public_names_are_pinned():
    """A public name appears or disappears on purpose only."""
    assert afterword.__all__ == PUBLIC
    assert all(hasattr(afterword, name) for name in PUBLIC)


def test_the_names_of_helpers_are_pinned():
    """`afterword.logs` offers the helpers for the user's own logging, and nothing else."""
    from afterword import logs

    assert logs.__all__ == ["OpenTelemetryLogs", "ReportedFilter", "add_context"]


@pytest.mark.slow
def test_the_helpers_are_there_after_the_package_alone():
    """`import afterword` is enough to write `afterword.logs.OpenTelemetryLogs`."""
    from tests.support.interpreter import run_fresh  # here, or the whole module would be slow

    run_fresh("import afterword; afterword.logs.OpenTelemetryLogs, afterword.logs.add_context")


def test_the_hooks_of_several_workers_are_pinned():
    """`afterword.multiprocess` offers the hooks for a server, and nothing else."""
    from afterword import multiprocess

    assert multiprocess.__all__ == ["child_exit", "clear", "on_starting"]


def test_the_names_for_tests_are_pinned():
    """`afterword.testing` offers the account, what it is made of and what it raises, and nothing else."""
    from afterword import testing

    assert testing.__all__ == [
        *("Account", "AmbiguousTask", "Count", "RequestError", "TaskAccount", "UnknownTask", "account"),
    ]


def test_only_public_modules_have_public_names():
    """Whoever imports what has no underscore imports what is pinned; the instrumentor is for OpenTelemetry."""
    modules = [module.name for module in pkgutil.walk_packages(afterword.__path__, "afterword.")]
    public = [name for name in modules if not any(part.startswith("_") for part in name.split("."))]
    assert sorted(public) == [f"afterword.{name}" for name in ("instrumentor", "logs", "multiprocess", "testing")]


def test_outcomes_and_reasons_are_closed_sets():
    """Labels and attributes can take these values and no others."""
    assert {str(outcome) for outcome in Outcome} == {
        *("succeeded", "failed", "cancelled"),
        *("skipped", "dropped", "abandoned"),
    }
    assert {str(reason) for reason in Reason} == {
        *("exception", "never_awaited", "cancelled", "earlier_task_failed", "earlier_task_cancelled"),
        *("request_failed", "client_disconnected", "never_attached", "response_replaced", "added_too_late"),
        *("removed", "websocket", "unknown"),
        *("ignored", "replaced", "rejected", "time_limit", "worker_lost", "worker_shutdown", "revoked", "expired"),
        *("publish_failed", "unregistered", "invalid_message", "retry", "requeued", "taken_away"),
    }


@pytest.mark.parametrize(
    ("options", "error", "argument"),
    [
        ({"registry": "default"}, TypeError, "registry"),
        ({"registry": 0}, TypeError, "registry"),
        ({"metrics_path": b"/metrics"}, TypeError, "metrics_path"),
        ({"metrics_path": "metrics"}, ValueError, "metrics_path"),
        ({"metrics_path": ""}, ValueError, "metrics_path"),
        ({"on_request_error": [None]}, TypeError, "on_request_error"),
        ({"on_request_error": print}, TypeError, "on_request_error"),
        ({"on_request_error": "notify"}, TypeError, "on_request_error"),
        ({"on_request_error": None}, TypeError, "on_request_error"),
        ({"on_task_failure": ["alert"]}, TypeError, "on_task_failure"),
        ({"on_task_failure": print}, TypeError, "on_task_failure"),
        ({"on_task_failure": 1}, TypeError, "on_task_failure"),
        ({"observers": [object()]}, TypeError, "observers"),
        ({"observers": [TaskObserver]}, TypeError, "observers"),
        ({"observers": TaskObserver()}, TypeError, "observers"),
        ({"observers": None}, TypeError, "observers"),
        ({"tracer_provider": "jaeger"}, TypeError, "tracer_provider"),
        ({"meter_provider": "statsd"}, TypeError, "meter_provider"),
    ],
)
def test_a_bad_argument_is_named(options, error, argument):
    """A bad argument raises at once, says which one it was, and leaves the application as it was."""
    app = FastAPI(**SILENT)
    routes = list(app.router.routes)
    try:
        with pytest.raises(error, match=f"^{argument}: "):
            afterword.instrument(app, **options)
        assert app.router.routes == routes
    finally:
        afterword.uninstrument(app)


@pytest.mark.parametrize("app", [None, FastAPI, Starlette, Route("/", lambda request: None), lambda: None])
@pytest.mark.parametrize("function", [afterword.instrument, afterword.uninstrument])
def test_what_is_no_application_is_refused(function, app):
    """Only an instance of FastAPI or Starlette can be instrumented and un-instrumented."""
    with pytest.raises(TypeError, match=r"^app: "):
        function(app)


def test_a_refused_argument_leaves_the_settings_in_force(stage: InProcessStage):
    """Calling `instrument` again with a bad argument does not un-instrument the application."""
    app = stage.app()
    with pytest.raises(ValueError, match="metrics_path"):
        stage.instrument(app, metrics_path="metrics")
    assert [route.path for route in app.routes].count("/metrics") == 1


def test_a_taken_metrics_path_leaves_the_settings_in_force(stage: InProcessStage):
    """Calling `instrument` again with a path that is taken does not un-instrument the application."""
    app = stage.app(lambda: None)
    with pytest.raises(ValueError, match="metrics_path"):
        stage.instrument(app, metrics_path="/")
    assert [route.path for route in app.routes].count("/metrics") == 1


def test_error_types_have_full_names():
    """An exception is named like OpenTelemetry's `error.type`: with its module, unless it is a builtin."""
    assert full_name(ValueError("x")) == full_name(ValueError) == "ValueError"
    assert full_name(HTTPException(404)) == full_name(HTTPException) == "fastapi.exceptions.HTTPException"


def test_a_run_and_a_request_say_who_they_are():
    """Runs and requests are readable in a debugger, and hold no more than their names."""
    info = afterword.RequestInfo("GET", "/x")
    run = TaskRun("shop.mail", "shop.mail", info, 0, is_async=True)
    assert (repr(info), str(info), f"{info}") == ("RequestInfo(GET /x)", "GET /x", "GET /x")
    assert str(afterword.RequestInfo(None, "/talk")) == "WebSocket /talk"
    assert str(afterword.RequestInfo("POST")) == "POST (no route)"
    assert repr(run) == "TaskRun(shop.mail, pending)"
    run.started_at = 1.0
    assert repr(run) == "TaskRun(shop.mail, running)"
    run.outcome = Outcome.FAILED
    assert repr(run) == "TaskRun(shop.mail, failed)"


def test_the_default_of_metrics_path_is_legible():
    """The signature shows the default address, as documentation tools and editors print it."""
    import inspect

    assert str(inspect.signature(afterword.instrument).parameters["metrics_path"].default) == "'/metrics'"


@pytest.mark.parametrize("name", [1, b"mail", ["mail"]])
def test_task_refuses_a_name_that_is_no_string(name):
    """A task's name is a string."""
    with pytest.raises(TypeError, match=r"^name: "):
        afterword.task(name)


@pytest.mark.parametrize("thing", ["mail", None, 3, NoAttributes(), len, object().__str__])
def test_task_refuses_what_it_cannot_describe(thing):
    """What is not callable, or takes no attributes, cannot be decorated."""
    with pytest.raises(TypeError, match=r"^task: "):
        afterword.task(name="mail")(thing)


def test_the_providers_that_are_the_defaults_are_accepted(stage: InProcessStage):
    """The global providers may be passed on explicitly, whatever they are."""
    options = {"tracer_provider": trace.get_tracer_provider(), "meter_provider": metrics.get_meter_provider()}
    app = stage.app(**options)
    assert any(route.path == "/metrics" for route in app.routes)
