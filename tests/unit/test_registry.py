"""Registries that others use, too: cleared, shared, or with metrics of our names."""

import sys
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import afterword
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage

LATE = "afterword_observer_errors"


def test_a_registry_that_was_cleared_has_series_again(stage: InProcessStage):
    """A test suite that empties the registry between tests gets the series of its next application."""
    registry: CollectorRegistry = stage.accounts.prometheus.registry
    first = stage.app_with(stage.works("mail"))
    ask(first)
    afterword.uninstrument(first)
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)
    ask(stage.app_with(stage.works("report")))
    assert stage.sample("background_task_scheduled_total", background_task_name="shop.report") == 1


def refusals(stage: InProcessStage) -> list[str]:
    """Return what the log says about series that there cannot be."""
    details = [line.get("detail", "") for line in stage.lines("afterword.metrics")]
    return [detail for detail in details if detail.startswith("no Prometheus series: ")]


def test_a_collision_stops_nobody(stage: InProcessStage):
    """If one of our names is taken, one error says whose it is; all else goes on, and theirs is served."""
    theirs = Counter(LATE, "Not ours.", registry=stage.accounts.prometheus.registry)
    theirs.inc(7)
    app = stage.app_with(stage.works("mail"))
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    assert stage.accounts.meter.story().scheduled == {"mail": 1}
    assert f"{LATE}_total 7.0" in ask(app, "/metrics").text
    [refusal] = refusals(stage)
    assert f"{LATE}' is a prometheus_client.metrics.Counter" in refusal
    assert "registry=CollectorRegistry()" in refusal


def test_a_collision_names_the_module(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """The error names the library whose metric it is."""
    library = ModuleType("their_library.metrics")
    library.theirs = Counter(LATE, "Not ours.", registry=stage.accounts.prometheus.registry)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    stage.app()
    [refusal] = refusals(stage)
    assert "prometheus_client.metrics.Counter of their_library.metrics" in refusal


def test_a_collector_of_another_make_is_named_by_its_class(stage: InProcessStage):
    """A collector that is none of prometheus_client's types is named as well."""

    class Theirs(Collector):
        def collect(self) -> list[Metric]:
            return [Metric("background_task_pending", "Not ours.", "gauge")]

        describe = collect

    stage.accounts.prometheus.registry.register(Theirs())
    stage.app()
    [refusal] = refusals(stage)
    assert f"'background_task_pending' is a {__name__}." in refusal
    assert "Theirs" in refusal


def test_a_collision_that_was_removed_is_forgotten(stage: InProcessStage):
    """When whoever used one of our names has gone, instrumenting works: nothing half-made is left behind."""
    registry = stage.accounts.prometheus.registry
    theirs = Counter(LATE, "Not ours.", registry=registry)
    app = stage.app()
    afterword.uninstrument(app)
    registry.unregister(theirs)
    stage.instrument(app)
    assert "afterword_info" in ask(app, "/metrics").text


def test_a_collision_leaves_the_registry_as_it_was(stage: InProcessStage):
    """If one of our names is taken, none of our series is registered."""
    registry = stage.accounts.prometheus.registry
    Counter(LATE, "Not ours.", registry=registry)
    stage.app()
    assert {family.name for family in registry.collect()} == {LATE}


def test_a_collision_on_the_second_call_is_as_one_on_the_first(stage: InProcessStage):
    """Instrumenting again into a registry that is refused goes on without Prometheus series."""
    app, other = stage.app_with(stage.works("mail")), CollectorRegistry()
    Counter(LATE, "Not ours.", registry=other)
    stage.instrument(app, registry=other)
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    assert {family.name for family in other.collect()} == {LATE}
    assert len(refusals(stage)) == 1
