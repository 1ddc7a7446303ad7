"""By when an alert must have fired, and when it has: from the first scrape that could see its incident.

The clock starts at the scrape that first shows what the alert is about, in the numbers that are scraped, without
any window: the first run that never ran, twenty that wait. For what is true at one moment and not at the next (how
many wait), it is the scrape from which on it was true without a break. Then an alert may take

- its ``for``,
- the longest window of its expression, recorded series included, unless one event is enough for it
  (``increase(...) > 0``): an average over five minutes passes no threshold before some of them have passed. What
  only remembers (``last_over_time``) or looks at another time (``offset``) does not have to fill;
- two scrapes: one evaluation records what the scrape has brought, the next one reads that.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dashboards import counting, names, promql, recording
from dashboards.names import ENGINE, OUTCOME, REASON, STATUS, TASK, Outcome, Reason, semconv
from dashboards.prometheus.server import Prometheus

from .prometheus_rules import load

SCRAPES = 2
"""How many scrapes an alert may take, besides its ``for`` and its window."""
STEP = 0.2
"""Seconds between two looks at what was scraped: nothing is measured more exactly."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+)(ms|[smhd])")
_RANGE = re.compile(r"(\w+)\((?:[\d.]+, )?([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\[(\w+)\]( offset)?")
_AGE = re.compile(r"time\(\) - .*? <= [\d.]+")
_COMPARED = re.compile(r"(?:[<>]=?|[!=]=)\s*(?:bool )?(\d[\d.]*)")
_COUNTS_EVENTS = {"increase", "resets"}
_REMEMBERS = {"last_over_time"}


class Rule(NamedTuple):
    """What an alert takes by design, in seconds."""

    lasting: float
    window: float
    is_event: bool
    """Whether one event is enough, whenever it was."""

    def allowed(self, interval: float) -> float:
        """Return by when it must fire, if there is a scrape every so many seconds."""
        return self.lasting + self.window + SCRAPES * interval


def seconds(duration: str) -> float:
    """Return a duration of Prometheus' in seconds."""
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))


def of_files(paths: Iterable[Path]) -> dict[str, Rule]:
    """Return what each alert in these files takes."""
    rules = [rule for path in paths for rule in load(path)]
    records: dict[str, str] = {}
    for rule in rules:
        if "record" in rule:
            records[rule["record"]] = records.get(rule["record"], "") + rule["expr"]
    return {rule["alert"]: of_rule(rule, records) for rule in rules if "alert" in rule}


def of_rule(rule: Mapping[str, Any], records: Mapping[str, str]) -> Rule:
    """Return what an alert takes; ``records`` are the expressions of the recorded series."""
    numbers = _COMPARED.findall(_AGE.sub("", _inlined(rule["expr"], records)))
    is_event = bool(numbers) and not any(map(float, numbers))
    return Rule(seconds(rule.get("for", "")), _window(rule["expr"], records, is_event=is_event), is_event)


def _inlined(expr: str, records: Mapping[str, str]) -> str:
    read = [records[name] for name in records if name in expr and counting.FIRST_COUNTS not in name]
    return "\n".join([re.sub(r"#.*", "", expr), *(_inlined(one, records) for one in read)])


def _window(expr: str, records: Mapping[str, str], *, is_event: bool) -> float:
    """Return the longest time that an expression looks back over, through the series that it reads."""
    found = 0.0
    for function, series, time, offset in _RANGE.findall(expr):
        if not offset and function not in _REMEMBERS and not (is_event and function in _COUNTS_EVENTS):
            beneath = _window(records[series], records, is_event=is_event) if series in records else 0.0
            found = max(found, seconds(time) + beneath)
    read = [records[name] for name in records if name in expr and counting.FIRST_COUNTS not in name]
    return max(found, *(_window(one, records, is_event=is_event) for one in read), 0.0)


# --- what a scrape shows of each incident ------------------------------------------------------------------------


def _more_than(metric: str, seconds: float, bounds: Iterable[float] = semconv.BOUNDS) -> str:
    """Return how often something took longer than so many seconds, or than the bucket's bound before that."""
    bound = max(one for one in bounds if one <= seconds)
    below = _here(f"{metric}_bucket", promql.one_of("le", f"{bound:g}", str(bound)))
    return f"{_here(metric + '_count')} - ignoring (le) {below}"


def _here(metric: str, *matchers: str) -> str:
    return promql.series(metric, "job='$job'", *matchers)


_CELERY = promql.equals(ENGINE, names.CELERY)
_FORGOTTEN = promql.matches(TASK, ".*send_reminder")
_FAILED = _here(names.ENDED, promql.equals(OUTCOME, Outcome.FAILED))
_FAILING = f"sum(increase({_FAILED}[5s])) > 0.05 * sum(increase({_here(names.ENDED)}[5s]))"
EVIDENCE = {
    "AfterwordTaskNeverRan": f"{_here(names.NEVER_RAN_WHY, promql.no_match(STATUS, '4..'))} > 0",
    "AfterwordTaskDroppedByClientError": f"{_here(names.NEVER_RAN_WHY, promql.matches(STATUS, '4..'))} > 0",
    "AfterwordTaskLost": f"{_here(names.LOST)} > 0",
    "AfterwordTaskFailureRatioHigh": _FAILING,
    "AfterwordTaskStoppedSucceeding": _FAILING,
    "AfterwordTaskCancelled": f"{_here(names.ENDED, promql.equals(OUTCOME, Outcome.CANCELLED))} > 0",
    "AfterwordTaskWaitHigh": f"{_more_than(names.WAIT, 10)} > 0",
    "AfterwordTaskSlowerThanUsual": f"{_more_than(names.DURATION, 10)} > 0",
    "AfterwordBacklogGrowing": f"sum by ({TASK}) ({_here(names.PENDING)}) > 20",
    "AfterwordWorkerThreadsExhausted": f"{_here(names.THREADS_WAITING)} >= 1",
    "AfterwordEventLoopBlocked": f"{_more_than(names.LOOP_LAG, 1, semconv.COARSE_BOUNDS)} > 2",
    "AfterwordTaskStuck": f"{_here(names.RUNNING_AGE)} > 10",
    "AfterwordAccountOutOfBalance": f"{_here(recording.DIFFERENCE)} != 0",
    "AfterwordTooManyTaskNames": f"{_here(names.SCHEDULED, promql.equals(TASK, names.OTHER))} > 0",
    "AfterwordMetricsMissing": f"{_here('up')} == 1 unless on (instance) {_here(names.INFO)}",
    "AfterwordNoAnswer": f"{_here('up')} == 0",
    "AfterwordObserverErrors": f"{_here(names.OBSERVER_ERRORS)} > 0",
    "AfterwordTaskNotScheduled": f"increase({_here(names.SCHEDULED, _FORGOTTEN)}[2s]) == 0",
    "AfterwordQueueNotConsumed": f"{_here(names.QUEUE_MESSAGES)} > 0",
    "AfterwordQueueGrowing": f"{_here(names.QUEUE_MESSAGES)} > 20",
    "AfterwordTaskRanTwice": f"{_here(names.RETURNED, promql.equals(REASON, Reason.TAKEN_AWAY))} > 0",
    "AfterwordTaskUnregistered": f"{_here(names.ENDED, promql.equals(OUTCOME, Outcome.ABANDONED), _CELERY)} > 0",
    "AfterwordWorkerLost": (
        f"{_here(names.FAILURES, promql.one_of(names.ERROR, *names.WORKER_LOST_ERRORS))} > 0"
        f" or {_here(names.RETURNED, promql.equals(REASON, Reason.WORKER_LOST))} > 0"
    ),
    "AfterwordQueuedTaskLost": f"{_here(names.LOST, _CELERY)} > 0",
}
"""By alert, what there is in the scrapes of its job once its incident has happened."""


def taken(prometheus: Prometheus, job: str, alert: str, rule: Rule, start: float, end: float) -> float | None:
    """Return after how many seconds an alert fired; none, if it did not, or no scrape saw why it should."""
    chosen = promql.series(
        "ALERTS", promql.equals("job", job), promql.equals("alertname", alert), "alertstate='firing'"
    )
    fired = next(iter(_moments(prometheus, chosen, start, end)), None)
    if fired is None:
        return None
    seen = [at for at in _moments(prometheus, EVIDENCE[alert].replace("$job", job), start, end) if at <= fired]
    if not seen:
        return None
    return fired - (seen[0] if rule.is_event else _since(seen))


def _since(moments: list[float]) -> float:
    """Return since when something has been true without a break, until the last of the moments."""
    began = moments[-1]
    for moment in reversed(moments):
        if began - moment > 2 * STEP:
            break
        began = moment
    return began


def _moments(prometheus: Prometheus, expression: str, start: float, end: float) -> list[float]:
    """Return when an expression had an answer."""
    found = prometheus.api("query_range", query=expression, start=start, end=end, step=STEP)["result"]
    return sorted({float(at) for series in found for at, _ in series["values"]})
