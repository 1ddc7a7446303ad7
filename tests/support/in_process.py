"""A stage without a server: applications of this process, instrumented into one set of accounts."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from io import StringIO
from typing import Any

import structlog
from fastapi import BackgroundTasks, FastAPI
from starlette.applications import Starlette

import afterword
from afterword import TaskRun
from afterword._common.model import STARLETTE
from afterword._ledger import runs as ledger
from afterword._starlette.patches import hooks
from tests.support.accounts import Accounts
from tests.support.originals import assert_originals_are_back
from tests.support.stage import Stage
from tests.support.story import Ended, Expectation, short, story_of
from tests.support.versions import NATIVE_TELEMETRY

SILENT = {"telemetry": {"tracing": False, "metrics": False, "logs": False}} if NATIVE_TELEMETRY else {}
"""What keeps a FastAPI application from telemetry of its own."""


class InProcessStage(Stage):
    """Makes and instruments applications, says what their tasks came to, and takes everything away again."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self._methods = {(patch.cls, patch.name): patch.cls.__dict__.get(patch.name) for patch in hooks.patches}
        self.settings = self.accounts.settings()

    def fastapi(self, **options: Any) -> FastAPI:
        """Make an application without telemetry of its own."""
        return super().fastapi(**(SILENT | options))

    def native(self, **options: Any) -> FastAPI:
        """Make an application that traces its own requests and tasks, into the stage's accounts."""
        telemetry = {key: self.settings[key] for key in ("tracer_provider", "meter_provider")}
        return super().fastapi(**({"telemetry": telemetry} | options))

    def instrument(self, app: Any, **options: Any) -> Any:
        """Instrument an application into the stage's accounts; options win over the stage's settings."""
        observers = [self.accounts.recorder, *options.pop("observers", ())]
        super().instrument(app)
        afterword.instrument(app, observers=observers, **(self.settings | options))
        return app

    def app(self, endpoint: Callable[..., Any] | None = None, **options: Any) -> FastAPI:
        """Make an instrumented application with one endpoint at ``/``."""
        app = self.fastapi()
        if endpoint is not None:
            app.get("/")(endpoint)
        return self.instrument(app, **options)

    def app_with(self, *tasks: Callable[..., Any], **options: Any) -> FastAPI:
        """Make an instrumented application whose one endpoint schedules these tasks."""
        return self.app(scheduling(*tasks), **options)

    @property
    def ended(self) -> list[Ended]:
        """The outcomes so far, in order."""
        runs = self.accounts.recorder.ended_runs
        return [Ended(short(run.name), str(run.outcome), run.reason, run.error_type) for run in runs]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """The names and outcomes so far, in order."""
        return [(run.name, run.outcome) for run in self.ended]

    def lines(self, event: str) -> list[MutableMapping[str, Any]]:
        """Return the log lines of one event."""
        return self.accounts.lines.named(event)

    def render(self, *renderers: Any) -> StringIO:
        """Let structlog render the lines from now on, as JSON unless told otherwise; return where they go."""
        output = StringIO()

        def keep(_: Any, level: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            self.accounts.lines.entries.append({**entry, "log_level": level})
            return entry

        as_json = (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, keep, *(renderers or as_json)],
            logger_factory=structlog.PrintLoggerFactory(output),
            cache_logger_on_first_use=False,
        )
        return output

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of one Prometheus series; one of a task is Starlette's if nothing else is said."""
        if name.startswith("background_task_"):
            labels.setdefault("background_task_engine", STARLETTE)
        return self.accounts.prometheus.registry.get_sample_value(name, labels)

    def observer_errors(self, observer: str) -> float | None:
        """Return how often an observer has been counted as faulty."""
        return self.sample("afterword_observer_errors_total", afterword_observer=observer)

    def assert_story(self, *expected: Expectation) -> None:
        """Assert that all accounts tell this story now."""
        self.accounts.assert_story(story_of(expected))

    def close(self) -> None:
        for app in reversed(self.instrumented):
            afterword.uninstrument(app)
        self.accounts.shutdown()
        has_open_runs = _forget_unended()
        try:
            assert not has_open_runs, f"never ended: {has_open_runs}"
            assert_originals_are_back()
        finally:
            for (cls, name), method in self._methods.items():
                if method is not None:
                    setattr(cls, name, method)  # a failed test fails alone
                elif name in cls.__dict__:
                    delattr(cls, name)


def _forget_unended() -> list[TaskRun]:
    """Return the runs that a failed test has left behind, which would keep the hooks for the tests to come."""
    left = [*ledger.pending(), *ledger.running()]
    ledger.forget()
    if left:
        hooks.remove_when_idle()
    return left


def scheduling(*tasks: Callable[..., Any]) -> Callable[..., Any]:
    """Make an endpoint that schedules these tasks."""

    async def endpoint(background: BackgroundTasks) -> dict[str, str]:
        for task in tasks:
            background.add_task(task)
        return {"answer": "yes"}

    return endpoint


def plain_app(path: str, endpoint: Callable[..., Any]) -> Starlette:
    """Make a Starlette application with one route."""
    app = Starlette()
    app.router.add_route(path, endpoint)
    return app
