"""Compares an application with itself, bare and instrumented: it must not notice, the accounts must agree."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

import afterword
from afterword._ledger import runs as ledger
from afterword._ledger.deferred import drain
from tests.support.accounts import Accounts, restored_structlog
from tests.support.originals import assert_originals_are_back
from tests.support.stage import Stage
from tests.support.story import Expectation, Story, story_of
from tests.support.telemetry_modes import TelemetryMode
from tests.support.visit import Drive, Visit
from tests.support.waiting import eventually, wait_until

Build = Callable[[Stage], Any]


@dataclass
class Behaviour:
    """What the world gets to see of an application: its answers, its deeds, the errors its server logs."""

    seen: list[Any] = field(default_factory=list)
    did: list[Any] = field(default_factory=list)
    server_errors: list[str] = field(default_factory=list)

    def in_no_order(self) -> Behaviour:
        return Behaviour(*(sorted(aspect, key=repr) for aspect in (self.seen, self.did, self.server_errors)))


class ServerErrors(logging.Handler):
    """Keeps what uvicorn logs as errors: exceptions that reached it, with their causes."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        chain = []
        while exc is not None and len(chain) < 10:
            chain.append(f"{type(exc).__name__}({exc})")
            exc = exc.__cause__
        self.errors.append(f"{record.getMessage().splitlines()[0]}: {' from '.join(chain)}")

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[str]]:
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(self)
        try:
            yield self.errors
        finally:
            logger.removeHandler(self)


class InstrumentedStage(Stage):
    """A stage on which ``fastapi`` and ``instrument`` do what the telemetry mode asks for."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison

    def fastapi(self, **options: Any) -> FastAPI:
        return super().fastapi(
            **self._comparison.telemetry_mode.fastapi_options(self._comparison.accounts), **options
        )

    def instrument(self, app: Any, **options: Any) -> None:
        super().instrument(app, **options)
        self._comparison.instrument(app, **options)


class Comparison:
    """One scenario, bare and instrumented: one telemetry mode and one set of accounts, for one test."""

    def __init__(self, telemetry_mode: TelemetryMode, bare_behaviours: dict[Any, Behaviour], key: Any) -> None:
        self.telemetry_mode = telemetry_mode
        self.accounts = Accounts()
        self._apps: list[Any] = []
        self._bare_behaviours = bare_behaviours
        self._key = key

    def instrument(self, app: Any, **options: Any) -> None:
        """Instrument an application into this comparison's accounts, with contrib's in its place."""
        observers = [self.accounts.recorder, *options.pop("observers", ())]
        options = self.accounts.settings() | options

        def ours() -> None:
            afterword.instrument(app, observers=observers, **options)

        self._apps.append(app)
        self.telemetry_mode.around(ours, app, self.accounts)

    def stage(self) -> Stage:
        """Provide a stage for a test that does not let ``verify`` play its scenario."""
        return InstrumentedStage(self)

    def verify(
        self,
        build: Build,
        drive: Drive,
        *expected: Expectation,
        in_order: bool = True,
        peers_keep_some: bool = False,
        grace: float = 10.0,
        **options: Any,
    ) -> None:
        """Play the scenario bare and instrumented; compare the behaviour and all accounts.

        ``in_order`` is false where requests run concurrently; ``peers_keep_some`` where FastAPI's or
        contrib's own tracing has spans of something that is no run. Options go to ``instrument``.
        """
        self.bare = bare = self._bare(build, drive, grace)
        stage = self.stage()

        def settled() -> None:
            self.expect(*expected, peers_keep_some=peers_keep_some)

        behaviour = _play(stage, build, drive, grace=grace, options=options, before_shutdown=settled)
        self.assert_story(story_of(expected), peers_keep_some=peers_keep_some)
        if not in_order:
            bare, behaviour = bare.in_no_order(), behaviour.in_no_order()
        for aspect in vars(bare):
            watched, unwatched = getattr(behaviour, aspect), getattr(bare, aspect)
            assert watched == unwatched, f"{aspect} differs, being watched: {watched}, not {unwatched}"

    def expect(self, *expected: Expectation, peers_keep_some: bool = False, deadline: float = 5.0) -> None:
        """Wait until the observer has been told enough, then for the other signals to say the same."""
        story, recorder = story_of(expected), self.accounts.recorder
        with contextlib.suppress(AssertionError):  # the story says better what is missing
            wait_until(
                lambda: (
                    len(recorder.ended_runs) >= story.ended.total()
                    and len(recorder.failed_requests) >= (story.errors or Counter()).total()
                ),
                deadline,
            )
        eventually(lambda: self.assert_story(story, peers_keep_some=peers_keep_some), 1.0)

    def assert_story(self, story: Story, *, peers_keep_some: bool = False) -> None:
        """Assert that all accounts tell this story now."""
        self.accounts.assert_story(story, peers_keep_some=peers_keep_some)

    def _bare(self, build: Build, drive: Drive, grace: float) -> Behaviour:
        if self._key not in self._bare_behaviours:
            self._bare_behaviours[self._key] = _play(Stage(), build, drive, grace=grace, options={})
        return self._bare_behaviours[self._key]

    def close(self) -> None:
        """Take every instrumentation away; nothing of it may be left in anybody's classes."""
        # a thread may be about to let go of its last arguments
        wait_until(_nothing_is_open, why=lambda: f"never ended: {[*ledger.pending(), *ledger.running()]}")
        for app in reversed(self._apps):
            self.telemetry_mode.undo(lambda app=app: afterword.uninstrument(app), app)
        self.accounts.shutdown()
        assert_originals_are_back()


def _nothing_is_open() -> bool:
    drain()
    if ledger.has_open_runs():
        gc.collect()  # late in a test session it takes half a second
        drain()
    return not ledger.has_open_runs()


@contextlib.contextmanager
def compared_in(
    mode: TelemetryMode, bare_behaviours: dict[Any, Behaviour] | None = None, key: Any = None
) -> Iterator[Comparison]:
    """Provide a comparison; the process's logging configuration and foreign classes are afterwards as before."""
    comparison = Comparison(mode, {} if bare_behaviours is None else bare_behaviours, key)
    with contextlib.closing(comparison), restored_structlog():
        comparison.accounts.lines.configure()
        yield comparison


def _play(
    stage: Stage,
    build: Build,
    drive: Drive,
    *,
    grace: float,
    options: dict[str, Any],
    before_shutdown: Callable[[], None] = lambda: None,
) -> Behaviour:
    """Build the application, serve it, send the requests, shut down gracefully; return what happened."""
    app = build(stage)
    if app not in stage.instrumented:
        stage.instrument(app, **options)
    with ServerErrors().listening() as server_errors:
        with stage.serve(app, grace=grace) as server:
            visit = Visit(server, stage)
            try:
                drive(visit)
            finally:
                visit.close()
            before_shutdown()
        return Behaviour(visit.seen, list(stage.did), server_errors)
