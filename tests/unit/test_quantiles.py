"""How exact a quantile is that is reckoned from what a scrape says."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from afterword import Outcome, TaskRun
from afterword._ledger.ages import oldest_ages
from afterword._signals import prometheus
from afterword._signals.multiprocess import directory
from afterword._views import account

TIMEOUTS = (3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""What runs into a timeout takes a little longer."""


def times(seconds: float) -> account.Account:
    """Return what a scrape says of a hundred runs that waited, waited for a thread, and took so long."""
    registry = CollectorRegistry()
    observer = prometheus.prometheus(registry, oldest_ages)
    for place in range(100):
        run = TaskRun("mail", "shop.mail", None, place, is_async=True)
        observer.scheduled(run)
        run.started_at, run.wait = 1.0, seconds
        observer.started(run)
        run.outcome, run.ended_at, run.thread_wait, run.duration = Outcome.SUCCEEDED, 2.0, seconds, seconds
        observer.ended(run)
    path = directory.directory()
    if path is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path)
    return (account.read(generate_latest(registry).decode()) or {})["mail"]


@pytest.fixture(params=["one process", "several"])
def processes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count in memory, then in files."""
    if request.param == "several":
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        monkeypatch.setattr(directory, "several_processes", lambda: True)
        monkeypatch.setattr(prometheus, "several_processes", lambda: True)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("seconds", [1.001, 2.2, 3.0, 4.1, 8.5, 16.1, 24.5, 45.0, 59.0])
def test_a_time_of_seconds_is_told(seconds: float):
    """A quantile between a second and a minute is a half too high at most; of 3 s and of 45 s, a third."""
    told = times(seconds)
    most = seconds * (4 / 3 if seconds in {3.0, 45.0} else 3 / 2)
    for histogram in (told.wait, told.thread_wait, told.duration):
        for q in (0.05, 0.5, 0.95, 0.99):
            assert seconds * 2 / 3 <= (histogram.quantile(q) or 0.0) <= most


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_what_runs_into_a_timeout_is_told(timeout: float):
    """What a usual timeout has ended reads a third too high at most, and not like what takes twice as long."""
    assert timeout <= (times(timeout * 1.001).duration.quantile(0.95) or 0.0) <= timeout * 4 / 3


def test_beyond_an_hour_nobody_knows():
    """What takes for longer reads as the last bound."""
    assert times(9000.0).wait.quantile(0.95) == 3840.0
