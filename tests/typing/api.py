# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""The public API as type checkers see it, mypy and pyright. Nothing here is run: `make lint` reads it.

Where an ignored error would be none, both say so: what must not pass is held as well as what must.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, assert_type

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

import afterword
from afterword import (
    Outcome,
    Reason,
    RequestErrorCallback,
    RequestInfo,
    TaskFailureCallback,
    TaskObserver,
    TaskRun,
    testing,
)
from afterword.logs import OpenTelemetryLogs, ReportedFilter, add_context

app = FastAPI()


# --- what `on_request_error` and `on_task_failure` take ----------------------------------------------------------


def tell(request: HTTPConnection, exc: BaseException) -> None: ...
async def tell_later(request: HTTPConnection, exc: BaseException) -> None: ...
def tell_of_requests_only(request: Request, exc: BaseException) -> None: ...
def tell_of_exceptions_only(request: HTTPConnection, exc: Exception) -> None: ...


def page(run: TaskRun, exc: BaseException | None) -> None: ...
async def page_later(run: TaskRun, exc: BaseException | None) -> bool:
    return exc is None


def page_without_none(run: TaskRun, exc: BaseException) -> None: ...
def page_of_exceptions_only(run: TaskRun, exc: Exception | None) -> None: ...


class Pager:
    async def __call__(self, run: TaskRun, exc: BaseException | None) -> None: ...


on_error: list[RequestErrorCallback] = [tell, tell_later, lambda request, exc: print(request.url, exc)]
on_failure: list[TaskFailureCallback] = [page, page_later, Pager(), lambda run, exc: print(run.name, exc)]

afterword.instrument(app, on_request_error=on_error, on_task_failure=on_failure)
afterword.instrument(app, on_request_error=[tell, tell_later], on_task_failure=(page, page_later, Pager()))
afterword.instrument(app, on_request_error=[tell_of_requests_only])  # type: ignore[list-item]
afterword.instrument(app, on_request_error=[tell_of_exceptions_only])  # type: ignore[list-item]
afterword.instrument(app, on_request_error=tell)  # type: ignore[arg-type]
afterword.instrument(app, on_task_failure=[page_without_none])  # type: ignore[list-item]
afterword.instrument(app, on_task_failure=[page_of_exceptions_only])  # type: ignore[list-item]
afterword.instrument(app, on_task_failure=[tell])  # type: ignore[list-item]


# --- observers ---------------------------------------------------------------------------------------------------


class Watcher(TaskObserver):
    def scheduled(self, run: TaskRun) -> None:
        assert_type(run.request, RequestInfo | None)
        assert_type(run.index, int)
        assert_type(run.scheduled_at, float)

    def started(self, run: TaskRun) -> None:
        assert_type(run.started_at, float | None)
        assert_type(run.wait, float | None)

    def ended(self, run: TaskRun) -> None:
        assert_type(run.outcome, Outcome | None)
        assert_type(run.reason, Reason | None)
        assert_type(run.exception, BaseException | None)
        assert_type(run.duration, float | None)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        assert_type(info.status, int | None)
        assert_type(info.client_error, bool)


class Hopeful(TaskObserver):
    def request_failed(self, info: RequestInfo, exc: Exception) -> None: ...  # type: ignore[override]


afterword.instrument(app, observers=[Watcher(), OpenTelemetryLogs()])
assert_type(afterword.logs.OpenTelemetryLogs(), OpenTelemetryLogs)
afterword.instrument(app, observers=[Watcher])  # type: ignore[list-item]


# --- the rest of what `afterword` and `afterword.logs` offer -----------------------------------------------------


@afterword.task
async def send_mail(order: int) -> str:
    return str(order)


@afterword.task(name="audit", run_on_request_error=True, slow_after=2.5)
def write_audit(order: int) -> None: ...


sent: Coroutine[Any, Any, str] = send_mail(1)
mail: Callable[[int], Awaitable[str]] = send_mail
audit: Callable[[int], None] = write_audit
write_audit("one")  # type: ignore[arg-type]

afterword.instrument(Starlette(), registry=CollectorRegistry(), metrics_path=None, traces=False, new_trace=True)
afterword.instrument(app, journal="journal")
afterword.instrument(app, journal=Path("journal"))
afterword.instrument(app, journal=None)
afterword.instrument(app, journal=b"journal")  # type: ignore[arg-type]
afterword.instrument(app, journal=7)  # type: ignore[arg-type]
afterword.instrument(app, console="/afterword", console_dependencies=[Depends(write_audit)])
afterword.instrument(app, console=None, console_dependencies=(Depends(send_mail),))
afterword.instrument(app, console=True)  # type: ignore[arg-type]
afterword.instrument(app, console_dependencies=[write_audit])  # type: ignore[list-item]
afterword.uninstrument(app)
afterword.configure("orders", json_logs=True)
assert_type(afterword.current(), TaskRun | None)
assert_type(afterword.running(), list[TaskRun])
assert_type(afterword.runs(BackgroundTasks()), list[TaskRun])
assert_type(afterword.__version__, str)
reported: Any = ReportedFilter()
processor: Callable[[Any, str, dict[str, Any]], Any] = add_context


# --- tests of a user's own ---------------------------------------------------------------------------------------


def use(account: testing.Account) -> None:
    assert_type(account["send_mail"], testing.TaskAccount)
    assert_type(account[send_mail].succeeded, testing.Count)
    assert_type(account[send_mail].published, testing.Count)
    assert_type(account.runs, list[TaskRun])
    assert_type(account.request_errors, list[testing.RequestError])
    assert_type(account.wait(timeout=1), bool)
    account.expect(send_mail="dropped", write_audit=Outcome.SKIPPED)
    account.expect({send_mail: "dropped", "shop.write_audit": Outcome.SKIPPED}, report="failed")
    account.expect(send_mail=1)  # type: ignore[arg-type]
    account.assert_all_succeeded()
    account.assert_all_ran()


opened: AbstractContextManager[testing.Account] = testing.account()
