"""Tasks that other tools have wrapped, or that belong into another tool's worker; the tools are stood in for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from afterword._common import foreign
from afterword._common.task_names import function_name
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.stage import named


@pytest.fixture(autouse=True)
def as_if_never_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be the first that meets the other tool."""
    monkeypatch.setattr(foreign, "swallowing", False)


def of_class(module: str, qualname: str) -> type:
    """Make a class of that name whose objects are called as the function that they hold."""

    class Task:
        def __init__(self, func: Callable[..., Any]) -> None:
            self.__wrapped__ = func

        def __call__(self, *args: Any) -> Any:
            return self.__wrapped__(*args)

        def delay(self, *args: Any) -> None: ...

    Task.__module__, Task.__qualname__ = module, qualname
    return Task


QUEUES = [
    ("celery.local", "PromiseProxy", "send_mail.delay"),
    ("celery.app.task", "Task", "send_mail.delay"),
    ("dramatiq.actor", "Actor", "send_mail.send"),
    ("taskiq.decor", "AsyncTaskiqDecoratedTask", "send_mail.kiq"),
    ("procrastinate.tasks", "Task", "send_mail.defer"),
]


@pytest.mark.parametrize(("module", "qualname", "remedy"), QUEUES, ids=[module for module, _, _ in QUEUES])
def test_a_task_of_a_queue_is_added_as_a_function(
    stage: InProcessStage, caplog, module: str, qualname: str, remedy: str
):
    """A task of a queue that is added runs here; that is said once for its name, with what was probably meant."""
    kind = of_class(module, qualname)
    subclass = type("send_mail", (kind,), {"__module__": "shop"})  # as Celery makes one for each task

    @named("send_mail")
    def send_mail(*_: Any) -> None:
        stage.did.append("send_mail")

    app = stage.app_with(kind(send_mail), subclass(send_mail), partial(kind(send_mail), 1))
    with caplog.at_level(logging.WARNING, "afterword"):
        ask(app)
        ask(app)
    assert stage.did == ["send_mail"] * 6
    assert {outcome for _, outcome in stage.outcomes} == {"succeeded"}
    [warning] = [record.getMessage() for record in caplog.records if record.name == "afterword"]
    assert "shop.send_mail" in warning
    assert f"add_task({remedy}, ...)" in warning


def test_what_sends_to_a_queue_is_added(stage: InProcessStage, caplog):
    """A queue's own way of sending, or a function around it, is an ordinary task: nothing is said."""
    task = of_class("celery.app.task", "Task")(stage.works_in_thread("mail"))

    @named("send_later")
    def send_later() -> None:
        task.delay()

    send_later.__dict__["__wrapped__"] = task
    with caplog.at_level(logging.WARNING, "afterword"):
        ask(stage.app_with(task.delay, send_later))
    assert not [record for record in caplog.records if record.name == "afterword"]


class Store:
    """Keeps what became of a task, as fastapi-taskflow does."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    def get(self, task_id: str) -> Any:
        return self.records.get(task_id)


def taskflow(func: Callable[..., Any], store: Any, task_id: str = "1") -> Any:
    """Wrap a function as fastapi-taskflow does: an error is kept in its store."""

    async def _wrapped() -> None:
        try:
            await func()
        except ValueError:
            store.records[task_id] = SimpleNamespace(status="failed")
        else:
            store.records[task_id] = SimpleNamespace(status="success")

    _wrapped.__module__ = "fastapi_taskflow.executor"
    _wrapped.__qualname__ = "make_background_func.<locals>._wrapped"
    _wrapped.__name__ = f"_bg_{func.__name__}_1"
    return _wrapped


def test_a_task_is_named_through_the_wrapper_of_taskflow(stage: InProcessStage):
    """The wrapper of fastapi-taskflow, which carries no ``__wrapped__``, is looked through."""
    assert function_name(taskflow(stage.works("mail"), Store())) == "shop.mail"


def test_taskflow_catches_the_error_of_a_task(stage: InProcessStage):
    """A task whose error fastapi-taskflow has caught is failed, and alerts are raised; what is behind it runs."""
    store, alerts = Store(), []

    def alert(run: Any, exc: BaseException | None) -> None:
        alerts.append((run.name, exc))

    tasks = [taskflow(stage.fails("mail"), store, "1"), taskflow(stage.works("audit"), store, "2")]
    assert ask(stage.app_with(*tasks, on_task_failure=[alert])).error is None
    outcomes = [(name, outcome) for name, outcome in stage.outcomes if name != "alert"]
    assert sorted(outcomes) == [("audit", "succeeded"), ("mail", "failed")]
    assert alerts == [("shop.mail", None)]
    run = stage.accounts.recorder.run("mail")
    assert (run.reason, "fastapi-taskflow" in run.detail) == ("exception", True)


def test_a_store_of_taskflow_that_is_built_differently(stage: InProcessStage):
    """Where nothing can be learned of fastapi-taskflow, a task that returned has succeeded."""

    class Other(Store):
        def get(self, task_id: str) -> Any:
            raise LookupError(task_id)

    assert ask(stage.app_with(taskflow(stage.works("mail"), Other()))).error is None
    assert stage.outcomes == [("mail", "succeeded")]
