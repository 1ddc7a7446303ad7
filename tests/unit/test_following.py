"""Context that follows a task: OpenTelemetry's with its baggage, and structlog's variables."""

import asyncio

import httpx
import pytest
import structlog
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, suppress_instrumentation
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import get_current_span
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.versions import NATIVE_TELEMETRY
from tests.support.waiting import wait_until

SILENT = {"traces": False, "metrics": False, "logs": False}
MAKERS = ["fastapi", "native"] if NATIVE_TELEMETRY else ["fastapi"]


def bind(**values: str) -> None:
    """Bind values as a user does: as baggage, as a value of OpenTelemetry's context, as structlog's variables."""
    for key, value in values.items():
        otel.attach(baggage.set_baggage(key, value))
        otel.attach(otel.set_value(key, value))
    structlog.contextvars.bind_contextvars(**values)


def bound() -> tuple[dict, dict, dict]:
    """Return what is bound here: the baggage, the values of OpenTelemetry's context, structlog's variables."""
    variables = structlog.contextvars.get_contextvars()
    context = otel.get_current()
    keys = ("user", "tenant", "after")
    values = {key: context[key] for key in keys if key in context}
    return dict(baggage.get_all()), values, variables


def thrice(**values: str) -> tuple[dict, dict, dict]:
    """Return what `bound` returns where just these values are bound."""
    return values, values, values


class Looks:
    """Tasks that note what is bound where they run."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict, dict, dict]] = []

    async def on_loop(self) -> None:
        self.seen.append(bound())

    def in_thread(self) -> None:
        self.seen.append(bound())


@pytest.fixture
def looks() -> Looks:
    """Provide tasks that look around."""
    return Looks()


def add_endpoints(app: FastAPI, looks: Looks) -> None:
    """Add endpoints that bind a user and schedule two tasks, on an injected batch and on a response."""

    def schedule(background: BackgroundTasks) -> None:
        background.add_task(looks.on_loop)
        background.add_task(looks.in_thread)

    @app.get("/async/{user}")
    async def in_async(user: str, background: BackgroundTasks) -> None:
        bind(user=user)
        schedule(background)

    @app.get("/def/{user}")
    def in_def(user: str, background: BackgroundTasks) -> None:
        bind(user=user)
        schedule(background)

    @app.get("/response/{user}")
    def on_response(user: str) -> JSONResponse:
        bind(user=user)
        tasks = BackgroundTasks()
        schedule(tasks)
        return JSONResponse({}, background=tasks)

    def dependency(user: str, background: BackgroundTasks):
        bind(user=user)
        schedule(background)
        yield

    @app.get("/dependency/{user}", dependencies=[Depends(dependency)])
    def behind_a_dependency() -> None: ...

    @app.get("/nothing")
    def bind_nothing(background: BackgroundTasks) -> None:
        schedule(background)


@pytest.mark.parametrize("signals", [{}, SILENT, {"new_trace": True}], ids=["signals", "silent", "new trace"])
@pytest.mark.parametrize("place", ["async", "def", "response", "dependency"])
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_bound_where_a_task_is_scheduled_is_bound_in_it(
    stage: InProcessStage, looks, make, place, signals
):
    """A task sees what its endpoint or dependency has bound, on the loop and in a thread, signals or not."""
    app = getattr(stage, make)()
    add_endpoints(app, looks)
    stage.instrument(app, **signals)
    ask(app, f"/{place}/ada")
    assert looks.seen == [thrice(user="ada")] * 2


@pytest.mark.parametrize("mounted", [False, True])
def test_nothing_reaches_the_next_request(stage: InProcessStage, looks, mounted):
    """On one connection of a real server each task sees its own request's values, and then none."""
    app = inner = stage.fastapi()
    if mounted:
        app = stage.fastapi()
        app.mount("/inner", inner)
    add_endpoints(inner, looks)
    stage.instrument(app)
    prefix = "/inner" if mounted else ""
    with stage.serve(app) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/def/ada", "/async/bob", "/response/eve", "/dependency/joe", "/nothing"):
            expected = len(looks.seen) + 2
            assert client.get(prefix + path).status_code == 200
            wait_until(lambda expected=expected: len(looks.seen) == expected)
    assert looks.seen[0::2] == looks.seen[1::2]
    assert looks.seen[0::2] == [*(thrice(user=user) for user in ("ada", "bob", "eve", "joe")), thrice()]


def test_a_task_leaves_no_trace_in_its_own_request(stage: InProcessStage, looks):
    """What is put back for a task is gone when it has ended, also when it failed."""
    after = []

    def endpoint(background: BackgroundTasks) -> None:
        bind(user="ada")
        background.add_task(looks.on_loop)
        background.add_task(stage.fails("mail"))

    app = stage.app(endpoint, traces=False)

    async def outer(scope, receive, send) -> None:
        bind(tenant="shop")
        try:
            await app(scope, receive, send)
        finally:
            after.append(bound())

    ask(outer)
    assert looks.seen == [thrice(user="ada", tenant="shop")]
    assert after == [thrice(tenant="shop")]


@pytest.mark.parametrize("kind", ["async", "def"])
def test_behind_a_function_middleware(stage: InProcessStage, looks, kind):
    """Through `@app.middleware("http")` a task sees what the middleware bound and what its endpoint bound."""
    app = stage.fastapi()
    add_endpoints(app, looks)

    @app.middleware("http")
    async def tenant(request, call_next):
        bind(tenant="shop")
        return await call_next(request)

    stage.instrument(app, traces=False)
    ask(app, f"/{kind}/ada")
    assert looks.seen == [thrice(user="ada", tenant="shop")] * 2


def test_a_task_of_a_middleware(stage: InProcessStage, looks):
    """A task that a middleware hangs on the response sees what the middleware bound, not what the endpoint did."""

    def endpoint() -> None:
        bind(user="ada")

    app = stage.fastapi()
    app.get("/")(endpoint)

    @app.middleware("http")
    async def tenant(request, call_next):
        response = await call_next(request)
        bind(tenant="shop")
        response.background = BackgroundTask(looks.on_loop)
        return response

    stage.instrument(app)
    ask(app)
    assert looks.seen == [thrice(tenant="shop")]


def test_what_the_task_has_is_kept(stage: InProcessStage, looks):
    """Where a value is bound already in the task's surroundings, it stays; only what is missing is added."""

    def endpoint(background: BackgroundTasks) -> None:
        bind(user="ada", tenant="changed in the thread")
        background.add_task(looks.on_loop)

    app = stage.app(endpoint, traces=False)

    async def outer(scope, receive, send) -> None:
        bind(tenant="shop")
        await app(scope, receive, send)

    ask(outer)
    assert looks.seen == [thrice(user="ada", tenant="shop")]


def test_what_a_dependency_has_unbound_meanwhile(stage: InProcessStage, looks):
    """What was bound only around the scheduling, on the event loop, is bound again while the task runs."""

    async def endpoint(background: BackgroundTasks) -> None:
        token = otel.attach(baggage.set_baggage("user", "ada"))
        with structlog.contextvars.bound_contextvars(user="ada"):
            background.add_task(looks.on_loop)
        otel.detach(token)

    ask(stage.app(endpoint))
    assert looks.seen == [({"user": "ada"}, {}, {"user": "ada"})]


def test_suppression_does_not_follow(stage: InProcessStage):
    """A task that was scheduled where instrumentation is suppressed is itself not suppressed."""
    seen = []

    async def look() -> None:
        seen.append(is_instrumentation_enabled())

    def endpoint(background: BackgroundTasks) -> None:
        with suppress_instrumentation():
            background.add_task(look)

    ask(stage.app(endpoint))
    assert seen == [True]


def test_the_span_follows_without_spans_of_ours(stage: InProcessStage):
    """With `traces=False` the spans that a task opens still belong to the span it was scheduled in."""
    tracer = stage.settings["tracer_provider"].get_tracer("user")
    spans = []

    def look() -> None:
        spans.append(get_current_span())

    def endpoint(background: BackgroundTasks) -> None:
        with tracer.start_as_current_span("order") as span:
            spans.append(span)
            background.add_task(look)

    ask(stage.app(endpoint, traces=False))
    scheduling, running = spans
    assert running is scheduling


class FromBaggage(SpanProcessor):
    """Copies the baggage on every span that starts, as OpenTelemetry's own processor of that kind does."""

    def on_start(self, span, parent_context=None) -> None:
        span.set_attributes(dict(baggage.get_all(parent_context)))


@pytest.mark.parametrize("new_trace", [False, True])
def test_a_span_of_ours_starts_with_the_baggage(stage: InProcessStage, looks, new_trace):
    """A processor that copies baggage on spans finds on ours what a `def` endpoint has put there."""
    stage.settings["tracer_provider"].add_span_processor(FromBaggage())
    app = stage.fastapi()
    add_endpoints(app, looks)
    stage.instrument(app, new_trace=new_trace)
    ask(app, "/def/ada")
    users = [span.attributes["user"] for span in stage.accounts.spans.of_runs()]
    assert users == ["ada", "ada"]


def test_a_run_that_never_ran_is_told_as_it_was_scheduled(stage: InProcessStage):
    """The line of a dropped task carries what was bound when it was scheduled, though other values came after."""

    async def endpoint(background: BackgroundTasks) -> None:
        for user in ("ada", "bob"):
            structlog.contextvars.bind_contextvars(user=user)
            background.add_task(stage.works("mail"))
        structlog.contextvars.bind_contextvars(user="eve")
        raise HTTPException(404)

    ask(stage.app(endpoint))
    assert sorted(line["user"] for line in stage.lines("background_task.dropped")) == ["ada", "bob"]


def test_a_lost_task_is_told_without_a_stranger_s_context(stage: InProcessStage):
    """A task that is found abandoned while another request runs carries nothing of that request."""
    kept: list[BackgroundTasks] = []

    def abandon(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(user="ada")
        tasks = BackgroundTasks()
        tasks.add_task(stage.works("mail"))
        kept.append(tasks)

    async def find() -> None:
        structlog.contextvars.bind_contextvars(tenant="another")
        kept.clear()

    app = stage.app(abandon)
    app.get("/find")(find)

    async def scenario() -> None:
        await call(app)
        await call(app, "/find")

    asyncio.run(scenario())
    [line] = stage.lines("background_task.abandoned")
    assert line["user"] == "ada"
    assert "tenant" not in line
