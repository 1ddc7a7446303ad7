"""What users tell their own meter provider to do with our instruments: views, as on anybody's."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from tests.otlp.received import attributes_of
from tests.otlp.receiver import Receiver
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage

DURATION = "background_task.duration"
ENDED = "background_task.ended"


@pytest.fixture
def through(stage: InProcessStage, http_receiver: Receiver):
    """Provide a function that runs three tasks under a view, and returns a metric that arrives."""

    def run(view: View | None, metric: str) -> Any:
        exporter = OTLPMetricExporter(f"http://127.0.0.1:{http_receiver.port}/v1/metrics")
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=600_000)
        views = [] if view is None else [view]
        provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
        app = stage.app_with(
            stage.works("mail"), stage.works("picture"), stage.fails("card"), meter_provider=provider
        )
        ask(app)
        provider.shutdown()
        return http_receiver.last().get(metric)

    return run


def test_a_metric_is_dropped(through, http_receiver: Receiver):
    """A dropped instrument does not arrive; the others do."""
    assert through(View(instrument_name=DURATION, aggregation=DropAggregation()), DURATION) is None
    assert ENDED in http_receiver.metric_names()


def test_a_metric_is_renamed(through):
    """A new name and description arrive."""
    metric = through(View(instrument_name=DURATION, name="jobs.duration", description="how long"), "jobs.duration")
    assert metric.description == "how long"


def test_an_attribute_is_left_out(through):
    """Without the task's name, the counts of all tasks are added up, per outcome."""
    metric = through(View(instrument_name=ENDED, attribute_keys={"background_task.outcome"}), ENDED)
    counts = {tuple(attributes_of(point.attributes).values()): point.as_int for point in metric.sum.data_points}
    assert (counts["succeeded",], counts["failed",], counts["skipped",]) == (2, 1, 0)


def test_other_buckets(through):
    """Bucket bounds of the user's own replace ours, which are only an advice."""
    buckets = ExplicitBucketHistogramAggregation(boundaries=[1, 2, 3])
    metric = through(View(instrument_name=DURATION, aggregation=buckets), DURATION)
    assert {tuple(point.explicit_bounds) for point in metric.histogram.data_points} == {(1.0, 2.0, 3.0)}


def test_an_exponential_histogram(through):
    """Exponential histograms are possible."""
    metric = through(View(instrument_name=DURATION, aggregation=ExponentialBucketHistogramAggregation()), DURATION)
    assert sum(point.count for point in metric.exponential_histogram.data_points) == 3


def test_exponential_histograms_by_the_environment(through, http_receiver: Receiver, monkeypatch):
    """OpenTelemetry's variable makes all our histograms exponential, though ours have bounds that are advised."""
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(name, "base2_exponential_bucket_histogram")
    points = through(None, DURATION).exponential_histogram.data_points
    assert sum(point.count for point in points) == 3
    [wait, *_] = http_receiver.last()["background_task.wait"].exponential_histogram.data_points
    assert (wait.count, wait.zero_count + sum(wait.positive.bucket_counts)) == (1, 1)
    assert wait.scale > 3  # a bucket is less than a tenth wide
