"""A worker's metrics: served by its main process, its children's included."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.celery.brokers import free_port
from tests.celery.stage import SECONDS, Stage
from tests.support.waiting import wait_until


def test_every_outcome_starts_at_zero(stage: Stage):
    """As soon as a worker is ready, each outcome is there at 0, so that a rate sees the first failure."""
    text = stage.worker("solo").scrape()
    for outcome in ("succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned"):
        labels = f'background_task_name="shop.works",background_task_outcome="{outcome}"'
        assert f'background_task_ended_total{{background_task_engine="celery",{labels}}} 0.0' in text
    reason = 'background_task_name="shop.works",background_task_reason="retry"'
    assert f'background_task_returned_total{{background_task_engine="celery",{reason}}} 0.0' in text


def test_a_port_of_the_argument(stage: Stage):
    """The port of metrics_port wins over that of the environment."""
    port = free_port()
    stage.worker("solo", SHOP_METRICS_PORT=str(port), SHOP_BARE_READY="yes", AFTERWORD_WORKER_METRICS_PORT="")
    assert "background_task_started_total" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404


def test_openmetrics(stage: Stage):
    """Who asks for OpenMetrics gets it, and who asks for a name gets that."""
    address = f"http://127.0.0.1:{stage.worker('solo').port}/metrics"
    answer = httpx.get(address, headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    one = httpx.get(address, params={"name[]": "afterword_info"}).text
    assert {line.split("{")[0] for line in one.splitlines() if not line.startswith("#")} == {"afterword_info"}


def test_a_port_in_use(stage: Stage):
    """A port that somebody uses is one warning; the worker runs its tasks."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = stage.worker("solo", SHOP_METRICS_PORT=str(port), SHOP_BARE_READY="yes")
        result = stage.publish("works", 3)
        assert result.get(timeout=30) == 3
        stage.tells(result.id, "succeeded")
        assert worker.log.read_text().count("metrics cannot be served") == 1


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_several_processes(stage: Stage, tmp_path: Path, pool: str):
    """With PROMETHEUS_MULTIPROC_DIR, the children's own series are served, too, and the account is the same."""
    directory = tmp_path / "multiprocess"
    directory.mkdir()
    worker = stage.worker(pool, PROMETHEUS_MULTIPROC_DIR=str(directory))
    stage.publish("counts")
    stage.publish("publishes")
    stage.publish("retries", 1)
    stage.settles(
        *("scheduled counts", "started counts", "ended counts succeeded"),
        *("scheduled publishes", "started publishes", "ended publishes succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
        *("scheduled retries", "2 started retries", "returned retries retry", "ended retries succeeded"),
    )
    wait_until(lambda: "shop_monthly_statements_total 1.0" in worker.scrape())


def test_beat(stage: Stage):
    """What beat publishes is scheduled in its process, which serves its own metrics."""
    port = free_port()
    stage.worker("solo")
    beat = stage.beat(port, "beat_schedule = dict(often=dict(task='shop.works', schedule=0.5))")
    wait_until(lambda: 'background_task_scheduled_total{background_task_engine="celery"' in beat.scrape(), SECONDS)
    wait_until(lambda: stage.counted()["ended works succeeded"] >= 2, SECONDS)
    assert beat.numbers()["scheduled works"] >= 2


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_beat_inside_a_worker(stage: Stage, pool: str):
    """What beat inside a worker (`-B`) publishes is scheduled in the worker's account, at the worker's port."""
    settings = "beat_schedule = dict(often=dict(task='shop.works', schedule=0.2))"
    worker = stage.worker(pool, "-B", "-s", str(stage.folder / "schedule"), SHOP_SETTINGS=settings)
    is_told = {"scheduled works", "started works", "ended works succeeded"}
    wait_until(lambda: is_told <= worker.numbers().keys(), SECONDS, stage.report)
    lost = "is not counted", "is logged once", "cannot be served"
    assert [text for text in lost if text in worker.log.read_text()] == []


def test_a_law_of_the_worker(stage: Stage):
    """In a worker, what was started runs, has ended or was returned, exactly."""
    worker = stage.worker("prefork", "-c2")
    for _ in range(10):
        stage.publish("retries", 1)
        stage.publish("fails")
        stage.publish("works")
    wait_until(lambda: stage.counted()["ended retries succeeded"] == 10 and not stage.counted()["held works"])
    stage.settles(
        *("10 scheduled retries", "20 started retries", "10 returned retries retry", "10 ended retries succeeded"),
        *("10 scheduled fails", "10 started fails", "10 ended fails failed"),
        *("10 scheduled works", "10 started works", "10 ended works succeeded"),
    )
    numbers = worker.numbers()
    started = sum(value for key, value in numbers.items() if key.startswith("started"))
    assert started == sum(value for key, value in numbers.items() if key.startswith(("ended", "returned")))


def test_a_full_directory(stage: Stage, tmp_path: Path):
    """Without room in PROMETHEUS_MULTIPROC_DIR, tasks run and are told; one error says what is missing."""
    directory = tmp_path / "multiprocess"
    directory.mkdir()
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory), "SHOP_SETTINGS": f"{small}; del resource"}
    stage.worker("prefork", "-c1", SHOP_BARE_READY="yes", **environment)
    result = stage.publish("works", 3)
    assert result.get(timeout=30) == 3
    stage.tells(result.id, "succeeded")
    said = [line["detail"] for line in stage.read("lines.jsonl") if line["level"] == "error"]
    assert len(said) == 1
    assert "series that need more room are left out" in said[0]
