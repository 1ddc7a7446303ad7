"""Applications that are called in the same process, as test suites do."""

import asyncio
import warnings
from collections.abc import Callable

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI

with warnings.catch_warnings():  # the newest Starlette would rather have another httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import dropped, failed, request_error, skipped, succeeded
from tests.support.telemetry_modes import MODES

Call = Callable[[FastAPI, str], int]


def call_by_test_client(app: FastAPI, path: str) -> int:
    """Call an application as its own tests would; its errors come out here."""
    with TestClient(app) as client:
        return client.get(path).status_code


def call_by_transport(app: FastAPI, path: str) -> int:
    """Call an application by httpx, without a lifespan; its errors come out here."""

    async def call() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(path)).status_code

    return asyncio.run(call())


def build(stage: Stage) -> FastAPI:
    """Build an application with a task that works, one that fails, and a request that fails."""
    app = stage.fastapi()

    @app.get("/works")
    async def works(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.works_in_thread("report"))

    @app.get("/fails")
    async def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.fails("mail"))
        tasks.add_task(stage.works("audit"))

    @app.get("/broken")
    async def broken(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise KeyError("boom")

    stage.instrument(app)
    return app


@pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx")
@pytest.mark.parametrize("call", [call_by_test_client, call_by_transport])
def test_a_client_in_the_process_waits_for_the_tasks(comparison: Comparison, call: Call):
    """In-process clients block until the tasks have ended and get their errors; the account is the same."""
    stage = comparison.stage()
    app = build(stage)
    assert call(app, "/works") == 200
    assert stage.did == ["mail", "report"]
    comparison.expect(succeeded("mail"), succeeded("report"))
    with pytest.raises(ValueError, match="boom"):
        call(app, "/fails")
    with pytest.raises(KeyError, match="boom"):
        call(app, "/broken")
    comparison.expect(
        *(succeeded("mail"), succeeded("report")),
        *(failed("mail"), skipped("audit")),
        *(dropped("mail"), request_error(500, "KeyError", "/broken")),
    )


def test_many_applications_of_one_factory_share_the_accounts(comparison: Comparison):
    """A factory called for each test adds up in the same accounts, whatever became of the app before."""
    for _ in range(3):
        call_by_transport(build(comparison.stage()), "/works")
    comparison.expect(*[succeeded("mail"), succeeded("report")] * 3)


@pytest.mark.parametrize("telemetry_mode", MODES[:1], indirect=True, ids=lambda mode: mode.name)
def test_applications_on_one_registry_share_its_series(comparison: Comparison):
    """Applications on one registry share its series: no error, no growth, nothing missing."""
    registry = comparison.accounts.prometheus.registry

    def series() -> set[tuple[str, str]]:
        return {
            (sample.name, repr(sorted(sample.labels.items())))
            for family in registry.collect()
            for sample in family.samples
        }

    call_by_transport(build(comparison.stage()), "/works")
    comparison.expect(succeeded("mail"), succeeded("report"))
    after_one = series()
    collectors = len(list(registry.collect()))
    both = [build(comparison.stage()), build(comparison.stage())]
    for app in both:
        call_by_transport(app, "/works")
    comparison.expect(*[succeeded("mail"), succeeded("report")] * 3)
    assert series() == after_one
    assert len(list(registry.collect())) == collectors
