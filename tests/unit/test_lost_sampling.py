"""Of a trace that is not sampled nothing is kept, so neither is the span of what was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from afterword import TaskRun
from afterword._ledger.journal.journal import journal_at
from afterword._ledger.runs import Ledger
from afterword._signals.traces import Traces
from tests.support.in_process import InProcessStage
from tests.support.journals import find, give_up, ledger_of, scheduled, started, untold


@contextmanager
def died(
    directory: Path, act: Callable[[Ledger], TaskRun], sampler: Sampler, *, new_trace: bool = False
) -> Iterator[str]:
    """Do something with a run in a request that is traced, and die; yield the request's trace."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    journal, context = journal_at(str(directory)), copy_context()
    ledger = ledger_of(journal, traces=[Traces(lambda span: None, provider, new_trace=new_trace)])

    def serve() -> tuple[TaskRun, int]:
        with provider.get_tracer("server").start_as_current_span("request") as request:
            return act(ledger), request.get_span_context().trace_id

    run, trace_id = context.run(serve)
    journal.close()
    yield f"{trace_id:032x}"
    context.run(give_up, ledger, run)


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
@pytest.mark.parametrize("act", [scheduled, started, untold])
def test_a_trace_that_is_not_sampled_gets_no_span(
    act: Callable[[Ledger], TaskRun], sampler: Sampler, stage: InProcessStage, directory: Path
):
    """The dead have a span where the rest of their trace is kept, and only there; the line has its ids always."""
    with died(directory, act, sampler) as trace_id:
        find(stage.app(journal=directory))
    spans = stage.accounts.spans.of_runs()
    assert len(spans) == (sampler is ALWAYS_ON)
    assert {f"{span.context.trace_id:032x}" for span in spans} <= {trace_id}
    [line] = stage.lines("background_task.failed" if act is untold else "background_task.lost")
    assert line["trace_id"] == trace_id


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
def test_a_trace_of_its_own_that_is_not_sampled_gets_no_span(
    sampler: Sampler, stage: InProcessStage, directory: Path
):
    """Where each task has a trace of its own, what counts is whether that one was sampled."""
    with died(directory, started, sampler, new_trace=True):
        find(stage.app(journal=directory, new_trace=True))
    assert len(stage.accounts.spans.of_runs()) == (sampler is ALWAYS_ON)
