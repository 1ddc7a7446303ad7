"""The patches of foreign classes: installed once, taken away, never in another tool's way."""

import asyncio
import contextlib
import functools

import pytest
from fastapi import BackgroundTasks
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.background import BackgroundTask

import afterword
from afterword._starlette import patches
from afterword._starlette.patches import hooks
from afterword._starlette.patching import MethodPatch
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, scheduling
from tests.support.originals import assert_originals_are_back, original_of
from tests.support.stage import named
from tests.support.story import succeeded


def contrib(stage: InProcessStage, app) -> None:
    """Apply OpenTelemetry contrib's instrumentation to an application."""
    providers = {key: stage.settings[key] for key in ("tracer_provider", "meter_provider")}
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


def test_instrumenting_many_times_leaves_the_classes_as_they_were(stage: InProcessStage):
    """After any number of rounds the classes are untouched, and in each round every task counts once."""
    for _ in range(20):
        app = stage.app_with(stage.works("mail"))
        ask(app)
        afterword.uninstrument(app)
        assert_originals_are_back()
    stage.assert_story(*[succeeded("mail")] * 20)


def test_hooks_are_installed_once_for_several_applications(stage: InProcessStage):
    """A second application adds no second layer, and the first to go takes none away."""
    first = stage.app_with(stage.works("mail"))
    hook = BackgroundTask.__call__
    second = stage.app_with(stage.works("mail"))
    assert BackgroundTask.__call__ is hook
    afterword.uninstrument(second)
    ask(first)
    stage.assert_story(succeeded("mail"))


def test_hooks_look_like_what_they_replace(stage: InProcessStage):
    """A patched method has the name and the documentation of the original, and leads to it."""
    stage.app()
    for patch in hooks.patches:
        if not isinstance(patch, MethodPatch):
            continue
        hook = patch.cls.__dict__[patch.name]
        assert hook.__wrapped__ is patch.original
        assert hook.__name__ == patch.original.__name__
        assert hook.__module__ == patch.original.__module__


@pytest.mark.parametrize("when", ["before", "after"])
def test_contrib_beside_us(stage: InProcessStage, when):
    """With contrib's instrumentation before or after ours, each task has one span and is counted once."""
    app = stage.fastapi()
    app.get("/")(scheduling(stage.works("mail")))
    if when == "before":
        contrib(stage, app)
    stage.instrument(app)
    if when == "after":
        contrib(stage, app)
    ask(app)
    stage.assert_story(succeeded("mail"))
    FastAPIInstrumentor.uninstrument_app(app)


@pytest.mark.parametrize("when", ["before", "after"])
def test_contrib_taken_out_in_the_middle(stage: InProcessStage, when):
    """When contrib restores what it found, our hook is back with the next request, and contrib's patch is not."""
    app, other = stage.fastapi(), stage.fastapi()
    app.get("/")(scheduling(stage.works("mail")))
    if when == "before":
        contrib(stage, other)
    stage.instrument(app)
    if when == "after":
        contrib(stage, other)
    ask(app)
    FastAPIInstrumentor.uninstrument_app(other)
    for _ in range(2):
        ask(app)
    assert stage.outcomes == [("mail", "succeeded")] * 3
    assert len(stage.accounts.spans.of_runs()) == 3
    afterword.uninstrument(app)
    assert_originals_are_back()


def test_a_hook_lost_between_a_request_and_its_tasks(stage: InProcessStage):
    """If our hook is taken out while a request runs, its tasks are accounted for and say so; the hook returns."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        BackgroundTask.__call__ = BackgroundTask.__call__.__wrapped__

    app = stage.app(endpoint)
    ask(app)
    assert stage.did == ["mail"]
    assert stage.outcomes == [("mail", "succeeded")]
    assert "removed our hook" in stage.accounts.recorder.run("mail").detail
    assert BackgroundTask.__call__ is patches._call_patch.hook


def test_a_hook_lost_after_a_task_was_called_by_hand(stage: InProcessStage):
    """What has ended before does not keep the others from their account, when our hook is taken out."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        background.add_task(stage.works("report"))
        await background.tasks[0]()
        BackgroundTask.__call__ = BackgroundTask.__call__.__wrapped__

    ask(stage.app(endpoint))
    assert stage.did == ["mail", "mail", "report"]
    assert stage.outcomes == [("mail", "succeeded"), ("mail", "succeeded"), ("report", "succeeded")]


def test_a_hook_is_put_back_so_often_only(stage: InProcessStage):
    """A tool that takes our hook out again and again has the last word, and every task still runs."""
    app = stage.app_with(stage.works("mail"))
    original = BackgroundTask.__call__.__wrapped__
    for _ in range(30):
        BackgroundTask.__call__ = original
        ask(app)
    assert BackgroundTask.__call__ is original
    assert len(stage.did) == 30
    stage.accounts.prometheus.assert_law()


def test_a_wrapper_above_ours_stays(stage: InProcessStage):
    """Another tool's wrapper around our hook is called, and is left where it is when we go."""
    notes = []
    app = stage.app_with(stage.works("mail"))
    restore = wrap_call(notes)
    try:
        for _ in range(2):
            ask(app)
        assert notes == ["other tool"] * 2
        stage.assert_story(succeeded("mail"), succeeded("mail"))
        above = BackgroundTask.__call__
        afterword.uninstrument(app)
        assert BackgroundTask.__call__ is above
        ask(app)
        assert notes == ["other tool"] * 3
        assert stage.did == ["mail"] * 3
    finally:
        restore()
        BackgroundTask.__call__ = original_of(BackgroundTask.__call__)
    stage.assert_story(succeeded("mail"), succeeded("mail"))


class Compact:
    """Another tool's wrapper that cannot be referred to weakly."""

    __slots__ = ("below",)

    def __init__(self, below) -> None:
        self.below = below

    def __get__(self, task, owner=None):
        return self if task is None else functools.partial(self.below, task)

    async def __call__(self, task) -> None:
        await self.below(task)


def test_a_wrapper_that_cannot_be_referred_to(stage: InProcessStage):
    """Whatever another tool puts above our hook, requests are answered and tasks accounted for."""
    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"))
    hook = BackgroundTask.__call__
    BackgroundTask.__call__ = Compact(hook)
    try:
        for _ in range(2):
            assert ask(app).text == '{"answer":"yes"}'
    finally:
        BackgroundTask.__call__ = hook
    stage.assert_story(*[succeeded("mail"), succeeded("report")] * 2)


def test_a_wrapper_above_ours_that_is_removed(stage: InProcessStage):
    """When another tool removes its wrapper properly, ours is on top again and nothing is counted twice."""
    notes = []
    app = stage.app_with(stage.works("mail"))
    restore = wrap_call(notes)
    ask(app)
    restore()
    ask(app)
    assert notes == ["other tool"]
    stage.assert_story(succeeded("mail"), succeeded("mail"))


def test_instrumenting_again_under_a_wrapper(stage: InProcessStage):
    """A hook that stayed behind under another tool's wrapper calls straight through; the new one counts once."""
    first = stage.app_with(stage.works("mail"))
    restore = wrap_call([])
    afterword.uninstrument(first)
    app = stage.app_with(stage.works("report"))
    ask(app)
    ask(first)
    assert stage.did == ["report", "mail"]
    stage.assert_story(succeeded("report"))
    afterword.uninstrument(app)
    restore()
    BackgroundTask.__call__ = original_of(BackgroundTask.__call__)


def test_a_patch_that_was_removed_is_never_resurrected(stage: InProcessStage):
    """A patch that its owner has taken out below us does not come back when we go."""
    notes = []
    original = BackgroundTask.__call__
    restore = wrap_call(notes)
    app = stage.app_with(stage.works("mail"))
    restore()
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    afterword.uninstrument(app)
    assert BackgroundTask.__call__ is original
    ask(app)
    assert notes == []


def test_a_worker_s_batch_whose_tasks_nobody_saw(stage: InProcessStage):
    """Tasks that ran outside of any request while another tool had taken out our hook have run all the same."""
    kept: list[BackgroundTasks] = []

    async def endpoint() -> None:
        kept.append(BackgroundTasks())
        kept[0].add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    BackgroundTask.__call__ = original_of(BackgroundTask.__call__)
    asyncio.run(kept[0]())
    assert stage.did == ["mail"]
    stage.assert_story(succeeded("mail"))


def test_a_task_behind_one_that_takes_everything_out(stage: InProcessStage):
    """When contrib's patch and ours are taken out while a task runs, the one behind it is still accounted for."""

    @named("audit")
    async def take_out() -> None:
        FastAPIInstrumentor.uninstrument_app(app)
        afterword.uninstrument(app)

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(take_out)
        tasks.add_task(stage.works("mail"))

    app = stage.fastapi()
    app.get("/")(endpoint)
    contrib(stage, app)
    stage.instrument(app)
    ask(app)
    stage.assert_story(succeeded("audit"), succeeded("mail"))
    assert stage.accounts.recorder.run("mail").detail is None


def test_the_lifespan_passes_through(stage: InProcessStage):
    """Startup and shutdown of an instrumented application are its own."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        stage.did.append("up")
        yield
        stage.did.append("down")

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

    app = stage.instrument(stage.fastapi(lifespan=lifespan))
    asyncio.run(live())
    assert stage.did == ["up", "down"]
