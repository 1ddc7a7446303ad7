"""What the dead have left is told in every signal of the application that finds it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber

from afterword import TaskObserver, TaskRun
from afterword._common.model import RequestInfo
from afterword._ledger.journal.journal import Journal, journal_at
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.journals import (
    REQUEST_SPAN,
    TRACE,
    Ids,
    ended,
    find,
    history_of,
    ledger_of,
    new_run,
    scheduled,
    started,
    untold,
)
from tests.support.sdk_logs import KeptLogs

Numbers = dict[tuple[str, ...], float]


def numbers(stage: InProcessStage, of: str) -> dict[str, list[dict[str, float]]]:
    """Return what Prometheus and OpenTelemetry say of a metric, by task."""
    accounts = (stage.accounts.prometheus, stage.accounts.meter)
    return {
        type(account).__name__: [
            {labels["background_task_name"]: value} for name, labels, value in account.samples() if name == of
        ]
        for account in accounts
    }


def both(value: list[dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    """Return what is expected of both."""
    return {"PrometheusAccount": value, "MeterAccount": value}


def errors_of(stage: InProcessStage) -> list[tuple[str, float]]:
    """Return whose errors were counted."""
    samples = stage.accounts.prometheus.samples()
    return [(s[1]["afterword_observer"], s[2]) for s in samples if s[0] == "afterword_observer_errors_total"]


def test_what_was_lost_is_logged(stage: InProcessStage, directory: Path, left: Any):
    """A line for each lost run says which, how old, how far it came, whose request, and what to do."""
    pending, running = left(scheduled, started)
    find(stage.app(journal=directory, traces=False))
    lines = {line["task_run"]: line for line in stage.lines("background_task.lost")}
    assert lines.keys() == {pending.id, running.id}
    for run, state in ((pending, "pending"), (running, "running")):
        line = lines[run.id]
        assert (line["log_level"], line["task"], line["state"], line["pid"]) == (
            "warning",
            "mail",
            state,
            os.getpid(),
        )
        told = (line["http_method"], line["http_route"], line["request_id"], line["trace_id"])
        assert told == ("POST", "/orders/{number}", "r-1", TRACE)
        assert 0 <= line["age_s"] < 60
        assert "use a queue" in line["detail"]
    assert "nothing of it was done" in lines[pending.id]["detail"]
    assert "nobody knows how far it came" in lines[running.id]["detail"]


def test_what_was_lost_has_a_span_in_its_own_trace(stage: InProcessStage, directory: Path, left: Any):
    """The span is a child of the one that scheduled it, an error, from its beginning until it was found."""
    pending, running = left(scheduled, started)
    find(stage.app(journal=directory))
    spans = {span.attributes["background_task.run.id"]: span for span in stage.accounts.spans.of_runs()}
    assert spans.keys() == {pending.id, running.id}
    for run, begin in ((pending, pending.scheduled_at), (running, running.started_at)):
        span = spans[run.id]
        assert span.name == "background_task mail"
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, REQUEST_SPAN)
        assert abs(span.start_time / 1e9 - begin) < 0.001
        assert begin <= span.end_time / 1e9 <= time.time() + 1
        assert span.status.status_code.name == "ERROR"
        attributes = dict(span.attributes)
        assert (attributes["background_task.outcome"], attributes["error.type"]) == ("lost", "lost")
        assert "background_task.recovered" not in attributes
        [line] = [line for line in stage.lines("background_task.lost") if line["task_run"] == run.id]
        assert line["span_id"] == f"{span.context.span_id:016x}"


def test_a_new_trace_is_linked(stage: InProcessStage, directory: Path, left: Any):
    """Where each task has a trace of its own, that of a lost one has a link to the request's."""
    left(started)
    find(stage.app(journal=directory, new_trace=True))
    [span] = stage.accounts.spans.of_runs()
    assert span.parent is None
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE]


def test_what_was_lost_is_counted_once(stage: InProcessStage, directory: Path, left: Any):
    """Prometheus and OpenTelemetry count each lost run once, and the law holds with it."""
    left(scheduled, started)
    app = stage.app(journal=directory)
    find(app)
    find(app)
    assert numbers(stage, "background_task_lost_total") == both([{"mail": 2.0}])
    for name, value in (("scheduled_total", 2.0), ("pending", 0.0), ("running", 0.0)):
        assert numbers(stage, f"background_task_{name}") == both([{"mail": value}])


def test_lost_starts_at_zero(stage: InProcessStage):
    """The first loss of a known task is an increase, journal or not."""
    app = stage.app_with(stage.works("mail"))
    ask(app)
    [[[name, value]]] = [
        list(each.items()) for each in numbers(stage, "background_task_lost_total")["MeterAccount"]
    ]
    assert name.endswith("mail")
    assert value == 0
    assert numbers(stage, "background_task_lost_total") == both([{name: 0.0}])


class Dies(TaskObserver):
    """Ends the telling of an end, as a process that dies in the middle of it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def ended(self, run: TaskRun) -> None:
        self.journal.close()


def test_an_end_that_was_not_told_is_told_again(stage: InProcessStage, directory: Path):
    """A run whose end was written has its own event, with all that is known, marked as recovered."""
    journal = journal_at(str(directory))
    ledger = ledger_of(journal, Dies(journal), traces=[Ids()])
    # its Told comes after the journal is closed
    observers = [seen for seen in ledger.observers if type(seen).__name__ != "Told"]
    ledger.set_observers(observers)
    run = ended(ledger, exc=ValueError("no such mailbox"))
    find(stage.app(journal=directory))

    [line] = stage.lines("background_task.failed")
    assert line["recovered"] is True
    assert (line["log_level"], line["task_run"], line["error_type"]) == ("error", run.id, "ValueError")
    assert line["error_text"] == "no such mailbox"
    assert "ValueError: no such mailbox" in line["traceback"]
    [span] = stage.accounts.spans.of_runs()
    attributes = dict(span.attributes)
    assert (attributes["background_task.outcome"], attributes["background_task.recovered"]) == ("failed", True)
    assert [event.attributes["exception.type"] for event in span.events] == ["ValueError"]
    assert stage.lines("background_task.lost") == []
    assert [record.outcome for record in history_of(directory)] == ["failed"]


def test_log_records_tell_of_the_dead(stage: InProcessStage, directory: Path, left: Any, kept_logs: KeptLogs):
    """OpenTelemetry log records say of a lost run what its log line says, in the trace of its span."""
    pending, running = left(scheduled, started)
    find(stage.app(journal=directory, observers=[OpenTelemetryLogs(kept_logs.provider)]))
    records = {record.attributes["background_task.run.id"]: record for record in kept_logs.records}
    lines = {line["task_run"]: line for line in stage.lines("background_task.lost")}
    assert records.keys() == lines.keys() == {pending.id, running.id}
    for run, state in ((pending, "pending"), (running, "running")):
        record, attributes, line = records[run.id], records[run.id].attributes, lines[run.id]
        assert (record.event, record.severity) == ("background_task.lost", SeverityNumber.WARN.value)
        assert record.body == f"mail lost: {line['detail']}"
        assert f"{record.trace_id:032x}" == line["trace_id"] == TRACE
        told = {
            "background_task.name": "mail",
            "background_task.outcome": "lost",
            "background_task.state": state,
            "error.type": "lost",
            "process.pid": os.getpid(),
            "http.request.method": "POST",
            "http.route": "/orders/{number}",
            "http.request.header.x-request-id": ("r-1",),
        }
        assert told.items() <= attributes.items()
        assert attributes["background_task.age"] == pytest.approx(line["age_s"], abs=1e-5)
        assert "background_task.recovered" not in attributes


@pytest.mark.parametrize(("level", "events"), [("warning", ["failed"]), ("info", ["failed", "succeeded"])])
def test_log_records_tell_ends_that_were_not_told(
    level: str, events: list[str], stage: InProcessStage, directory: Path, kept_logs: KeptLogs
):
    """An end that was perhaps not told has its own record, marked as recovered, if its level is asked for."""
    journal = journal_at(str(directory))
    ledger = ledger_of(journal, traces=[Ids()])
    untold(ledger)
    ended(ledger)
    journal.close()
    find(stage.app(journal=directory, observers=[OpenTelemetryLogs(kept_logs.provider, level=level)]))
    assert sorted(record.event for record in kept_logs.records) == [f"background_task.{each}" for each in events]
    for record in kept_logs.records:
        assert record.attributes["background_task.recovered"] is True
        assert "background_task.age" not in record.attributes
        assert record.attributes["background_task.duration"] >= 0
    [failed] = [record for record in kept_logs.records if record.event.endswith("failed")]
    assert failed.severity == SeverityNumber.ERROR.value
    assert failed.body == "mail failed: it raised; see the traceback"
    told = {f"exception.{key}": failed.attributes[f"exception.{key}"] for key in ("type", "message")}
    assert told == {"exception.type": "ValueError", "exception.message": "no such mailbox"}
    assert "ValueError: no such mailbox" in failed.attributes["exception.stacktrace"]


def test_a_signal_that_is_off_tells_nothing(stage: InProcessStage, directory: Path, left: Any):
    """Without logs, traces or metrics, the others tell."""
    left(started)
    find(stage.app(journal=directory, logs=False, traces=False))
    assert stage.lines("background_task.lost") == []
    assert stage.accounts.spans.of_runs() == []
    assert numbers(stage, "background_task_lost_total") == both([{"mail": 1.0}])


@pytest.mark.faults
def test_a_signal_that_fails_spares_the_others(stage: InProcessStage, directory: Path, left: Any):
    """If no span can be made, the line and the numbers are there, and the fault is counted."""
    left(started)

    class Broken:
        def get_tracer(self, *_: object, **__: object) -> Any:
            class Tracer:
                def start_span(self, *_: object, **__: object) -> Any:
                    raise RuntimeError("no tracer")

            return Tracer()

    find(stage.app(journal=directory, tracer_provider=Broken()))
    assert len(stage.lines("background_task.lost")) == 1
    assert numbers(stage, "background_task_lost_total") == both([{"mail": 1.0}])
    counted = dict(errors_of(stage))
    assert counted["LostRuns"] == 1.0


def test_a_request_is_not_needed(stage: InProcessStage, directory: Path, left: Any):
    """A lost run of which little is known has a line with what there is."""
    run = TaskRun("mail", "shop.mail", RequestInfo(), 0, is_async=True)
    left(lambda ledger: scheduled(ledger, run))
    find(stage.app(journal=directory))
    [line] = stage.lines("background_task.lost")
    assert line.keys().isdisjoint({"http_route", "http_method", "request_id"})


def test_many_names_of_the_dead_are_bounded(
    stage: InProcessStage, directory: Path, left: Any, monkeypatch: pytest.MonkeyPatch
):
    """Names that only the dead had cannot make more series than the bound."""
    monkeypatch.setenv("AFTERWORD_MAX_TASK_NAMES", "3")
    left(*(lambda ledger, n=n: scheduled(ledger, new_run(f"mail{n}")) for n in range(6)))
    find(stage.app(journal=directory))
    assert len(numbers(stage, "background_task_lost_total")["PrometheusAccount"]) <= 101
