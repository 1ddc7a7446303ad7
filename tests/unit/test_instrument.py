"""`instrument`, again and with other settings, for several applications; `uninstrument`."""

import asyncio
import gc

from fastapi import BackgroundTasks
from prometheus_client import CollectorRegistry
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

import afterword
from tests.support.accounts import Recorder
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage, plain_app
from tests.support.originals import assert_originals_are_back
from tests.support.story import succeeded
from tests.support.versions import NATIVE_TELEMETRY


def metrics_routes(app) -> int:
    """Count the routes at `/metrics`."""
    return [route.path for route in app.routes].count("/metrics")


def test_the_same_settings_again_change_nothing(stage: InProcessStage, caplog):
    """Instrumenting twice with equal settings is silent, and counts every task once."""
    caplog.set_level("INFO", "afterword")
    app = stage.app_with(stage.works("mail"))
    caplog.clear()
    stage.instrument(app)
    assert not caplog.records
    ask(app)
    stage.assert_story(succeeded("mail"))
    assert metrics_routes(app) == 1


def test_other_settings_replace_the_first(stage: InProcessStage):
    """Instrumenting again with other settings tells the new observers, and the old ones no more."""
    app = stage.app_with(stage.works("mail"))
    later = Recorder()
    afterword.instrument(app, **stage.settings, observers=[later], metrics_path=None)
    ask(app)
    assert [run.name for run in later.ended_runs] == ["shop.mail"]
    assert stage.ended == []
    assert metrics_routes(app) == 0


def test_two_applications_share_the_series_of_a_registry(stage: InProcessStage):
    """Two applications on one registry count into one set of series."""
    apps = [stage.app_with(stage.works("mail")) for _ in range(2)]
    for app in apps:
        ask(app)
    assert stage.sample("background_task_scheduled_total", background_task_name="shop.mail") == 2
    stage.assert_story(succeeded("mail"), succeeded("mail"))


def test_two_applications_with_registries_of_their_own(stage: InProcessStage):
    """Applications with different registries keep their numbers apart."""
    other = CollectorRegistry()
    first, second = stage.app_with(stage.works("mail")), stage.app_with(stage.works("report"), registry=other)
    ask(first)
    ask(second)
    name = {"background_task_name": "shop.report", "background_task_engine": "starlette"}
    assert stage.sample("background_task_scheduled_total", **name) is None
    assert other.get_sample_value("background_task_scheduled_total", name) == 1


def test_uninstrument_gives_everything_back(stage: InProcessStage):
    """After `uninstrument` classes, routes, middleware stack and handlers are as they were."""
    app = stage.fastapi()
    routes, handlers = list(app.router.routes), dict(app.exception_handlers)
    stage.instrument(app, traces=NATIVE_TELEMETRY)  # contrib, which traces an old FastAPI, rebuilds the stack
    ask(app)
    stack = app.middleware_stack
    afterword.uninstrument(app)
    assert_originals_are_back()
    assert app.router.routes == routes
    assert app.exception_handlers == handlers
    assert app.middleware_stack is stack


def test_uninstrument_keeps_the_series(stage: InProcessStage):
    """Numbers do not go backwards because an application is un-instrumented."""
    app = stage.app_with(stage.works("mail"))
    ask(app)
    afterword.uninstrument(app)
    ask(app)
    assert stage.did == ["mail", "mail"]
    stage.assert_story(succeeded("mail"))


def test_uninstrument_twice_or_without_instrument_is_silent(stage: InProcessStage):
    """Un-instrumenting what is not instrumented does nothing, and disturbs no other application."""
    app, other = stage.app(), stage.app_with(stage.works("mail"))
    for _ in range(2):
        afterword.uninstrument(app)
    afterword.uninstrument(stage.fastapi())
    ask(other)
    stage.assert_story(succeeded("mail"))


def test_runs_already_scheduled_are_still_accounted(stage: InProcessStage):
    """A task that runs or waits while its application is un-instrumented is accounted for to its end."""

    def take_away() -> None:
        afterword.uninstrument(app)
        stage.did.append("taken away")

    app = stage.app_with(take_away, stage.works("mail"))
    ask(app)
    assert stage.did == ["taken away", "mail"]
    assert stage.outcomes == [("take_away", "succeeded"), ("mail", "succeeded")]
    stage.accounts.prometheus.assert_law()


def test_a_request_that_outlives_uninstrument_opens_no_new_account(stage: InProcessStage):
    """A task that is scheduled after `uninstrument`, in a request from before, is not accounted for."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        afterword.uninstrument(app)
        background.add_task(stage.works("late"))
        BackgroundTasks([])

    app = stage.app(endpoint)
    ask(app)
    assert stage.did == ["mail", "late"]
    assert stage.outcomes == [("mail", "succeeded")]


def test_a_task_awaited_later_gives_the_classes_back(stage: InProcessStage):
    """While a run of an un-instrumented application is open the hooks stay, and go with the next call after it."""
    kept = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    async def scenario() -> None:
        await call(app)
        afterword.uninstrument(app)
        await kept.pop()()
        await call(app)

    app = stage.app(endpoint)
    asyncio.run(scenario())
    assert stage.outcomes == [("mail", "succeeded")]
    kept.clear()
    gc.collect()
    assert_originals_are_back()


def test_a_plain_starlette_application(stage: InProcessStage):
    """Starlette alone is enough: tasks on its responses are accounted for."""

    async def endpoint(request):
        return PlainTextResponse("yes", background=BackgroundTask(stage.works("mail")))

    app = stage.instrument(plain_app("/", endpoint))
    assert ask(app).text == "yes"
    stage.assert_story(succeeded("mail"))


def test_instrument_adds_nothing_for_a_signal_that_is_off(stage: InProcessStage):
    """With all signals off nothing is counted, traced or logged, and observers still know."""
    app = stage.app_with(stage.works("mail"), traces=False, metrics=False, logs=False)
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    assert stage.accounts.spans.all() == ()
    assert stage.accounts.lines.entries == []
    assert list(stage.accounts.prometheus.samples()) == []
    assert metrics_routes(app) == 0


def test_declared_tasks_start_at_zero(stage: InProcessStage):
    """A function decorated with `@task` has all its outcomes at 0 before it is first scheduled."""

    @afterword.task(name="shop.declared")
    async def declared() -> None:
        raise AssertionError("never called")

    stage.app()
    for outcome in afterword.Outcome:
        labels = {"background_task_name": "shop.declared", "background_task_outcome": str(outcome)}
        assert stage.sample("background_task_ended_total", **labels) == 0
    assert stage.sample("background_task_failures_total", **labels) is None
