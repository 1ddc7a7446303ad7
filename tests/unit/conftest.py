"""What the unit tests share."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter import prometheus as otel_prometheus
from prometheus_client import CollectorRegistry

from afterword import TaskRun
from afterword._ledger.journal import journal as journals
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.runs import Ledger
from afterword.logs import ReportedFilter
from tests.support.journals import Ids, give_up, ledger_of


@pytest.fixture
def otel_reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[CollectorRegistry], Any]:
    """Provide a function that makes an OpenTelemetry reader which exports into a Prometheus registry."""

    def make(registry: CollectorRegistry) -> Any:
        cls = otel_prometheus.PrometheusMetricReader
        if "registry" in inspect.signature(cls).parameters:
            return cls(registry=registry)
        monkeypatch.setattr(otel_prometheus, "REGISTRY", registry)  # older ones know only the global one
        return cls()

    return make


class Kept(logging.Handler):
    """Keeps the records that pass its filter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def server_log() -> Iterator[list[logging.LogRecord]]:
    """Provide uvicorn's error logger with the filter, and with a list of what passes it."""
    logger, handler, news = logging.getLogger("uvicorn.error"), Kept(), ReportedFilter()
    logger.addFilter(news)
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    logger.removeFilter(news)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Provide the directory of a journal, which is closed afterwards."""
    directory = tmp_path / "journal"
    yield directory
    for journal in list(journals._journals.values()):
        journal.close()


@pytest.fixture
def journal(directory: Path) -> Iterator[Journal]:
    """Provide a journal."""
    journal = journal_at(str(directory))
    yield journal
    journal.close()


@pytest.fixture
def left(directory: Path) -> Iterator[Callable[..., list[TaskRun]]]:
    """Provide a function that dies with what others do in its ledger."""
    alive: list[tuple[Ledger, list[TaskRun]]] = []

    def die(*acts: Callable[[Ledger], TaskRun]) -> list[TaskRun]:
        journal = journal_at(str(directory))
        ledger = ledger_of(journal, traces=[Ids()])
        runs = [act(ledger) for act in acts]
        journal.close()
        alive.append((ledger, runs))
        return runs

    yield die
    for ledger, runs in alive:
        give_up(ledger, *runs)
