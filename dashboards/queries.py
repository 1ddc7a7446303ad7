"""Every expression of the dashboards, in one place.

All of them aggregate, since an OpenTelemetry pipeline may add labels of its own, and all of them read the
variables ``$job``, ``$instance`` and, where a metric knows them, ``$task`` and ``$engine``: one process or a
fleet, one task or all, BackgroundTasks, Celery's or both.

*Never ran* is what was skipped, dropped or abandoned; *lost* is what a dead process held; both together are called
*undone* here.
"""

from __future__ import annotations

from . import names
from .names import (
    ENDED,
    ENGINE,
    INFO,
    LOST,
    OUTCOME,
    OUTCOME_LOST,
    PROCESS,
    SCHEDULED,
    TASK,
    Outcome,
)
from .promql import differs, equals, one_of, series, share, total

SUCCEEDED = equals(OUTCOME, Outcome.SUCCEEDED)
FAILED = equals(OUTCOME, Outcome.FAILED)
CANCELLED = equals(OUTCOME, Outcome.CANCELLED)
_NEVER_RAN = one_of(OUTCOME, *names.NEVER_RAN)
_EVERY_OUTCOME = differs(OUTCOME, "")
_FLEET = ('job=~"$job"', 'instance=~"$instance"')
_ENGINE = f'{ENGINE}=~"$engine"'


def select(metric: str, *matchers: str) -> str:
    """Return the selector of a metric's series, as the variables of the dashboard narrow it."""
    family = metric.removesuffix("_total").removesuffix("_bucket")
    task = [] if family in names.WITHOUT_TASK else [f'{TASK}=~"$task"']
    engine = [] if family in names.WITHOUT_ENGINE else [_ENGINE]
    return series(metric, *_FLEET, *task, *engine, *matchers)


# --- per second, over time --------------------------------------------------------------------------------------


def per_second(metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """Return the rate of a counter."""
    return total(f"rate({select(metric, *matchers)}[$__rate_interval])", *by)


def undone_per_second(*by: str) -> str:
    """Return the rate of tasks that never ran or were lost; the latter have the outcome ``lost``."""
    return total(_with_lost(_NEVER_RAN, "rate({series}[$__rate_interval])"), *by)


def unhappy_per_second(*by: str) -> str:
    """Return the rate of tasks that failed, never ran or were lost."""
    unhappy = one_of(OUTCOME, Outcome.FAILED, *names.NEVER_RAN)
    return total(_with_lost(unhappy, "rate({series}[$__rate_interval])"), *by)


def outcomes_per_second(*by: str) -> str:
    """Return the rate of ends, ``lost`` among them."""
    return total(_with_lost(_EVERY_OUTCOME, "rate({series}[$__rate_interval])"), *by)


def failure_ratio(*by: str) -> str:
    """Return which part of the tasks that ended had failed."""
    return share(per_second(ENDED, FAILED, by=by), per_second(ENDED, by=by))


def cancelled_ratio(*by: str) -> str:
    """Return which part of the tasks that ended was cancelled."""
    return share(per_second(ENDED, CANCELLED, by=by), per_second(ENDED, by=by))


def undone_ratio(*by: str) -> str:
    """Return which part of the tasks that ended, or were lost, never ran or were lost."""
    return share(undone_per_second(*by), outcomes_per_second(*by))


def quantile(q: float, histogram: str, *by: str, over: str = "$__rate_interval") -> str:
    """Return a quantile of a histogram, where anything was observed.

    In the first bucket, Prometheus would reckon as if all values from 0 on were equally frequent.
    """
    buckets = f"rate({select(histogram + '_bucket')}[{over}])"
    found = f"histogram_quantile({q}, {total(buckets, 'le', *by)})"
    return f"clamp_min({found}, {names.FIRST_BOUND}) >= 0"


def heatmap(histogram: str) -> str:
    """Return how many observations fell into each bucket."""
    return total(f"increase({select(histogram + '_bucket')}[$__rate_interval])", "le")


# --- how many, in the time range that the dashboard shows -------------------------------------------------------

# A counter that is born with its first event starts at 1, which increase() takes for no increase at all. So a
# series that did not exist when the range began counts with its value; one that has also begun anew since does
# not, as its value is that of the last process alone.
_COUNT = (
    "(({series} unless {series} offset $__range unless resets({series}[$__range]) > 0)"
    " or increase({series}[$__range]))"
)


def count(metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """Return how much a counter grew in the time range, its first event included."""
    return total(_COUNT.format(series=select(metric, *matchers)), *by)


def undone_count(*by: str) -> str:
    """Return how many tasks never ran or were lost in the time range."""
    return total(_with_lost(_NEVER_RAN, _COUNT), *by)


def failed_share(*by: str) -> str:
    """Return which part of the tasks that ended in the time range had failed."""
    return share(count(ENDED, FAILED, by=by), count(ENDED, by=by))


def slowness(histogram: str, *by: str) -> str:
    """Return the p95 over the time range."""
    return quantile(0.95, histogram, *by, over="$__range")


# --- now --------------------------------------------------------------------------------------------------------


def now(metric: str, *by: str, function: str = "sum") -> str:
    """Return what a gauge says."""
    return total(select(metric), *by, function=function)


def in_queue(metric: str) -> str:
    """Return what a gauge says of each queue; several processes may look into the same one."""
    return now(metric, *names.QUEUE, function="max")


def fullest_process() -> str:
    """Return how full the worker threads of the fullest process are."""
    busy, limit = now(names.THREADS_BUSY, *PROCESS), now(names.THREADS_LIMIT, *PROCESS)
    return f"max({share(busy, limit)})"


def last_scheduled(*by: str) -> str:
    """Return when tasks were last scheduled, in milliseconds since the epoch: what grew, and firsts of a name."""
    scheduled, info = select(names.SCHEDULED), select(INFO)
    grew = f"rate({scheduled}[$__rate_interval]) > 0"
    born = f"({scheduled} unless {scheduled} offset $__rate_interval)"
    there = f"and on ({', '.join(PROCESS)}) ({info} offset $__rate_interval)"
    seen = f"timestamp(({grew}) or ({born} {there}))"
    return total(f"1000 * max_over_time({seen}[$__range:$__rate_interval])", *by, function="max")


# --- annotations ------------------------------------------------------------------------------------------------


def happened(*matchers: str) -> str:
    """Return the tasks and outcomes that occurred."""
    return f"{total(f'increase({select(ENDED, *matchers)}[$__rate_interval])', TASK, OUTCOME)} > 0"


def undone_happened() -> str:
    """Return the tasks that never ran or were lost, with their outcomes, ``lost`` among them."""
    return f"{total(_with_lost(_NEVER_RAN, 'increase({series}[$__rate_interval])'), TASK, OUTCOME)} > 0"


def process_started() -> str:
    """Return the processes that have begun, by the start that they tell: a gap in the scrapes is none.

    Those with another start than a moment ago, those that are back with a later one, and new ones that are young
    by their own clock.
    """
    start, offset = select(names.PROCESS_START), "offset $__rate_interval"
    another = total(f"changes({start}[$__rate_interval])", *PROCESS, function="max")
    told, told_then = total(start, *PROCESS, function="max"), total(f"{start} {offset}", *PROCESS, function="max")
    last = total(f"last_over_time({start}[$__range] {offset})", *PROCESS, function="max")
    later = f"({told} > {last}) unless {told_then}"
    young = f"(time() - {told} < 300) unless {last}"
    return f"({another} > 0) or ({later}) or ({young})"


# --- logs (LogQL) and traces (TraceQL) --------------------------------------------------------------------------

_STREAM = '{service_name=~"$job"}'
_OF_TASK = f'{names.KEY_TASK}=~"$task"'


def _line(*groups: tuple[str, ...]) -> str:
    """Return the stages that make one readable line of the keys; an exception's text is dug out."""
    text = "  ".join(" ".join(f"{{{{.{key}}}}}" for key in group) for group in groups)
    return f'| json exc_value="exception[0].exc_value" | line_format "{text}"'


def _ends(*outcomes: str) -> str:
    """Return one readable line for each task that came to such an end: what happened, and what to do."""
    family, any_of = names.EVENT_FAMILY, "|".join(outcomes)
    why = (names.KEY_ERROR_TYPE, "exc_value", names.KEY_DETAIL)
    chosen = f'{_STREAM} |= "{family}." | json | event=~"{family}[.]({any_of})" | {_OF_TASK}'
    return f"{chosen} {_line(('event',), (names.KEY_TASK,), why)}"


_REQUEST_FAILED = names.EVENT_REQUEST_FAILED
_REQUEST = (names.KEY_METHOD, names.KEY_ROUTE)

TASK_LINES = f'{_STREAM} |= "{names.KEY_TASK}" | json | {_OF_TASK}'
"""Every line of the task: its own, and Afterword's about it."""
UNHAPPY_LINES = _ends(*names.UNHAPPY)
UNDONE_LINES = _ends(*names.UNDONE)
REQUEST_LINES = (
    f'{_STREAM} |= "{_REQUEST_FAILED}" | json | event="{_REQUEST_FAILED}" '
    f"{_line(_REQUEST, (names.KEY_STATUS,), (names.KEY_ERROR_TYPE, 'exc_value'))}"
)

_SPANS = f'resource.service.name =~ "$job" && {names.SPAN_TASK} =~ "$task"'

UNHAPPY_SPANS = f'{{ {_SPANS} && {names.SPAN_OUTCOME} =~ "{"|".join(names.NOT_SUCCEEDED)}" }}'
SLOW_SPANS = f"{{ {_SPANS} }} | select({names.SPAN_OUTCOME}, {names.SPAN_WAIT})"

# --- variables --------------------------------------------------------------------------------------------------

JOBS = f"label_values({INFO}, job)"
INSTANCES = f"label_values({series(INFO, _FLEET[0])}, instance)"
ENGINES = f"label_values({series(SCHEDULED, *_FLEET)}, {ENGINE})"
TASKS = f"label_values({series(SCHEDULED, *_FLEET, _ENGINE)}, {TASK})"


def _with_lost(outcomes: str, function: str) -> str:
    """Return the ended tasks and, as one more outcome, the lost ones."""
    ended, lost = (function.format(series=each) for each in (select(ENDED, outcomes), select(LOST)))
    return f'{ended} or label_replace({lost}, "{OUTCOME}", "{OUTCOME_LOST}", "", "")'
