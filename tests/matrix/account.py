"""The account of the application in the matrix, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import afterword
from tests.matrix import tasks
from tests.matrix.scenarios import expected_of
from tests.support.accounts import PEER_SPANS, RUN_ID, Accounts
from tests.support.originals import assert_no_hook_on_top
from tests.support.story import Expectation, story_of
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from tests.matrix.peers import Peer

_PATIENCE = 8.0


class Account:
    """All signals of ours, and every OpenTelemetry span of anybody."""

    def __init__(self, peer: Peer) -> None:
        self.all = Accounts()
        self.all.lines.configure()
        self._peer = peer
        self._expected: list[Expectation] = []
        self._opened = False
        self._act_began = 0

    def open(self, app: Any) -> None:
        """Put ours in."""
        afterword.instrument(
            app,
            observers=[self.all.recorder],
            tracer_provider=None if self._peer.is_global else self.all.spans.provider,
            meter_provider=self.all.meter.provider,
            registry=self.all.prometheus.registry,
        )
        self._opened = True

    def close(self, app: Any) -> None:
        """Take ours out."""
        afterword.uninstrument(app)
        self._opened = False

    def own_provider(self) -> TracerProvider:
        """Make a tracer provider for a peer alone; its spans are collected with all others."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.all.spans.exporter))
        return provider

    async def problems(self, played: list[str]) -> dict[str, str]:
        """Return what is wrong by now, after these requests of the act, by what was looked at."""
        for path in played:
            if self._opened or path == "/hold":
                self._expected += expected_of(path)
        with anyio.move_on_after(_PATIENCE):
            await wait_until_async(lambda: not self._problems())
        return self._problems()

    def _problems(self) -> dict[str, str]:
        checks = {
            "account": self._check_account,
            "names": self._check_names,
            "spans": self._check_spans,
            "hooks": self._check_hooks,
        }
        problems = {}
        for name, check in checks.items():
            try:
                check()
            except AssertionError as exc:
                problems[name] = str(exc)[:600]
        return problems

    def _check_account(self) -> None:
        self.all.assert_story(story_of(self._expected), peers_keep_some=True)

    def _check_names(self) -> None:
        wrong = {run.name for run in self.all.recorder.ended_runs} - tasks.NAMES
        assert not wrong, f"tasks are called {sorted(wrong)}"

    def _check_spans(self) -> None:
        """With ours, no span of a task is left beside the runs' own; ours and adopted ones are one per run."""
        if not self._opened:
            return
        beside = [span.name for span in self._of_act() if is_of_task(span) and not is_of_run(span)]
        assert not beside, f"spans of tasks beside those of the runs: {beside}"

    def _check_hooks(self) -> None:
        if not self._opened:
            assert_no_hook_on_top()

    def _of_act(self) -> tuple[ReadableSpan, ...]:
        return self.all.spans.all()[self._act_began :]

    def spans_of_act(self) -> dict[str, list[str]]:
        """Return every OpenTelemetry span of this act, by what it is of, and begin the next act."""
        spans = self._of_act()
        self._act_began += len(spans)
        kinds: dict[str, list[str]] = {"runs": [], "tasks": [], "others": []}
        for span in spans:
            kind = "runs" if is_of_run(span) else "tasks" if is_of_task(span) else "others"
            kinds[kind].append(_described(span))
        return {kind: sorted(found) for kind, found in kinds.items()}


def is_of_run(span: ReadableSpan) -> bool:
    """Return whether a span is ours or adopted."""
    return RUN_ID in (span.attributes or {})


def is_of_task(span: ReadableSpan) -> bool:
    """Return whether a span is somebody's of a background task."""
    return span.name.startswith(PEER_SPANS)


def _described(span: ReadableSpan) -> str:
    scope = span.instrumentation_scope.name if span.instrumentation_scope else "?"
    events = [str((event.attributes or {}).get("exception.type", event.name)) for event in span.events]
    return " ".join([f"{scope}: {span.name} {span.kind.name} {span.status.status_code.name}", *events])
