"""How tasks are named, how many names there can be, and what metrics are called in Prometheus."""

import functools
import operator
import re
from math import inf

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

import afterword
from afterword._common import cardinality as bounds
from afterword._common import semconv as names
from afterword._common import task_names
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage

METRICS = [value for value in vars(names).values() if isinstance(value, names.Metric)]
COUNTERS = {
    *(names.SCHEDULED, names.STARTED, names.ENDED, names.FAILURES, names.LOST),
    *(names.REQUEST_ERRORS, names.OBSERVER_ERRORS),
}
HERE = __name__


def function(*args: object) -> None:
    """Do nothing."""


def decorator(func):
    """Wrap a function as decorators do."""

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs)

    return wrapper


class Mailer:
    """Something with methods of all kinds."""

    def send(self) -> None: ...

    @classmethod
    def send_all(cls) -> None: ...

    @staticmethod
    def check() -> None: ...

    def __call__(self) -> None: ...

    @decorator
    def wrapped(self) -> None: ...


class Shouter(Mailer):
    """A subclass that overrides nothing."""


def local():
    """Return a function that is defined inside another one."""

    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (function, "function"),
        (lambda: None, "<lambda>"),
        (local(), "local.<locals>.inner"),
        (functools.partial(function, 1), "function"),
        (functools.partial(functools.partial(function, 1), 2), "function"),
        (functools.partial(decorator(function), 1), "function"),
        (decorator(decorator(function)), "function"),
        (Mailer().send, "Mailer.send"),
        (Shouter().send, "Shouter.send"),
        (Mailer.send_all, "Mailer.send_all"),
        (Shouter.send_all, "Shouter.send_all"),
        (Mailer.check, "Mailer.check"),
        (Mailer(), "Mailer"),
        (Shouter(), "Shouter"),
        (Mailer, "Mailer"),
        (functools.partial(Mailer().send), "Mailer.send"),
    ],
)
def test_a_task_is_named_after_what_runs(func, name):
    """A task is named by module and qualified name of what really runs; a method by its object's class."""
    assert task_names.function_name(func) == f"{HERE}.{name}"


def test_builtins_have_names():
    """Functions and methods written in C are named, too."""
    assert task_names.function_name(print) == "builtins.print"
    assert task_names.function_name(int) == "builtins.int"
    assert task_names.function_name(operator.methodcaller("close")) == "operator.methodcaller"
    assert task_names.function_name([].append).endswith("list.append")


def test_a_chain_of_wrappers_is_followed_so_far():
    """A function that wraps itself, or is wrapped a thousand times, still has a name."""
    func = function
    for _ in range(1000):
        func = functools.wraps(func)(functools.partial(func))
    assert task_names.function_name(func)
    function.__wrapped__ = function
    try:
        assert task_names.function_name(function) == f"{HERE}.function"
    finally:
        del function.__wrapped__


def test_the_options_of_a_wrapped_function_count():
    """`@task` below another decorator or under a partial is still found."""

    @decorator
    @afterword.task(name="mail", run_on_request_error=True)
    def wrapped() -> None: ...

    assert task_names.task_options(functools.partial(wrapped)) == task_names.TaskOptions("mail", True)
    assert task_names.identify(functools.partial(wrapped))[0] == "mail"


class Described:
    """Has options where a class may have them."""

    @afterword.task("stamp", isolated=True)
    @staticmethod
    def stamp() -> None: ...

    @afterword.task("seal", isolated=True)
    def __call__(self) -> None: ...


class Inheriting(Described):
    """Has the same."""


@pytest.mark.parametrize("owner", [Described, Inheriting])
def test_the_options_of_a_static_method_and_of_a_callable_object_count(owner: type[Described]):
    """`@task` above `@staticmethod`, and on the ``__call__`` of a callable object, says what it says elsewhere."""
    for func in (owner.stamp, owner().stamp):
        assert task_names.task_options(func) == task_names.TaskOptions("stamp", isolated=True)
    assert task_names.task_options(owner()) == task_names.TaskOptions("seal", isolated=True)
    assert task_names.task_options(functools.partial(owner())).isolated
    assert not task_names.task_options(owner).isolated  # to make an object is not to call it


def test_a_callable_object_is_declared_as_it_is_named(monkeypatch: pytest.MonkeyPatch):
    """The name that counts from zero is the one that its runs have."""
    monkeypatch.setattr(task_names, "_declared", {})

    class Sealing:
        @afterword.task
        def __call__(self) -> None: ...

    assert task_names.declared() == [task_names.identify(Sealing())[0]]


def test_options_of_the_wrong_kind_are_ignored():
    """An attribute of our name that is not ours means nothing."""

    def mail() -> None: ...

    mail.__afterword_task__ = "mail"
    assert task_names.task_options(mail) == task_names.TaskOptions()


def test_names_are_bounded():
    """The 101st name is `other`; the first hundred keep theirs."""
    admitted = [bounds.TASK_NAMES.admit(f"task {i}") for i in range(150)]
    assert admitted[:100] == [f"task {i}" for i in range(100)]
    assert set(admitted[100:]) == {bounds.OTHER}
    assert bounds.TASK_NAMES.admit("task 7") == "task 7"


@pytest.mark.slow
def test_the_law_holds_with_10_000_names(stage: InProcessStage):
    """Names beyond the bound are counted as `other`, and nothing is missing from the account."""

    def unique(number: int):
        async def task() -> None: ...

        task.__qualname__ = f"task_{number}"
        return task

    app = stage.app_with(*map(unique, range(10_000)), traces=False, logs=False)
    assert ask(app).status == 200
    samples = [s for s in stage.accounts.prometheus.samples() if s[0] == "background_task_scheduled_total"]
    assert len(samples) == 101
    assert sum(value for _, _, value in samples) == 10_000
    assert stage.sample("background_task_scheduled_total", background_task_name="other") == 9_900
    stage.accounts.prometheus.assert_law()
    stage.accounts.meter.assert_law()
    assert {run.function.rpartition(".")[2] for run in stage.accounts.recorder.ended_runs} == {
        f"task_{number}" for number in range(10_000)
    }


def test_declared_names_are_bounded():
    """Decorating thousands of functions keeps a bounded number of names."""
    for number in range(1000):
        afterword.task(name=f"task {number}")(lambda: None)
    assert len(task_names.declared()) == 100


@pytest.mark.parametrize(
    ("value", "limit"), [("7", 7), (" 7 ", 7), ("0", 100), ("-3", 100), ("many", 100), ("", 100), (None, 100)]
)
def test_bounds_come_from_the_environment(monkeypatch, caplog, value, limit):
    """A bound can be set by an environment variable; nonsense means the default, and one warning."""
    monkeypatch.delenv("AFTERWORD_MAX_TASK_NAMES", raising=False)
    if value is not None:
        monkeypatch.setenv("AFTERWORD_MAX_TASK_NAMES", value)
    for _ in range(2):
        assert bounds.CardinalityLimit("AFTERWORD_MAX_TASK_NAMES", 100).limit == limit
    said = [record.getMessage() for record in caplog.records if record.name == "afterword"]
    complaint = f"afterword: AFTERWORD_MAX_TASK_NAMES: a number from 1 on is needed, not {value!r}; it is 100"
    assert said == ([complaint] if limit == 100 and value else [])


def test_there_are_metrics_to_check():
    """The checks below look at all the metrics there are."""
    assert len(METRICS) >= 17
    assert set(METRICS) >= COUNTERS
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def exported_names(metric: names.Metric, reader, registry: CollectorRegistry) -> tuple[str, set[str]]:
    """Let OpenTelemetry's own exporter translate a metric; return the sample's name and labels."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    create = meter.create_counter if metric in COUNTERS else meter.create_up_down_counter
    create(metric.name, metric.unit).add(1, dict.fromkeys(metric.attributes, "x"))
    families = [family for family in registry.collect() if family.name != "target"]
    provider.shutdown()
    [sample] = [sample for family in families for sample in family.samples]
    return sample.name, {label for label in sample.labels if not label.startswith("otel_scope_")}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_translated_as_opentelemetry_does(metric, otel_reader):
    """Each Prometheus name and label is what OpenTelemetry's exporter makes of the OpenTelemetry one."""
    registry = CollectorRegistry()
    name, labels = exported_names(metric, otel_reader(registry), registry)
    assert metric.prometheus + ("_total" if metric in COUNTERS else "") == name
    assert set(metric.labels) == labels


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rule(metric):
    """Dots become underscores, seconds are named, and nothing else is changed."""
    unit = "_seconds" if metric.unit == "s" else ""
    assert metric.prometheus == re.sub(r"[^a-zA-Z0-9_:]", "_", metric.name) + unit
    assert metric.labels == tuple(re.sub(r"[^a-zA-Z0-9_]", "_", a) for a in metric.attributes)
    assert metric.unit in {"", "s"} or re.fullmatch(r"\{[a-z]+\}", metric.unit)
    assert metric.help.endswith(".")


HISTOGRAMS = [metric for metric in METRICS if metric.bounds]


@pytest.mark.parametrize("metric", HISTOGRAMS, ids=lambda metric: metric.name)
def test_bounds_are_floats_in_order(metric):
    """Both SDKs want rising floats; from 5 milliseconds to what is infinite."""
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert all(type(bound) is float for bound in metric.bounds)
    assert (metric.bounds[0], metric.bounds[-1]) == (0.005, inf)


def _trace_background_tasks(task):
    """Build what Datadog's tracer puts around a task that is added."""

    def traced_background_tasks():
        async def traced_task(*args, **kwargs):
            await task(*args, **kwargs)

        return traced_task

    traced_task = traced_background_tasks()
    traced_task.__module__ = "ddtrace.contrib.internal.starlette.patch"
    return traced_task


def test_a_task_is_named_through_the_wrapper_of_datadog():
    """A wrapper that does not say what it wraps is looked through; the options of the function are found, too."""
    wrapped = _trace_background_tasks(_trace_background_tasks(Mailer().send))
    assert task_names.identify(wrapped) == (f"{HERE}.Mailer.send",) * 2

    @afterword.task(name="mail", run_on_request_error=True)
    async def mail() -> None: ...

    assert task_names.identify(_trace_background_tasks(mail))[0] == "mail"
    assert task_names.task_options(_trace_background_tasks(mail)).run_on_request_error
