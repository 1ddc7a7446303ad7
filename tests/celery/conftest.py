"""A Redis for all tests of this folder, and a stage for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.celery import shop
from tests.celery.brokers import HAS_REDIS, RabbitMQ, Redis, redis_server
from tests.celery.stage import Stage
from tests.support.accounts import restored_structlog


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bear with what Celery warns about; without Redis nothing can be played."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("slow")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))
            for ignored in ("PendingDeprecationWarning", "DeprecationWarning", "ResourceWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{ignored}"))
            if not HAS_REDIS:
                item.add_marker(pytest.mark.skip(reason="no redis-server"))


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Provide a Redis."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextlib.contextmanager
def one_stage(folder: Path, redis: Redis | RabbitMQ, **settings: Any) -> Iterator[Stage]:
    """Set a stage on an empty Redis, and end it."""
    if isinstance(redis, Redis):
        redis.client.flushall()
    with restored_structlog():
        shop.logging_to(folder)
        stage = Stage(folder, redis, **settings)
        try:
            yield stage
        finally:
            stage.close()


@pytest.fixture
def stage(tmp_path: Path, redis: Redis) -> Iterator[Stage]:
    """Provide a stage of its own; workers are started as needed."""
    with one_stage(tmp_path, redis) as stage:
        yield stage


def shared_by(*pools: str) -> Any:
    """Return the fixture of a module whose tests share one worker of each of these pools."""

    @pytest.fixture(scope="module", params=pools)
    def shared(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: Redis
    ) -> Iterator[Stage]:
        """Provide a stage whose worker all tests of a pool share."""
        with one_stage(tmp_path_factory.mktemp(request.param), redis) as stage:
            stage.worker(request.param)
            yield stage

    return shared


@pytest.fixture
def play(shared: Stage) -> Stage:
    """Provide the shared stage of a module, with an account that begins here."""
    shared.mark()
    return shared
