"""The report of a failing test: what happened to each unexpected run, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from .._common import semconv
from .._common.model import TaskRun
from ._lookup import label
from ._recorder import Recorder, is_running, is_with_broker

STATES = (semconv.STATE_PENDING, semconv.STATE_RUNNING)
_MAX_TOLD = 20


def state(run: TaskRun) -> str:
    """Return the outcome of a run, or its state if it has not ended."""
    return str(run.outcome or STATES[is_running(run)])


def tally(runs: Sequence[TaskRun]) -> str:
    """Return the account of some runs in one line: ``3 scheduled, 2 succeeded, 1 dropped``."""
    return ", ".join([f"{len(runs)} scheduled", *_states(runs)])


def tasks(count: int) -> str:
    """Return a number of tasks with its noun."""
    return "1 background task" if count == 1 else f"{count} background tasks"


def tell(recorder: Recorder, runs: Sequence[TaskRun], is_told: Callable[[TaskRun], bool]) -> list[str]:
    """Return lines about the selected runs one by one, a summary of the others, and the failed requests."""
    told = Counter("\n".join(_run(recorder, run)) for run in runs if is_told(run))
    lines = [_times(text, times) for text, times in list(told.items())[:_MAX_TOLD]]
    if len(told) > _MAX_TOLD:
        lines.append(f"... and {len(told) - _MAX_TOLD} more stories")
    others = [run for run in runs if not is_told(run)]
    for name in dict.fromkeys(map(label, others)):
        states = _states([run for run in others if label(run) == name])
        lines.append(f"{name}: {', '.join(states)}")
    failed = Counter(f"failed request: {error}" for error in recorder.request_errors)
    lines += [_times(text, times) for text, times in list(failed.items())[:_MAX_TOLD]]
    return "\n".join(lines).splitlines()


def _states(runs: Sequence[TaskRun]) -> list[str]:
    return [f"{times} {kind}" for kind, times in Counter(map(state, runs)).items()]


def _times(text: str, times: int) -> str:
    return text if times == 1 else f"{times} x {text}"


def _run(recorder: Recorder, run: TaskRun) -> list[str]:
    request = f", in {run.request}" if run.request is not None else ""
    lines = [f"{label(run)}: {state(run)}{request}"]
    if run.outcome is None:
        lines.append(_unended(run))
    else:
        lines.append(f"    {run.detail}")
    lines += [f"    {line}" for line in recorder.errors.get(run, ())]
    return lines


def _unended(run: TaskRun) -> str:
    if is_with_broker(run):
        return "    it was published, and no worker in this process has received it"
    return "    it is still running" if run.started else _PENDING


_PENDING = "    nothing has called it, and somebody still holds it: its request goes on, or it lies in a queue"
