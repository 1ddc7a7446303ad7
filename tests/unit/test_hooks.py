"""The patches of foreign classes: installed once, taken away, never in another tool's way."""

import asyncio
import contextlib
import functools

import pytest
from fastapi import BackgroundTasks
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.background import BackgroundTask

import afterword
from afterword._starlette import patches as hooks
from tests.support.asgi import ask
from tests.support.in_process import Bench
from tests.support.originals import assert_originals_are_back
from tests.support.stage import named
from tests.support.story import succeeded


def contrib(bench: Bench, app) -> None:
    """Apply OpenTelemetry contrib's instrumentation to an application."""
    providers = {key: bench.settings[key] for key in ("tracer_provider", "meter_provider")}
    FastAPIInstrumentor.instrument_app(app, **providers)


def wrap_call(notes: list):
    """Put another tool's wrapper around `BackgroundTask.__call__`; return what takes it out again."""
    below = BackgroundTask.__call__

    @functools.wraps(below)
    async def wrapper(self) -> None:
        notes.append("other tool")
        await below(self)

    BackgroundTask.__call__ = wrapper

    def restore() -> None:
        BackgroundTask.__call__ = below

    return restore


def test_instrumenting_many_times_leaves_the_classes_as_they_were(bench: Bench):
    """After any number of rounds the classes are untouched, and in each round every task counts once."""
    for _ in range(20):
        app = bench.app_with(bench.works("mail"))
        ask(app)
        afterword.uninstrument(app)
        assert_originals_are_back()
    bench.assert_story(*[succeeded("mail")] * 20)


def test_hooks_are_installed_once_for_several_applications(bench: Bench):
    """A second application adds no second layer, and the first to go takes none away."""
    first = bench.app_with(bench.works("mail"))
    hook = BackgroundTask.__call__
    second = bench.app_with(bench.works("mail"))
    assert BackgroundTask.__call__ is hook
    afterword.uninstrument(second)
    ask(first)
    bench.assert_story(succeeded("mail"))


def test_hooks_look_like_what_they_replace(bench: Bench):
    """A patched method has the name and the documentation of the original, and leads to it."""
    bench.app()
    for patch in hooks._patches:
        hook = patch.cls.__dict__[patch.name]
        assert hook.__wrapped__ is patch.original
        assert hook.__name__ == patch.original.__name__
        assert hook.__module__ == patch.original.__module__


@pytest.mark.parametrize("when", ["before", "after"])
def test_contrib_beside_us(bench: Bench, when):
    """With contrib's instrumentation before or after ours, each task has one span and is counted once."""
    app = bench.fastapi()
    app.get("/")(scheduling(bench))
    if when == "before":
        contrib(bench, app)
    bench.instrument(app)
    if when == "after":
        contrib(bench, app)
    ask(app)
    bench.assert_story(succeeded("mail"))
    FastAPIInstrumentor.uninstrument_app(app)


def scheduling(bench: Bench):
    """Make an endpoint that schedules one task."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(bench.works("mail"))

    return endpoint


@pytest.mark.parametrize("when", ["before", "after"])
def test_contrib_taken_out_in_the_middle(bench: Bench, when):
    """When contrib restores what it found, our hook is back with the next request, and contrib's patch is not."""
    app, other = bench.fastapi(), bench.fastapi()
    app.get("/")(scheduling(bench))
    if when == "before":
        contrib(bench, other)
    bench.instrument(app)
    if when == "after":
        contrib(bench, other)
    ask(app)
    FastAPIInstrumentor.uninstrument_app(other)
    for _ in range(2):
        ask(app)
    assert bench.outcomes == [("mail", "succeeded")] * 3
    assert len(bench.accounts.spans.of_runs()) == 3
    afterword.uninstrument(app)
    assert_originals_are_back()


def test_a_hook_lost_between_a_request_and_its_tasks(bench: Bench):
    """If our hook is taken out while a request runs, its tasks are accounted for, and the hook returns."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(bench.works("mail"))
        BackgroundTask.__call__ = BackgroundTask.__call__.__wrapped__

    app = bench.app(endpoint)
    ask(app)
    assert bench.did == ["mail"]
    assert bench.outcomes == [("mail", "succeeded")]
    assert BackgroundTask.__call__ is hooks._call_patch.hook


def test_a_hook_is_put_back_so_often_only(bench: Bench):
    """A tool that takes our hook out again and again has the last word, and every task still runs."""
    app = bench.app_with(bench.works("mail"))
    original = BackgroundTask.__call__.__wrapped__
    for _ in range(30):
        BackgroundTask.__call__ = original
        ask(app)
    assert BackgroundTask.__call__ is original
    assert len(bench.did) == 30
    bench.accounts.prometheus.assert_law()


def test_a_wrapper_above_ours_stays(bench: Bench):
    """Another tool's wrapper around our hook is called, and is left where it is when we go."""
    notes = []
    app = bench.app_with(bench.works("mail"))
    restore = wrap_call(notes)
    try:
        for _ in range(2):
            ask(app)
        assert notes == ["other tool"] * 2
        bench.assert_story(succeeded("mail"), succeeded("mail"))
        above = BackgroundTask.__call__
        afterword.uninstrument(app)
        assert BackgroundTask.__call__ is above
        ask(app)
        assert notes == ["other tool"] * 3
        assert bench.did == ["mail"] * 3
    finally:
        restore()
        BackgroundTask.__call__ = original_of(BackgroundTask.__call__)
    bench.assert_story(succeeded("mail"), succeeded("mail"))


class Compact:
    """Another tool's wrapper that cannot be referred to weakly."""

    __slots__ = ("below",)

    def __init__(self, below) -> None:
        self.below = below

    def __get__(self, task, owner=None):
        return self if task is None else functools.partial(self.below, task)

    async def __call__(self, task) -> None:
        await self.below(task)


def test_a_wrapper_that_cannot_be_referred_to(bench: Bench):
    """Whatever another tool puts above our hook, requests are answered and tasks accounted for."""
    app = bench.app_with(bench.works("mail"), bench.works_in_thread("report"))
    hook = BackgroundTask.__call__
    BackgroundTask.__call__ = Compact(hook)
    try:
        for _ in range(2):
            assert ask(app).text == '{"answer":"yes"}'
    finally:
        BackgroundTask.__call__ = hook
    bench.assert_story(*[succeeded("mail"), succeeded("report")] * 2)


def original_of(function):
    """Return what is under all wrappers."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def test_a_wrapper_above_ours_that_is_removed(bench: Bench):
    """When another tool removes its wrapper properly, ours is on top again and nothing is counted twice."""
    notes = []
    app = bench.app_with(bench.works("mail"))
    restore = wrap_call(notes)
    ask(app)
    restore()
    ask(app)
    assert notes == ["other tool"]
    bench.assert_story(succeeded("mail"), succeeded("mail"))


def test_instrumenting_again_under_a_wrapper(bench: Bench):
    """A hook that stayed behind under another tool's wrapper calls straight through; the new one counts once."""
    first = bench.app_with(bench.works("mail"))
    restore = wrap_call([])
    afterword.uninstrument(first)
    app = bench.app_with(bench.works("report"))
    ask(app)
    ask(first)
    assert bench.did == ["report", "mail"]
    bench.assert_story(succeeded("report"))
    afterword.uninstrument(app)
    restore()
    BackgroundTask.__call__ = original_of(BackgroundTask.__call__)


def test_a_patch_that_was_removed_is_never_resurrected(bench: Bench):
    """A patch that its owner has taken out below us does not come back when we go."""
    notes = []
    original = BackgroundTask.__call__
    restore = wrap_call(notes)
    app = bench.app_with(bench.works("mail"))
    restore()
    ask(app)
    assert bench.outcomes == [("mail", "succeeded")]
    afterword.uninstrument(app)
    assert BackgroundTask.__call__ is original
    ask(app)
    assert notes == []


def test_a_task_behind_one_that_takes_everything_out(bench: Bench):
    """When contrib's patch and ours are taken out while a task runs, the one behind it is still accounted for."""

    @named("audit")
    async def take_out() -> None:
        FastAPIInstrumentor.uninstrument_app(app)
        afterword.uninstrument(app)

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(take_out)
        tasks.add_task(bench.works("mail"))

    app = bench.fastapi()
    app.get("/")(endpoint)
    contrib(bench, app)
    bench.instrument(app)
    ask(app)
    bench.assert_story(succeeded("audit"), succeeded("mail"))
    assert bench.accounts.recorder.run("mail").detail is None


def test_the_lifespan_passes_through(bench: Bench):
    """Startup and shutdown of an instrumented application are its own."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        bench.did.append("up")
        yield
        bench.did.append("down")

    async def live() -> None:
        messages = asyncio.Queue()
        for kind in ("lifespan.startup", "lifespan.shutdown"):
            messages.put_nowait({"type": kind})
        sent = asyncio.Queue()
        await app({"type": "lifespan", "state": {}}, messages.get, sent.put)
        assert [sent.get_nowait()["type"] for _ in range(2)] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    app = bench.instrument(bench.fastapi(lifespan=lifespan))
    asyncio.run(live())
    assert bench.did == ["up", "down"]
