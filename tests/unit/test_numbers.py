"""The numbers themselves: in Prometheus, in OpenTelemetry, and never twice."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from time import perf_counter

import anyio.to_thread
import pytest
from fastapi import BackgroundTasks, HTTPException
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import afterword
from afterword import TaskRun
from afterword._common import cardinality as bounds
from afterword._common import semconv as names
from afterword._common.model import CELERY, STARLETTE
from afterword._ledger import ages, runs
from afterword._signals import worker_threads as threads
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.numbers import recorded

NAME = {"background_task_name": "shop.mail"}


def test_all_outcomes_start_at_zero(stage: InProcessStage):
    """The first time a task is scheduled all six outcomes have a series, so that a rate sees the first failure."""
    ask(stage.app_with(stage.works("mail")))
    values = {
        outcome: stage.sample("background_task_ended_total", **NAME, background_task_outcome=str(outcome))
        for outcome in afterword.Outcome
    }
    assert values == dict.fromkeys(afterword.Outcome, 0.0) | {afterword.Outcome.SUCCEEDED: 1.0}


def test_thread_wait_is_for_sync_tasks(stage: InProcessStage):
    """Only tasks that run in threads have a wait for one."""
    ask(stage.app_with(stage.works("mail"), stage.works_in_thread("report")))
    count = "background_task_thread_wait_seconds_count"
    assert stage.sample(count, **NAME) is None
    assert stage.sample(count, background_task_name="shop.report") == 1


def test_runs_that_never_ran_have_no_duration(stage: InProcessStage):
    """A dropped run is counted, and is in no histogram."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise KeyError("boom")

    ask(stage.app(endpoint))
    assert stage.sample("background_task_ended_total", **NAME, background_task_outcome="dropped") == 1
    assert stage.sample("background_task_wait_seconds_count", **NAME) == 0
    assert not [s for s in stage.accounts.prometheus.samples() if s[0] == "background_task_duration_seconds_count"]


def test_pending_and_running_are_what_they_say(stage: InProcessStage):
    """While a task runs and another waits, the gauges and the ages say so."""
    seen = {}

    def look() -> None:
        for metric in ("background_task_pending", "background_task_running"):
            seen[metric] = stage.sample(metric, **NAME)
        for state in ("pending", "running"):
            seen[state] = stage.sample("background_task_oldest_age_seconds", background_task_state=state)

    async def sleeps() -> None:
        await asyncio.sleep(0.03)
        look()

    ask(stage.app_with(sleeps, stage.works("mail")))
    assert seen["background_task_pending"] == 1
    assert seen["background_task_running"] == 0
    assert 0.02 < seen["running"] < 5
    assert 0.02 < seen["pending"] < 5
    for state in ("pending", "running"):
        assert stage.sample("background_task_oldest_age_seconds", background_task_state=state) == 0


def test_the_oldest_age_is_of_the_oldest(stage: InProcessStage):
    """Of several runs in a state the first one counts, and the next one when that has ended."""
    looked: list[tuple[float, float, float]] = []

    def look() -> None:
        before = perf_counter()
        age = stage.sample("background_task_oldest_age_seconds", background_task_state="pending")
        looked.append((before, age, perf_counter()))

    async def looks() -> None:
        look()

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(looks)
        background.add_task(stage.works("mail"))
        await asyncio.sleep(0.01)
        background.add_task(look)
        background.add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    for (before, age, after), oldest in zip(looked, ("mail", "audit"), strict=True):
        scheduled = stage.accounts.recorder.run(oldest)._scheduled_tick
        assert before - scheduled <= age <= after - scheduled


def test_the_age_of_a_running_task_is_of_its_start(stage: InProcessStage):
    """A running task is as old as its running, without its wait, although others wait for longer."""
    looked: list[tuple[float, float, float]] = []

    async def looks() -> None:
        before = perf_counter()
        age = stage.sample("background_task_oldest_age_seconds", background_task_state="running")
        looked.append((before, age, perf_counter()))

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(looks)
        background.add_task(stage.works("mail"))
        await asyncio.sleep(0.01)

    ask(stage.app(endpoint))
    [(before, age, after)] = looked
    started = stage.accounts.recorder.run("looks")._started_tick
    assert before - started <= age <= after - started


def test_the_age_of_a_running_task_is_told_by_its_name(stage: InProcessStage):
    """Of a task that runs, the age of its oldest run is told by its name, and 0 when it does not run any more.

    OpenTelemetry is told the same.
    """
    looked: list[float | None] = []

    def age(name: str) -> float | None:
        metric = names.RUNNING_AGE
        found = stage.sample(metric.prometheus, background_task_name=name)
        [point] = [one for one in stage.accounts.meter.points(metric.name) if name in one.attributes.values()]
        assert point.value == pytest.approx(found, abs=5)
        assert dict(point.attributes) == {names.TASK_NAME: name, names.TASK_ENGINE: STARLETTE}
        return found

    @afterword.task(name="hangs")
    async def hangs() -> None:
        await asyncio.sleep(0.02)
        looked.append(age("hangs"))

    @afterword.task(name="other")
    async def other() -> None:
        looked.append(age("hangs"))

    ask(stage.app_with(hangs, other))
    assert looked[0] is not None
    assert looked[0] >= 0.02
    assert looked[1] == 0.0
    assert age("other") == 0.0


def test_an_age_by_name_is_of_the_oldest_of_that_name(monkeypatch: pytest.MonkeyPatch):
    """Each name has the age of the first of its runs, in each engine."""
    now = perf_counter()

    def run(name: str, seconds: float) -> TaskRun:
        found = TaskRun(name, name, None, 0, is_async=True)
        found._started_tick = now - seconds
        return found

    here = {run("mail", 60): None, run("audit", 40): None, run("mail", 20): None}
    monkeypatch.setattr(ages, "_seen", {})
    monkeypatch.setitem(runs.open_runs, STARLETTE, ({}, here))
    monkeypatch.setitem(runs.open_runs, CELERY, ({}, {run("mail", 10): None}))
    found = {(name, engine): age for name, engine, age in ages.oldest_ages().running}
    assert {key: age // 10 * 10 for key, age in found.items()} == {
        ("mail", STARLETTE): 60,
        ("audit", STARLETTE): 40,
        ("mail", CELERY): 10,
    }


def test_an_age_is_found_while_another_thread_schedules(monkeypatch: pytest.MonkeyPatch):
    """A task that is scheduled in the middle of the look for the oldest does not spoil the answer."""

    class Busy(dict[TaskRun, None]):
        """Runs to which another thread adds one, the first time somebody goes through them."""

        def __iter__(self) -> Iterator[TaskRun]:
            found = super().__iter__()
            if len(self) == 1:
                self[TaskRun("audit", "audit", None, 1, is_async=True)] = None
            return found

    oldest = TaskRun("mail", "mail", None, 0, is_async=True)
    oldest._scheduled_tick = perf_counter() - 60
    monkeypatch.setitem(runs.open_runs, STARLETTE, (Busy({oldest: None}), {}))
    assert 60 <= ages.oldest_age("pending") < 120


@pytest.fixture
def no_other_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the event loops of other tests, and let the garbage collector forget none for us."""
    monkeypatch.setattr(threads, "_limiters", type(threads._limiters)())
    gc.disable()
    yield
    gc.enable()


def test_worker_threads_are_counted(stage: InProcessStage, no_other_loops):
    """The use of the worker threads is that of the event loop's own limiter."""
    release, seen = threading.Event(), {}

    def blocks() -> None:
        release.wait(10)

    async def scenario() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2
        requests = [asyncio.create_task(call(app)) for _ in range(3)]
        await asyncio.sleep(0.2)
        for state in ("busy", "limit", "waiting"):
            seen[state] = stage.sample(f"afterword_worker_thread_{state}")
        seen["metrics"] = {name: value for name, _, value in stage.accounts.meter.samples()}
        release.set()
        await asyncio.gather(*requests)

    app = stage.app_with(blocks)
    asyncio.run(scenario())
    metrics = seen.pop("metrics")
    assert seen == {"busy": 2, "limit": 2, "waiting": 1}
    assert metrics["afterword_worker_thread_waiting"] == 1


def test_worker_threads_of_closed_loops_are_not_counted(stage: InProcessStage, no_other_loops):
    """An event loop that has been closed has no worker threads any more."""
    app = stage.app_with(stage.works_in_thread("report"))
    for _ in range(3):
        ask(app)
    assert stage.sample("afterword_worker_thread_limit") == 0


def test_the_version_is_a_series(stage: InProcessStage):
    """`afterword_info` tells which version is accounting."""
    stage.app()
    assert stage.sample("afterword_info", version=afterword.__version__) == 1


def test_routes_and_error_types_are_bounded(stage: InProcessStage, monkeypatch):
    """Error types beyond their bound are `other`, in both kinds of metrics."""
    monkeypatch.setattr(bounds.ERROR_TYPES, "limit", 1)
    ask(stage.app_with(stage.fails("mail"), stage.works("x")))
    ask(stage.app_with(stage.fails("mail", KeyError("boom"))))
    assert stage.sample("background_task_failures_total", **NAME, error_type="ValueError") == 1
    assert stage.sample("background_task_failures_total", **NAME, error_type="other") == 1
    assert stage.accounts.meter.story().failures == stage.accounts.prometheus.story().failures


def test_statuses_are_those_of_http(stage: InProcessStage):
    """A status that HTTP does not know is `other` in both kinds of metrics: a client may choose the number."""

    async def endpoint(status: int) -> None:
        raise HTTPException(status, "no")

    app = stage.fastapi()
    app.get("/{status}")(endpoint)
    stage.instrument(app)
    for status in (404, 503, *range(512, 600), 999, 1099):
        ask(app, f"/{status}")
    for numbers in (stage.accounts.prometheus, stage.accounts.meter):
        errors = numbers.story().errors
        assert {labels[2]: count for labels, count in errors.items()} == {"404": 1, "503": 1, "other": 90}
    assert {line["http_status"] for line in stage.lines("request.failed")} >= {404, 503, 999}


def test_unsampled_spans_give_no_exemplar(stage: InProcessStage):
    """An exemplar must not link to a span that nobody keeps."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    app = stage.app_with(stage.works("mail"), tracer_provider=provider)
    ask(app)
    families = stage.accounts.prometheus.registry.collect()
    assert not [s for family in families for s in family.samples if getattr(s, "exemplar", None)]
    [run] = stage.accounts.recorder.ended_runs
    assert (run.sampled, len(run.trace_id)) == (False, 32)


def test_otel_histograms_have_exemplars_and_our_buckets(stage: InProcessStage):
    """The OpenTelemetry histograms use the advised buckets and link to the run's span."""
    ask(stage.app_with(stage.works_in_thread("mail")))
    [run] = stage.accounts.recorder.ended_runs
    points = {metric.name: metric.data.data_points for metric in recorded(stage.accounts.meter.reader)}
    for name in ("background_task.duration", "background_task.wait", "background_task.thread_wait"):
        [point] = points[name]
        assert tuple(point.explicit_bounds) == names.BOUNDS[:-1]
        assert {f"{exemplar.trace_id:032x}" for exemplar in point.exemplars} == {run.trace_id}


def test_otel_instruments_are_shared_by_a_provider(stage: InProcessStage):
    """Two applications on one meter provider count on the same instruments."""
    for _ in range(2):
        ask(stage.app_with(stage.works("mail")))
    assert stage.accounts.meter.story().scheduled == {"mail": 2}


def test_the_global_providers_are_the_default(stage: InProcessStage, monkeypatch):
    """Without a tracer provider of its own an application uses the global one."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", stage.accounts.spans.provider)
    ask(stage.app_with(stage.works("mail"), tracer_provider=None, meter_provider=None))
    assert [span.name for span in stage.accounts.spans.of_runs()] == ["background_task shop.mail"]


def test_opentelemetry_in_the_same_registry_is_not_doubled(stage: InProcessStage, otel_reader):
    """Where OpenTelemetry exports into the registry, its instruments are the only ones, under the same names."""
    registry = stage.accounts.prometheus.registry
    provider = MeterProvider([otel_reader(registry)], shutdown_on_exit=False)
    try:
        app = stage.app_with(stage.works("mail"), meter_provider=provider)
        ask(app)
        text = ask(app, "/metrics").text
    finally:
        provider.shutdown()
    lines = [line for line in text.splitlines() if line.startswith("background_task_scheduled_total{")]
    assert [line.rpartition(" ")[2] for line in lines] == ["1.0"]
    assert 'background_task_name="shop.mail"' in lines[0]
    assert text.count("# TYPE background_task_duration_seconds histogram") == 1


@pytest.mark.parametrize("rounds", [3])
def test_the_sum_of_all_is_the_number_scheduled(stage: InProcessStage, rounds):
    """Whatever happened, both kinds of metrics keep the law."""
    app = stage.app_with(stage.works("mail"), stage.fails("report"), stage.works("audit"))
    for _ in range(rounds):
        ask(app)
    stage.accounts.prometheus.assert_law()
    stage.accounts.meter.assert_law()
    assert (
        stage.sample("background_task_failures_total", background_task_name="shop.report", error_type="ValueError")
        == 3
    )
