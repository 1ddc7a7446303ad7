"""A FastAPI or Starlette that is built as none we know, and peers that are half installed."""

import json
from textwrap import dedent

import pytest

from tests.support.interpreter import run_fresh
from tests.support.versions import NATIVE_TELEMETRY

SERVE = """
import json, threading
import httpx
from fastapi import BackgroundTasks, FastAPI, HTTPException
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse
from tests.support.server import Server
from tests.support.waiting import wait_until

did = []

def make():
    app = FastAPI()

    async def on_loop(order):
        did.append(f"mail {order}")

    def in_thread(order):
        did.append(f"audit {order}")

    @app.get("/orders/{order}")
    def endpoint(order: int, tasks: BackgroundTasks):
        tasks.add_task(on_loop, order)
        tasks.add_task(in_thread, order=order)
        if order == 0:
            raise HTTPException(404)
        if order < 0:
            raise KeyError("negative")
        return order

    @app.get("/response")
    async def response():
        return JSONResponse({}, background=BackgroundTask(on_loop, "response"))

    @app.exception_handler(KeyError)
    async def handler(request, exc):
        return JSONResponse({"error": str(exc)}, 500, background=BackgroundTask(on_loop, "error"))

    return app

def visit(app):
    did.clear()
    with Server(app) as server, httpx.Client(base_url=server.url) as client:
        paths = ("/orders/7", "/orders/0", "/orders/-1", "/response", "/orders/seven", "/nowhere")
        answers = [[r.status_code, r.text] for r in map(client.get, paths)]
        wait_until(lambda: len(did) >= 4, why=lambda: did)
    return [answers, sorted(did)]

import afterword
"""

PLAIN = (
    SERVE
    + """
bare = visit(make())
apps = [make(), make()]
for app in apps:
    afterword.instrument(app)
    afterword.instrument(app)
assert visit(apps[0]) == bare, did
scheduled = [
    sample.value
    for metric in __import__("prometheus_client").REGISTRY.collect() for sample in metric.samples
    if sample.name == "background_task_scheduled_total"
]
with Server(apps[0]) as server:
    status = httpx.get(server.url + "/metrics").status_code
for app in apps:
    afterword.uninstrument(app)
print(json.dumps({"scheduled": sum(scheduled), "metrics": status}))
"""
)

OTHERWISE = """
from functools import partialmethod
import fastapi.background
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

def otherwise(cls, method):
    here = cls.__dict__.get(method, print)  # an attribute of its instances is not there
    setattr(cls, method, partialmethod(here))  # works as ever, and cannot be wrapped as a function
"""

NEEDED = [
    "BackgroundTask.__init__",
    "BackgroundTask.__call__",
    "BackgroundTasks.__init__",
    "BackgroundTasks.add_task",
    "BackgroundTasks.__call__",
    "ExceptionMiddleware.__call__",
    "Starlette.__call__",
    *(["fastapi.background.BackgroundTasks.__call__"] if NATIVE_TELEMETRY else []),
]

REBUILT = """
import sys
from importlib.machinery import PathFinder, SourceFileLoader

class Rebuilt(SourceFileLoader):
    def get_code(self, name):
        source = self.get_data(self.path).decode()
        for old, new in CHANGES[name]:
            source = source.replace(old, new)
        return compile(source, self.path, "exec")

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in CHANGES:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = Rebuilt(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder)
"""

STARLETTE, FASTAPI, ERRORS = "starlette.background", "fastapi.background", "starlette.middleware.exceptions"
INHERITED = """P = ParamSpec("P")
class Base:
    def __init__(self, func, *args, **kwargs):
        self.func, self.args, self.kwargs, self.is_async = func, args, kwargs, is_async_callable(func)
    async def __call__(self):
        if self.is_async: await self.func(*self.args, **self.kwargs)
        else: await run_in_threadpool(self.func, *self.args, **self.kwargs)
"""
CALLS = {"starlette.responses": "self.background()", "starlette.middleware.base": "self.background()"}

STRANGERS: dict[str, tuple[dict[str, list[tuple[str, str]]], str]] = {
    "the task keeps its function elsewhere": (
        {STARLETTE: [("self.func", "self.function")], FASTAPI: [("task.func", "task.function")]},
        "keeps its function differently",
    ),
    "the batch keeps its tasks elsewhere": (
        {STARLETTE: [("self.tasks", "self.members")], FASTAPI: [("self.tasks", "self.members")]},
        "keeps its tasks differently",
    ),
    "the methods are inherited": (
        {
            STARLETTE: [
                ('P = ParamSpec("P")\n', INHERITED),
                ("class BackgroundTask:", "class BackgroundTask(Base): ...\nclass Old:"),
            ]
        },
        "BackgroundTask.__call__ is not there",
    ),
    "the call takes more": (
        {
            STARLETTE: [
                ("async def __call__(self)", "async def __call__(self, how)"),
                ("await task()", "await task(1)"),
            ],
            FASTAPI: [
                ("async def __call__(self)", "async def __call__(self, how)"),
                ("await task()", "await task(1)"),
            ],
            **{module: [(call, call.replace("()", "(1)"))] for module, call in CALLS.items()},
        },
        "BackgroundTask.__call__ takes other arguments",
    ),
    "the handlers are kept elsewhere": (
        {ERRORS: [("self._exception_handlers", "self.table")]},
        "keeps its handlers differently",
    ),
}


def run(*parts: str) -> tuple[dict, list[str]]:
    """Run a program in a fresh interpreter; return what it printed last and the lines of ours that it logged."""
    printed, complained = run_fresh("\n".join(dedent(part) for part in parts))
    return json.loads(printed), [line for line in complained.splitlines() if line.startswith("afterword: ")]


def test_this_version_is_known():
    """The program that these tests run is accounted for, without a warning, on the version that is installed."""
    result, warnings = run(PLAIN)
    assert result == {"scheduled": 8, "metrics": 200}
    assert warnings == []


@pytest.mark.parametrize("method", NEEDED)
def test_without_a_needed_hook_nothing_is_observed(method):
    """Where one method cannot be hooked, one warning says so, and the application runs as without us."""
    cls, _, name = method.rpartition(".")
    result, [warning] = run(OTHERWISE, f"otherwise({cls}, {name!r})", PLAIN)
    assert result == {"scheduled": 0, "metrics": 404}
    assert f"{method.removeprefix('fastapi.background.')} is no method" in warning


@pytest.mark.parametrize(("change", "complaint"), STRANGERS.values(), ids=STRANGERS)
def test_classes_that_are_built_otherwise_are_left_alone(change, complaint):
    """A Starlette that keeps things elsewhere is noticed before a request can be harmed, and said once."""
    if not NATIVE_TELEMETRY:
        change = {module: changes for module, changes in change.items() if module != FASTAPI}
    result, [warning] = run(f"CHANGES = {change!r}", REBUILT, PLAIN)
    assert result == {"scheduled": 0, "metrics": 404}
    assert complaint in warning


def test_the_warning_says_what_to_know():
    """The warning names both versions, what is not observed and why."""
    import fastapi
    import starlette

    _, [warning] = run(OTHERWISE, "otherwise(Starlette, '__call__')", PLAIN)
    assert f"FastAPI {fastapi.__version__} with Starlette {starlette.__version__}" in warning
    assert "no background task is observed" in warning
    assert "starlette.applications.Starlette.__call__" in warning


def test_what_can_be_missed_is_missed():
    """Without `ServerErrorMiddleware.handler` each task is accounted for, and a warning says what lacks."""
    result, [warning] = run(OTHERWISE, "otherwise(ServerErrorMiddleware, 'handler')", PLAIN)
    assert result == {"scheduled": 8, "metrics": 200}
    assert "a failed request is reported after its answer's own tasks" in warning


def test_zero_code_leaves_an_unknown_version_alone():
    """`opentelemetry-instrument` on an unknown version warns once and leaves the application as it is."""
    program = (
        SERVE
        + """
        bare = visit(make())
        from afterword.instrumentor import BackgroundTaskInstrumentor
        BackgroundTaskInstrumentor().instrument()
        assert visit(make()) == bare
        BackgroundTaskInstrumentor().uninstrument()
        print(json.dumps({}))
        """.replace("\n        ", "\n")
    )
    _, warnings = run(OTHERWISE, "otherwise(BackgroundTask, '__call__')", program)
    assert len(warnings) == 1


@pytest.mark.parametrize("fault", ["ImportError('half')", "AttributeError('half')", "no class"])
def test_a_half_installed_contrib(fault):
    """Where OpenTelemetry's FastAPI instrumentation fails, a warning says so, and tasks are accounted for."""
    broken = """
    import sys, types
    import fastapi
    sys.modules["fastapi.telemetry"] = None  # FastAPI's own, if it has one, is already in use
    fault = FAULT
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise fault
    if fault is None:
        sys.modules["opentelemetry.instrumentation.fastapi"] = types.ModuleType("half")
    else:
        sys.modules["opentelemetry.instrumentation.fastapi"] = Broken("half")
    """.replace("FAULT", "None" if fault == "no class" else fault)
    result, warnings = run(broken, PLAIN)
    assert result == {"scheduled": 8, "metrics": 200}
    assert all("requests are not traced" in warning for warning in warnings)
    assert len(warnings) == 2  # one for each application


def test_structlog_half_configured():
    """A structlog whose configuration cannot write a line costs the lines, not the account nor an answer."""
    half = """
    import structlog
    def broken(logger, method, event): raise LookupError("half configured")
    structlog.configure(processors=[broken])
    """
    result, warnings = run(half, PLAIN)
    assert result == {"scheduled": 8, "metrics": 200}
    assert any("Logs.ended failed; this is logged once" in warning for warning in warnings)


OTHER_STRUCTLOG = """
    import inspect
    import structlog.contextvars as s
    # the next structlog, which calls its table differently
    source = inspect.getsource(s).replace("_CONTEXT_VARS", "_RENAMED")
    exec(compile(source, s.__file__, "exec"), s.__dict__)
    del s._CONTEXT_VARS
    """


def test_variables_follow_without_structlogs_table():
    """Variables follow a task also where structlog keeps its table of them elsewhere."""
    program = """
    import json
    import afterword._common.context as following
    s.bind_contextvars(user="ada")
    seen = following.capture_context()
    s.clear_contextvars()
    seen.attach_missing()
    inside = s.get_contextvars()
    seen.detach()
    print(json.dumps([inside, s.get_contextvars()]))
    """
    assert run(OTHER_STRUCTLOG, program)[0] == [{"user": "ada"}, {}]


def test_lines_are_written_without_structlogs_table():
    """Lines are written, and what the user has bound stays on them, also where structlog keeps no such table."""
    program = """
    import json
    import structlog
    from afterword._common.log import emit
    lines = []
    def keep(logger, method, event):
        lines.append(dict(event))
        raise structlog.DropEvent
    structlog.configure(processors=[s.merge_contextvars, keep])
    emit("info", "first", {"task": "ours"})
    s.bind_contextvars(task="mine", user="ada")
    emit("info", "second", {"task": "ours", "outcome": "succeeded"})
    s.unbind_contextvars("task")
    emit("info", "third", {"task": "ours"})
    print(json.dumps(lines))
    """
    assert run(OTHER_STRUCTLOG, program)[0] == [
        {"event": "first", "task": "ours"},
        {"event": "second", "task": "mine", "user": "ada", "outcome": "succeeded"},
        {"event": "third", "task": "ours", "user": "ada"},
    ]


def test_an_application_runs_without_structlogs_table():
    """An application is served, and its tasks are accounted for, also where structlog keeps no such table."""
    result, warnings = run(OTHER_STRUCTLOG, PLAIN)
    assert result == {"scheduled": 8, "metrics": 200}
    assert warnings == []


@pytest.mark.parametrize("signal", ["Traces", "otel_metrics", "prometheus", "Logs"])
def test_a_signal_whose_library_fails(signal):
    """A signal that cannot be set up is left out, which is logged; the application and its other signals go on."""
    broken = f"""
    import afterword._setup.instrument as wiring
    def half_installed(*args, **kwargs): raise AttributeError("half installed")
    wiring.{signal} = half_installed
    """
    result, warnings = run(broken, PLAIN)
    assert result["scheduled"] == (0 if signal == "prometheus" else 8)
    assert any("their library fails" in warning for warning in warnings)
