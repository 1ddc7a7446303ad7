"""The lines of a shutdown: what it waits for, and what it has cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Final

from ..._common import semconv
from ..._common.model import LOST, STATE_PENDING, STATE_RUNNING, Outcome, TaskRun
from ..tellers import Happening, Teller, tell

Usual = Callable[[str], float | None]
"""Returns what nearly all runs (95 %) of a task took at most, in seconds; ``None`` if that is not known."""

_MOST: Final = 10
"""Entries of a line at most."""
_CUT_OFF: Final = (Outcome.CANCELLED, Outcome.SKIPPED, Outcome.DROPPED, Outcome.ABANDONED)
_WAITING: Final = (
    "this process was told to end, and waits for these; what takes longer than the server's grace period is "
    "cancelled, what would come after it is skipped, and what is left when the process ends is lost"
)
_ADVICE: Final = "give the server a longer grace period, or put what takes so long into a queue"


class ShutdownLines:
    """Tells once when a shutdown begins, and once when it is over."""

    def __init__(self, usual: Usual, tellers: Sequence[Teller]) -> None:
        self._usual = usual
        self._tellers = tellers

    def waiting(self, runs: Sequence[TaskRun]) -> None:
        """Tell what runs and waits, for how long, and how long it usually takes: what is oldest first."""
        groups: dict[tuple[str, str], list[float]] = {}
        now = perf_counter()
        for run in runs:
            state, since = (
                (STATE_RUNNING, run._started_tick) if run.started else (STATE_PENDING, run._scheduled_tick)
            )
            groups.setdefault((state, run.name), []).append(now - since)
        oldest = {group: max(ages) for group, ages in groups.items()}
        entries = [
            self._entry(*group, len(groups[group]), oldest[group])
            for group in sorted(groups, key=lambda group: -oldest[group])
        ]
        keys = {
            semconv.KEY_COUNT: len(runs),
            semconv.KEY_AGE: round(max(oldest.values(), default=0.0), 3),
            semconv.KEY_TASK_COUNTS: bounded(entries),
            semconv.KEY_DETAIL: _WAITING,
        }
        tell(self._tellers, Happening("info", semconv.EVENT_WAITING, keys))

    def _entry(self, state: str, name: str, count: int, age: float) -> str:
        told = f"{name}: {count} {state} for up to {age:.3f} s"
        usual = self._usual(name)
        return told if usual is None else f"{told}, usually takes up to {usual:.3g} s"

    def ended(self, seconds: float, ends: Mapping[tuple[Outcome, str], int], left: Sequence[TaskRun]) -> None:
        """Tell what did not come to its end: by outcome and task, what is most first."""
        cut_off: Counter[tuple[str, str]] = Counter(
            {(str(outcome), name): count for (outcome, name), count in ends.items() if outcome in _CUT_OFF}
        )
        done = sum(count for (outcome, _), count in ends.items() if outcome not in _CUT_OFF)
        cut_off.update((LOST, run.name) for run in left)
        detail = f"{done} came to their end meanwhile, and nothing was cut off"
        if cut_off:
            detail = f"{done} came to their end meanwhile; {_ADVICE}"
        keys = {
            semconv.KEY_DURATION: round(seconds, 3),
            semconv.KEY_COUNT: cut_off.total(),
            semconv.KEY_TASK_COUNTS: bounded([f"{name}: {n} {what}" for (what, name), n in cut_off.most_common()]),
            semconv.KEY_DETAIL: detail,
        }
        tell(self._tellers, Happening("warning" if cut_off else "info", semconv.EVENT_SHUT_DOWN, keys))


def bounded(entries: list[str]) -> list[str]:
    """Return the first entries, and how many more there are."""
    more = len(entries) - _MOST
    return entries if more <= 0 else [*entries[:_MOST], f"and {more} more"]
