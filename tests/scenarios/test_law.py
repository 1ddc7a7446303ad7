"""The law, stated for random applications: every run that was scheduled ends once, in every signal."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.comparison import compared_in
from tests.support.random_apps import Plan, build, path_of, plans
from tests.support.stage import Stage
from tests.support.story import Ended, Expectation
from tests.support.telemetry_modes import MODES, TelemetryMode
from tests.support.visit import Visit

bounded = settings(
    deadline=None,
    derandomize=True,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would be to wait for each failure
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def paths_of(drawn: Sequence[Plan]) -> list[str]:
    """Return the address of each request to be sent."""
    return [
        path_of(number, plan) + ("?number=none" if plan.ending == "invalid" else "")
        for number, plan in enumerate(drawn)
        for _ in range(plan.requests)
    ]


def expected_of(drawn: Sequence[Plan]) -> list[Expectation]:
    """Return what must be told of all those requests."""
    return [
        item
        for number, plan in enumerate(drawn)
        for _ in range(plan.requests)
        for item in plan.expected(path_of(number, plan))
    ]


async def call_at_once(app: FastAPI, paths: Sequence[str]) -> None:
    """Send all requests concurrently, in process."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await asyncio.gather(*(client.get(path) for path in paths))


def deeds_of(expected: Iterable[Expectation]) -> Counter[str]:
    """Return what the tasks do, according to the model."""
    runs = [item for item in expected if isinstance(item, Ended) and item.started]
    return Counter(run.name if run.outcome == "succeeded" else f"{run.name} fails" for run in runs)


def staged(stage: Stage, drawn: Sequence[Plan]) -> FastAPI:
    """Build and instrument the application that was drawn."""
    app = build(stage, drawn)
    stage.instrument(app)
    return app


@pytest.mark.slow
@settings(bounded, max_examples=60)
@given(drawn=plans())
def test_the_model_knows_the_application(drawn: list[Plan]):
    """The model is right about what runs without Afterword; else the law would be stated of a fiction."""
    stage = Stage()
    asyncio.run(call_at_once(staged(stage, drawn), paths_of(drawn)))
    assert Counter(stage.did) == deeds_of(expected_of(drawn))


@pytest.mark.slow
@pytest.mark.timeout(120)
@settings(bounded, max_examples=60)
@given(drawn=plans())
def test_the_law_in_process(telemetry_mode: TelemetryMode, drawn: list[Plan]):
    """Whatever the application does, all accounts agree with an independent model of it."""
    with compared_in(telemetry_mode) as comparison:
        stage = comparison.stage()
        asyncio.run(call_at_once(staged(stage, drawn), paths_of(drawn)))
        expected = expected_of(drawn)
        comparison.expect(*expected, deadline=3)
        assert Counter(stage.did) == deeds_of(expected)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("telemetry_mode", MODES[:1], indirect=True, ids=lambda mode: mode.name)
@settings(bounded, max_examples=15)
@given(drawn=plans())
def test_the_law_on_a_server(telemetry_mode: TelemetryMode, drawn: list[Plan]):
    """The same holds behind a real server with real connections."""
    with compared_in(telemetry_mode) as comparison:
        stage = comparison.stage()
        with stage.serve(staged(stage, drawn)) as server:
            visit = Visit(server, stage)
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(visit.get, paths_of(drawn)))
            comparison.expect(*expected_of(drawn), deadline=3)
            visit.close()
