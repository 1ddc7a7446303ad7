"""Registries that others use, too: cleared, shared, or with metrics of our names."""

import pytest
from prometheus_client import CollectorRegistry, Counter

import afterword
from tests.parts.asgi import ask
from tests.parts.bench import Bench
from tests.support.story import succeeded

LATE = "afterword_observer_errors"


def test_a_registry_that_was_cleared_has_series_again(bench: Bench):
    """A test suite that empties the registry between tests gets the series of its next application."""
    registry: CollectorRegistry = bench.accounts.prometheus.registry
    first = bench.app_with(bench.works("mail"))
    ask(first)
    afterword.uninstrument(first)
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)
    ask(bench.app_with(bench.works("report")))
    assert bench.sample("background_task_scheduled_total", background_task_name="shop.report") == 1


def test_a_collision_that_was_removed_is_forgotten(bench: Bench):
    """When whoever used one of our names has gone, instrumenting works: nothing half-made is left behind."""
    registry = bench.accounts.prometheus.registry
    theirs = Counter(LATE, "Not ours.", registry=registry)
    app = bench.fastapi()
    with pytest.raises(ValueError, match=LATE):
        afterword.instrument(app, **bench.settings)
    registry.unregister(theirs)
    bench.instrument(app)
    assert "afterword_info" in ask(app, "/metrics").text


def test_a_collision_leaves_the_registry_as_it_was(bench: Bench):
    """If one of our names is taken, none of our series is registered."""
    registry = bench.accounts.prometheus.registry
    Counter(LATE, "Not ours.", registry=registry)
    with pytest.raises(ValueError, match=LATE):
        afterword.instrument(bench.fastapi(), **bench.settings)
    assert {family.name for family in registry.collect()} == {LATE}


def test_a_collision_on_the_second_call_leaves_the_settings_in_force(bench: Bench):
    """Instrumenting again into a registry that is refused does not un-instrument the application."""
    app, other = bench.app_with(bench.works("mail")), CollectorRegistry()
    Counter(LATE, "Not ours.", registry=other)
    with pytest.raises(ValueError, match=LATE):
        bench.instrument(app, registry=other)
    ask(app)
    bench.assert_story(succeeded("mail"))
