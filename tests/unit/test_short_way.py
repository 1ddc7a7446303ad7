"""How many functions of ours a task and a request pass: the way stays short, or is made longer on purpose."""

import asyncio
import os
import sys
from collections import Counter
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import afterword
from afterword._common import context as following
from tests.support.accounts import restored_structlog
from tests.support.asgi import ask, http_scope
from tests.support.in_process import SILENT
from tests.support.versions import NATIVE_TELEMETRY

OURS = os.path.join("afterword", "_")
TASKS = 10
# with all signals; what a change adds is paid by every task and every request
PER_TASK = 44 if NATIVE_TELEMETRY else 49  # on an older FastAPI, the context of the request's span is followed
PER_REQUEST = 17


async def nothing() -> None:
    """Do nothing."""


def functions_passed(app: FastAPI, path: str) -> Counter[str]:
    """Return which functions of ours a request calls, and how often."""
    passed: Counter[str] = Counter()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and OURS in frame.f_code.co_filename:
            passed[f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_code.co_qualname}"] += 1

    async def visit() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None: ...

        scope = http_scope(path)
        sys.setprofile(note)
        try:
            await app(scope, receive, send)
        finally:
            sys.setprofile(None)

    asyncio.run(visit())
    return passed


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Provide an application with every signal, as in production: a level above debug, a logger that is kept."""
    monkeypatch.setattr(following, "_TABLE", {})  # other tests have bound variables, which are then followed
    provider = TracerProvider(shutdown_on_exit=False)
    app = FastAPI(**SILENT)

    @app.get("/{count}")
    async def schedule(count: int, background: BackgroundTasks) -> None:
        for _ in range(count):
            background.add_task(nothing)

    with restored_structlog():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(20),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=True,
        )
        afterword.instrument(app, tracer_provider=provider, registry=CollectorRegistry(), metrics_path=None)
        for _ in range(2):
            ask(app, "/1")  # what happens once, and once more when the first request has built the middleware
        yield app
        afterword.uninstrument(app)
    provider.shutdown()


def test_a_task_passes_few_functions(app: FastAPI):
    """An async task with a span, metrics and a log line passes at most so many functions of ours."""
    none, many = functions_passed(app, "/0"), functions_passed(app, f"/{TASKS}")
    assert (many.total() - none.total()) / TASKS <= PER_TASK, many - none


def test_a_batch_that_is_as_it_was_made_is_not_looked_through(app: FastAPI):
    """Its members are looked for, before and after, only if something was done to it behind our back."""
    passed = [name for name in functions_passed(app, "/2") if name.startswith("batch.py")]
    assert not [name for name in passed if "_plan_members" in name or "_close" in name]


def test_the_middleware_is_looked_through_once(app: FastAPI):
    """What lies around the endpoints is known from the first request on."""
    assert not [name for name in functions_passed(app, "/0") if "_innermost" in name]


def test_a_request_without_tasks_passes_few_functions(app: FastAPI):
    """A request that schedules nothing passes at most so many functions of ours."""
    if not NATIVE_TELEMETRY:
        afterword.uninstrument(
            app
        )  # contrib's middleware, which traces an older FastAPI, is watched from both sides
        afterword.instrument(app, traces=False, registry=CollectorRegistry(), metrics_path=None)
        ask(app, "/0")
        ask(app, "/0")
    passed = functions_passed(app, "/0")
    assert passed.total() <= PER_REQUEST, passed
