"""Callables that say strange things of themselves: they run, and are named as well as can be."""

import inspect
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.background import BackgroundTask

import afterword
from afterword._common.task_names import function_name
from tests.support.asgi import ask
from tests.support.in_process import SILENT, InProcessStage


class Callables:
    """Callables with something wrong about what they say of themselves; each works when it is called."""

    class Task:
        """What they have in common."""

        def __init__(self, did: list[Any]) -> None:
            self.__dict__["did"] = did

        def __call__(self) -> None:
            self.__dict__["did"].append("ran")

    class RaisingRepr(Task):
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    class RaisingNames(Task):
        def __getattribute__(self, name: str) -> Any:
            if name in ("__qualname__", "__module__"):  # `__name__` is too much for Starlette itself
                raise RuntimeError(f"no {name}")
            return super().__getattribute__(name)

    class StrangeNames(Task):
        __name__ = 7
        __module__ = None

    class RaisingAttributes(Task):
        def __getattr__(self, name: str) -> Any:
            if name in ("__wrapped__", "__self__", "__afterword_task__"):  # others are asked for by Starlette
                raise RuntimeError(f"no {name}")
            raise AttributeError(name)

    class OddAttributes(Task):
        def __getattr__(self, name: str) -> Any:
            if name in ("__wrapped__", "__self__", "__afterword_task__"):
                raise CancelledError(name)
            raise AttributeError(name)

    class OddNames(Task):
        def __getattribute__(self, name: str) -> Any:
            if name in ("__qualname__", "__module__"):
                raise GeneratorExit(name)
            return super().__getattribute__(name)

    class Everything(Task):
        """Has every attribute there is, and each is itself: a proxy, or a mock."""

        def __getattr__(self, name: str) -> Any:
            return self

    class Unhashable(Task):
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("incomparable")

    class WrapsItself(Task):
        @property
        def __wrapped__(self) -> Callable[..., Any]:
            return self

    class StrangeOwner(Task):
        __func__ = "no function"
        __name__ = None

        @property
        def __self__(self) -> Any:
            return self


ALL = [value for value in vars(Callables).values() if isinstance(value, type) and value.__name__ != "Task"]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__qualname__.rpartition(".")[2])
def test_a_strange_callable_runs_and_has_a_name(stage: InProcessStage, kind):
    """Whatever a callable says of itself, it runs, ends well, and has a name of reasonable length."""
    answer = ask(stage.app_with(kind(stage.did)))
    assert (answer.status, answer.error) == (200, None)
    assert stage.did == ["ran"]
    [run] = stage.accounts.recorder.ended_runs
    assert run.outcome == "succeeded"
    assert 0 < len(run.name) <= 200
    assert isinstance(run.function, str)
    [span] = stage.accounts.spans.of_runs()
    assert span.attributes["background_task.name"] == run.name
    assert stage.sample("background_task_started_total", background_task_name=run.name) == 1


@pytest.mark.parametrize("attribute", ["__name__", "__qualname__", "__module__"])
def test_a_function_with_names_of_the_wrong_kind(stage: InProcessStage, attribute):
    """A function whose names have been overwritten runs and is named by what is left."""

    def mail() -> None:
        stage.did.append("ran")

    setattr(mail, attribute, "" if attribute != "__module__" else 3)
    assert ask(stage.app_with(mail)).error is None
    assert stage.did == ["ran"]
    [run] = stage.accounts.recorder.ended_runs
    assert run.outcome == "succeeded"
    assert run.name == run.function == function_name(mail)


def test_a_name_of_10_000_characters(stage: InProcessStage):
    """A name is cut before it becomes a label."""

    async def mail() -> None: ...

    mail.__qualname__ = "x" * 10_000
    ask(stage.app_with(mail))
    [run] = stage.accounts.recorder.ended_runs
    assert len(run.name) <= 200


def test_a_name_with_lone_surrogates_can_be_scraped(stage: InProcessStage):
    """A name that cannot be encoded does not take the whole scrape down."""

    async def mail() -> None: ...

    mail.__qualname__ = "caf\udce9"
    app = stage.app_with(mail)
    assert ask(app).error is None
    scrape = ask(app, "/metrics")
    assert (scrape.status, scrape.error) == (200, None)
    assert b"background_task_scheduled_total" in scrape.body


class Unbound:
    """A proxy that stands for nothing just now; it cannot even say of what class it is."""

    def __init__(self, error: type[BaseException]) -> None:
        self.__dict__["error"] = error

    @property
    def __class__(self) -> Any:
        raise self.__dict__["error"]("unbound")


@pytest.mark.parametrize("error", [RuntimeError, CancelledError])
@pytest.mark.parametrize("on_loop", [True, False])
def test_a_task_that_returns_a_proxy(stage: InProcessStage, on_loop, error):
    """What a task returns may raise when it is looked at; the task has succeeded all the same."""

    def mail() -> Any:
        stage.did.append("ran")
        return Unbound(error)

    async def mail_on_loop() -> Any:
        return mail()

    answer = ask(stage.app_with(mail_on_loop if on_loop else mail))
    assert (answer.status, answer.error, stage.did) == (200, None, ["ran"])
    [run] = stage.accounts.recorder.ended_runs
    assert run.outcome == "succeeded"


async def audit() -> None:
    """Be called by mistake, so that its coroutine is scheduled."""


@pytest.mark.parametrize("make", [lambda: None, lambda: "mail", audit], ids=["none", "text", "coroutine"])
@pytest.mark.parametrize("patched", [False, True])
def test_what_cannot_be_called_fails_as_without_us(stage: InProcessStage, monkeypatch, make, patched):
    """A task that is no function fails by the error it fails by without us, also under another tool's patch."""
    original = BackgroundTask.__call__
    funcs = []

    async def theirs(self: BackgroundTask) -> None:
        await original(self)

    async def endpoint(tasks: BackgroundTasks) -> None:
        funcs.append(make())
        tasks.add_task(funcs[-1])

    plain = FastAPI(**SILENT)
    plain.get("/")(endpoint)
    with monkeypatch.context() as patching:
        if patched:
            patching.setattr(BackgroundTask, "__call__", theirs)
        without = ask(plain).error
        app = stage.app(endpoint)
        answer = ask(app)
        afterword.uninstrument(app)
    for func in funcs:
        if inspect.iscoroutine(func):
            func.close()
    assert type(answer.error) is type(without) is TypeError
    assert answer.error.args == without.args
    [run] = stage.accounts.recorder.ended_runs
    assert (run.outcome, run.error_type) == ("failed", "TypeError")
    [line] = stage.lines("background_task.failed")
    assert line["exc_info"][1] is answer.error
