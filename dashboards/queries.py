"""Every expression of the dashboards, in one place.

All of them aggregate, since an OpenTelemetry pipeline may add labels of its own, and all of them read the
variables ``$job``, ``$instance`` and, where a metric knows its task, ``$task``: one process or a fleet, one task
or all.

*Never ran* is what was skipped, dropped or abandoned; *lost* is what a dead process held; both together are called
*undone* here.
"""

from __future__ import annotations

TASK = "background_task_name"
OUTCOME = "background_task_outcome"
STATE = "background_task_state"
ERROR = "error_type"
ROUTE = "http_route"
METHOD = "http_request_method"
STATUS = "http_response_status_code"
PROCESS = ("job", "instance")

SCHEDULED = "background_task_scheduled_total"
ENDED = "background_task_ended_total"
FAILURES = "background_task_failures_total"
LOST = "background_task_lost_total"
DURATION = "background_task_duration_seconds"
WAIT = "background_task_wait_seconds"
THREAD_WAIT = "background_task_thread_wait_seconds"
PENDING = "background_task_pending"
RUNNING = "background_task_running"
OLDEST = "background_task_oldest_age_seconds"
BUSY = "afterword_worker_thread_busy"
LIMIT = "afterword_worker_thread_limit"
WAITING = "afterword_worker_thread_waiting"
REQUEST_ERRORS = "afterword_request_errors_total"
OBSERVER_ERRORS = "afterword_observer_errors_total"
INFO = "afterword_info"

SUCCEEDED = f'{OUTCOME}="succeeded"'
FAILED = f'{OUTCOME}="failed"'
CANCELLED = f'{OUTCOME}="cancelled"'
NEVER_RAN = f'{OUTCOME}=~"skipped|dropped|abandoned"'
EVERY_OUTCOME = f'{OUTCOME}!=""'

_NO_TASK = (OLDEST, BUSY, LIMIT, WAITING, REQUEST_ERRORS, OBSERVER_ERRORS, INFO)


def select(metric: str, *matchers: str) -> str:
    """Return the selector of a metric's series, as the variables of the dashboard narrow it."""
    chosen = ['job=~"$job"', 'instance=~"$instance"']
    if metric not in _NO_TASK and metric.removesuffix("_bucket") not in _NO_TASK:
        chosen.append(f'{TASK}=~"$task"')
    return f"{metric}{{{', '.join([*chosen, *matchers])}}}"


def total(vector: str, *by: str, function: str = "sum") -> str:
    """Aggregate a vector."""
    return f"{function} by ({', '.join(by)}) ({vector})" if by else f"{function}({vector})"


def at_most(n: int, expression: str) -> str:
    """Return the largest few values above zero."""
    return f"topk({n}, {expression} > 0)"


# --- per second, over time --------------------------------------------------------------------------------------


def per_second(metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """Return the rate of a counter."""
    return total(f"rate({select(metric, *matchers)}[$__rate_interval])", *by)


def undone_per_second(*by: str) -> str:
    """Return the rate of tasks that never ran or were lost; the latter have the outcome ``lost``."""
    return total(_with_lost(NEVER_RAN, "rate({series}[$__rate_interval])"), *by)


def outcomes_per_second(*by: str) -> str:
    """Return the rate of ends, ``lost`` among them."""
    return total(_with_lost(EVERY_OUTCOME, "rate({series}[$__rate_interval])"), *by)


def share(part: str, whole: str) -> str:
    """Divide; where the whole is nothing there is no share, rather than a division by zero."""
    return f"{part} / ({whole} > 0)"


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
    """Return a quantile of a histogram."""
    buckets = f"rate({select(histogram + '_bucket')}[{over}])"
    return f"histogram_quantile({q}, {total(buckets, 'le', *by)})"


def heatmap(histogram: str) -> str:
    """Return how many observations fell into each bucket."""
    return total(f"increase({select(histogram + '_bucket')}[$__rate_interval])", "le")


# --- how many, in the time range that the dashboard shows -------------------------------------------------------

# A counter that is born with its first event starts at 1, which increase() takes for no increase at all. So a
# series that did not exist when the range began counts with its value.
_COUNT = "(({series} unless {series} offset $__range) or increase({series}[$__range]))"


def count(metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """Return how much a counter grew in the time range, its first event included."""
    return total(_COUNT.format(series=select(metric, *matchers)), *by)


def undone_count(*by: str) -> str:
    """Return how many tasks never ran or were lost in the time range."""
    return total(_with_lost(NEVER_RAN, _COUNT), *by)


def failed_share(*by: str) -> str:
    """Return which part of the tasks that ended in the time range had failed."""
    return share(count(ENDED, FAILED, by=by), count(ENDED, by=by))


def slowness(histogram: str, *by: str) -> str:
    """Return the p95 over the time range, for tasks that have one."""
    return f"{quantile(0.95, histogram, *by, over='$__range')} >= 0"


# --- now --------------------------------------------------------------------------------------------------------


def now(metric: str, *by: str, function: str = "sum") -> str:
    """Return what a gauge says."""
    return total(select(metric), *by, function=function)


def fullest_process() -> str:
    """Return how full the worker threads of the fullest process are."""
    return f"max({share(now(BUSY, *PROCESS), now(LIMIT, *PROCESS))})"


# --- annotations ------------------------------------------------------------------------------------------------


def happened(*matchers: str) -> str:
    """Return the tasks and outcomes that occurred."""
    return f"{total(f'increase({select(ENDED, *matchers)}[$__rate_interval])', TASK, OUTCOME)} > 0"


def undone_happened() -> str:
    """Return the tasks that never ran or were lost, with their outcomes, ``lost`` among them."""
    return f"{total(_with_lost(NEVER_RAN, 'increase({series}[$__rate_interval])'), TASK, OUTCOME)} > 0"


def process_started() -> str:
    """Return the processes that were not there a moment ago, or have begun to count anew."""
    born = f"{now(INFO, *PROCESS)} unless {total(select(INFO) + ' offset $__rate_interval', *PROCESS)}"
    anew = total(f'resets({SCHEDULED}{{job=~"$job", instance=~"$instance"}}[$__rate_interval])', *PROCESS)
    return f"({born}) or ({anew} > 0)"


# --- logs (LogQL) and traces (TraceQL) --------------------------------------------------------------------------

_STREAM = '{service_name=~"$job"}'
_UNHAPPY = "failed|cancelled|skipped|dropped|abandoned|lost"
_WHY = (
    '| json exc_value="exception[0].exc_value" '
    '| line_format "{{.event}}  {{.task}}  {{.reason}} {{.error_type}} {{.exc_value}} {{.detail}}"'
)

TASK_LINES = f'{_STREAM} |= "task" | json | task=~"$task"'
"""Every line of the task: its own, and Afterword's about it."""
UNHAPPY_LINES = (
    f'{_STREAM} |= "background_task." | json | event=~"background_task[.]({_UNHAPPY})" | task=~"$task" {_WHY}'
)
"""One readable line for each task that did not succeed: what happened, and what to do."""
UNDONE_LINES = (
    f'{_STREAM} |= "background_task." | json | event=~"background_task[.](skipped|dropped|abandoned|lost)" '
    f'| task=~"$task" {_WHY}'
)
REQUEST_LINES = (
    f'{_STREAM} |= "request.failed" | json | event="request.failed" | json exc_value="exception[0].exc_value" '
    '| line_format "{{.http_method}} {{.http_route}}  {{.http_status}}  {{.error_type}} {{.exc_value}}"'
)
UNHAPPY_SPANS = (
    '{ resource.service.name =~ "$job" && span.background_task.name =~ "$task" '
    '&& span.background_task.outcome =~ "failed|cancelled|skipped|dropped|abandoned" }'
)
SLOW_SPANS = (
    '{ resource.service.name =~ "$job" && span.background_task.name =~ "$task" } '
    "| select(span.background_task.outcome, span.background_task.wait)"
)

# --- variables --------------------------------------------------------------------------------------------------

JOBS = f"label_values({INFO}, job)"
INSTANCES = f'label_values({INFO}{{job=~"$job"}}, instance)'
TASKS = f'label_values({SCHEDULED}{{job=~"$job", instance=~"$instance"}}, {TASK})'


def _with_lost(outcomes: str, function: str) -> str:
    """Return the ended tasks and, as one more outcome, the lost ones."""
    ended, lost = (function.format(series=series) for series in (select(ENDED, outcomes), select(LOST)))
    return f'{ended} or label_replace({lost}, "{OUTCOME}", "lost", "", "")'
