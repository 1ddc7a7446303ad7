"""Our own faults and leftovers: hooks that stayed behind, queues with something broken in them."""

import asyncio
import functools
import inspect
import threading
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress

import pytest
import structlog
from fastapi import BackgroundTasks
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse

import afterword
from afterword._common import context
from afterword._common.model import Outcome, Reason, TaskRun
from afterword._ledger import deferred as lifetimes
from afterword._ledger import runs as ledger
from afterword._ledger.instrumentation import get_instrumentation
from afterword._starlette import asgi
from afterword._starlette import exception_handlers as errors
from afterword._starlette import scheduling as births
from afterword._starlette.patches import hooks
from afterword._starlette.patching import MethodPatch
from tests.support.accounts import Recorder
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.originals import original_of
from tests.support.stage import Odd, named
from tests.support.story import cancelled, succeeded
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture(params=[RuntimeError, CancelledError, GeneratorExit, Odd])
def broken(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that fails, in each way that ends no process."""

    def fail(*_) -> None:
        raise request.param("broken")

    return fail


def faults(caplog) -> list[str]:
    """Return what was logged as a fault of ours, each with its traceback."""
    logged = [r for r in caplog.records if r.name == "afterword" and r.levelname == "ERROR"]
    assert all(record.exc_info[1] is not None for record in logged)
    return [record.getMessage() for record in logged]


def wrapped(hook):
    """Wrap a method of either kind as other tools do."""

    @functools.wraps(hook)
    async def on_loop(*args, **kwargs):
        return await hook(*args, **kwargs)

    @functools.wraps(hook)
    def plain(*args, **kwargs):
        return hook(*args, **kwargs)

    return on_loop if inspect.iscoroutinefunction(hook) else plain


def with_empty_cell(original):
    """Wrap a method in a closure, one of whose variables is not set yet."""

    async def wrapper(self) -> None:
        await original(self)
        if self is None:
            print(later)

    if original is None:
        later = "never"
    return wrapper


def busy_app(stage: InProcessStage):
    """Make an instrumented application with an endpoint that works and one that fails."""

    async def fails(background: BackgroundTasks) -> None:
        background.add_task(stage.works("dropped"))
        raise KeyError("boom")

    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"))
    app.add_exception_handler(Exception, lambda request, exc: PlainTextResponse("no", 500))
    app.get("/fails")(fails)
    return app


METHODS = [patch for patch in hooks.patches if isinstance(patch, MethodPatch)]


@pytest.mark.parametrize("patch", METHODS, ids=lambda patch: f"{patch.cls.__name__}.{patch.name}")
def test_a_hook_left_behind_calls_straight_through(stage: InProcessStage, patch):
    """A hook that another tool has wrapped stays when we go, and does nothing any more."""
    app = busy_app(stage)
    hook = patch.cls.__dict__[patch.name]
    wrapper = wrapped(hook)
    setattr(patch.cls, patch.name, wrapper)
    try:
        ask(app)
        stage.assert_story(succeeded("mail"), succeeded("report"))
        afterword.uninstrument(app)
        assert patch.cls.__dict__[patch.name] is wrapper
        assert ask(app).text == '{"answer":"yes"}'
        assert type(ask(app, "/fails").error) is KeyError
    finally:
        afterword.uninstrument(app)
        setattr(patch.cls, patch.name, original_of(wrapper))
    assert stage.did == ["mail", "report"] * 2
    stage.assert_story(succeeded("mail"), succeeded("report"))


def test_a_wrapper_with_an_empty_cell_below(stage: InProcessStage):
    """A closure of another tool with a variable that has no value yet is no obstacle."""
    original = BackgroundTask.__call__
    wrapper = with_empty_cell(original)
    BackgroundTask.__call__ = wrapper
    try:
        app = stage.app_with(stage.works("mail"))
        ask(app)
        afterword.uninstrument(app)
        assert BackgroundTask.__call__ is wrapper
    finally:
        BackgroundTask.__call__ = original
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("kind", ["fastapi", "native"])
def test_a_fault_at_birth_costs_only_the_account(stage: InProcessStage, monkeypatch, caplog, kind, broken):
    """If we fail when a task is made, the task still runs and each fault is counted."""
    app = getattr(stage, kind)()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    stage.instrument(app)
    monkeypatch.setattr(births, "task_record", broken)
    monkeypatch.setattr(births, "remember_batch", broken)
    assert ask(app).status == 200
    assert stage.did == ["mail"]
    assert stage.observer_errors("afterword") == 4  # of the batch; of the task: made, planned, called
    assert len(faults(caplog)) == 4


def test_a_fault_outside_of_any_request(stage: InProcessStage, monkeypatch, caplog, broken):
    """If we fail when a task is made in a thread that knows of no request, it runs, and each fault is logged."""
    monkeypatch.setattr(births, "task_record", broken)

    async def endpoint(background: BackgroundTasks) -> None:
        thread = threading.Thread(target=background.add_task, args=(stage.works("mail"),))
        thread.start()
        thread.join()

    assert ask(stage.app(endpoint)).error is None
    assert stage.did == ["mail"]
    assert len(faults(caplog)) == 3  # when it is made, planned and called


def test_a_fault_at_the_beginning_costs_only_the_account(stage: InProcessStage, monkeypatch, caplog, broken):
    """If we fail when a task is called, the task still runs and the fault is counted."""
    from afterword._starlette import execution as calls

    app = stage.app_with(stage.works("mail"), metrics_path=None)
    monkeypatch.setattr(calls, "TaskExecution", broken)
    assert ask(app).error is None
    assert stage.did == ["mail"]
    assert stage.observer_errors("afterword") == 1
    assert len(faults(caplog)) == 1


def test_a_fault_at_the_beginning_outside_of_any_request(stage: InProcessStage, monkeypatch, caplog, broken):
    """If we fail when a worker calls a task, the task still runs and the fault is logged."""
    from afterword._starlette import execution as calls

    kept: list[BackgroundTask] = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    async def work() -> None:
        await kept[0]()

    ask(stage.app(endpoint))
    with monkeypatch.context() as patched:
        patched.setattr(calls, "TaskExecution", broken)
        asyncio.run(work())
    assert stage.did == ["mail"]
    assert len(faults(caplog)) == 1
    asyncio.run(work())
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("step", ["attach_missing", "detach"])
def test_a_context_that_cannot_be_followed_costs_only_that(
    stage: InProcessStage, monkeypatch, caplog, broken, step
):
    """If what was bound cannot be bound again, the task runs and is accounted for, and a fault says so."""

    async def endpoint(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(user="ada")
        background.add_task(stage.works("mail"))

    monkeypatch.setattr(context.CapturedContext, step, broken)
    assert ask(stage.app(endpoint)).error is None
    assert stage.did == ["mail"]
    stage.assert_story(succeeded("mail"))
    assert stage.observer_errors("afterword") == 1
    [fault] = faults(caplog)
    assert "afterword.following the context failed" in fault


def test_a_context_that_a_destroyed_task_cannot_leave(stage: InProcessStage, monkeypatch, caplog):
    """If what was bound for a task that is torn down cannot be taken back, a fault says so; its end is told."""
    detach = context.CapturedContext.detach

    def broken_once(captured: context.CapturedContext) -> None:
        monkeypatch.setattr(context.CapturedContext, "detach", detach)
        raise RuntimeError("broken once")

    @named("mail")
    async def mail() -> None:
        raise GeneratorExit

    async def endpoint() -> None:
        structlog.contextvars.bind_contextvars(user="ada")
        with suppress(GeneratorExit):
            await BackgroundTask(mail)()

    monkeypatch.setattr(context.CapturedContext, "detach", broken_once)
    ask(stage.app(endpoint))
    lifetimes.drain()
    stage.assert_story(cancelled("mail"))
    assert stage.observer_errors("afterword") == 1
    [fault] = faults(caplog)
    assert "afterword.following the context failed" in fault


def test_a_fault_while_draining_stops_nothing(caplog, broken):
    """If settling one destroyed task fails, the next is settled, and the fault is logged."""
    settled = []
    lifetimes.defer(broken)
    lifetimes.defer(settled.append, "next")
    lifetimes.drain()
    assert settled == ["next"]
    assert len(faults(caplog)) == 1


def test_a_fault_at_the_end_costs_only_the_account(stage: InProcessStage, monkeypatch, caplog, broken):
    """If we fail when a task has returned, its request ends as ever, and the fault is counted."""
    app = stage.app_with(stage.works("mail"), metrics_path=None)
    with monkeypatch.context() as patched:
        patched.setattr(ledger.Ledger, "finish", broken)
        assert ask(app).error is None
    assert stage.did == ["mail"]
    assert afterword.current() is None
    assert stage.observer_errors("afterword") == len(faults(caplog)) == 1
    [left] = ledger.running()
    app_account = get_instrumentation(app)
    assert app_account is not None
    assert app_account.ledger.finish(left, Outcome.SUCCEEDED)


def test_a_fault_at_the_end_of_a_request(stage: InProcessStage, monkeypatch, caplog, broken):
    """If we fail when a request is settled, its answer is out and the next request is served."""
    app = stage.app_with(stage.works("mail"), metrics_path=None)
    monkeypatch.setattr(asgi, "settle", broken)
    for _ in range(2):
        assert (ask(app).status, stage.did) == (200, ["mail"] * len(stage.did))
    assert stage.observer_errors("afterword") == 2
    assert len(faults(caplog)) == 1


@pytest.mark.parametrize("fault", [RuntimeError, SystemExit, Odd])
def test_the_sweeper_goes_on(caplog, fault):
    """The thread that looks for destroyed tasks outlives whatever comes out of settling one, even an exit."""
    settled = []

    def fail() -> None:
        raise fault("broken")

    lifetimes.sweeper.start()
    lifetimes.defer(fail)
    wait_until(lambda: bool(faults(caplog)))
    lifetimes.defer(settled.append, "next")
    wait_until(lambda: settled == ["next"])


def test_a_fault_in_wrapping_handlers(stage: InProcessStage, monkeypatch, broken):
    """If the exception handlers cannot be wrapped, they are called as they are."""
    monkeypatch.setattr(errors, "Handlers", broken)
    app = busy_app(stage)
    assert ask(app).text == '{"answer":"yes"}'
    assert ask(app, "/missing").status == 404
    assert stage.observer_errors("afterword") == 2


def test_a_fault_in_attaching_the_reporter(stage: InProcessStage, monkeypatch, caplog, broken):
    """If nothing can be attached to an error's response, it is sent as the handler made it."""
    app = busy_app(stage)
    app.add_exception_handler(KeyError, lambda request, exc: PlainTextResponse(f"no {exc}", 500))
    monkeypatch.setattr(errors, "_with_reporter", broken)
    assert ask(app, "/fails").text == "no 'boom'"
    assert len(faults(caplog)) == 1


def new_run() -> TaskRun:
    """Make a run that belongs to no request."""
    return TaskRun("shop.mail", "shop.mail", None, 0, is_async=True)


def test_every_transition_happens_once():
    """A run begins once and ends once, whoever asks for it how often."""
    recorder, run = Recorder(), new_run()
    account = ledger.Ledger([recorder])
    account.schedule(run)
    assert account.start(run)
    assert not account.start(run)
    assert not account.end_unstarted(run, Outcome.DROPPED, Reason.UNKNOWN, "too late")
    assert account.finish(run, Outcome.SUCCEEDED)
    assert not account.finish(run, Outcome.FAILED)
    assert (len(recorder.started_runs), len(recorder.ended_runs)) == (1, 1)
    assert run.outcome is Outcome.SUCCEEDED


def test_a_run_that_was_given_up_does_not_begin():
    """A run that ended without having begun can neither begin nor end again."""
    recorder, run = Recorder(), new_run()
    account = ledger.Ledger([recorder])
    account.schedule(run)
    assert account.end_unstarted(run, Outcome.ABANDONED, Reason.NEVER_ATTACHED, "nobody called it")
    assert not account.start(run)
    assert not account.finish(run, Outcome.SUCCEEDED)
    assert recorder.started_runs == []
    assert run.duration is None


def test_the_view_of_the_handlers_is_complete():
    """Whoever looks through the wrapped table of exception handlers sees every handler there is."""
    table = {404: print, KeyError: repr}
    view = errors.Handlers(table)
    assert list(view) == list(table)
    assert len(view) == 2
    assert (404 in view, 500 in view) == (True, False)
    assert view[KeyError].handler is repr
    assert view.get(500) is None
