"""What is scheduled no more: the alert that compares with yesterday, at restarts and gaps, too."""

from dashboards import names
from dashboards.names import SCHEDULED

from .prometheus_cases import AUDIT, INFO, Case, Moments, fired, of_task, quiet, series

_STEP = 5
_DAY = 24 * 60
_ALERT = "AfterwordTaskNotScheduled"


def _steps(minutes: int) -> int:
    return minutes // _STEP


def _case(name: str, told: dict[str, str], moments: Moments) -> Case:
    return Case(f"not scheduled, {name}", told, {_ALERT: moments}, step=_STEP)


_TO_END = _steps(200)
_RUN = _steps(_DAY + 45)
"""How many steps a process runs that is restarted 50 minutes after a day."""
_RESTART = {
    INFO: f"1x{_steps(_DAY) + _TO_END}",
    **{
        series(name): f"-60x{_RUN} {(_DAY + 50) * 60}x{_TO_END}"
        for name in (names.PROCESS_START, names.ACCOUNT_START)
    },
}
_SEEN, _AWAY = _steps(_DAY + 5), _steps(45)
_GAP = {INFO: f"1x{_SEEN} stale _x{_AWAY} 1x{_TO_END}"}
_GOES_ON = f"0+5x{_SEEN} stale _x{_AWAY} {5 * (_SEEN + _AWAY + 2)}+5x{_TO_END}"

CASES = (
    _case(
        "firing: a task a minute, and none for an hour; its neighbour goes on, another is rare",
        {
            INFO: f"1x{_steps(_DAY) + _TO_END}",
            of_task(SCHEDULED): f"0+5x{_steps(_DAY)} {_DAY}x{_TO_END}",
            of_task(SCHEDULED, AUDIT): f"0+5x{_steps(_DAY) + _TO_END}",
            of_task(SCHEDULED, "app.tasks.tidy"): f"0x20 1x{_steps(_DAY) + _TO_END}",
        },
        {_DAY + 50: [], _DAY + 70: [fired("60")]},
    ),
    _case(
        "firing: since a restart",
        {**_RESTART, of_task(SCHEDULED): f"0+5x{_RUN} stale"},
        {_DAY + 80: [], _DAY + 120: [fired("60")]},
    ),
    _case(
        "quiet: a restart, after which it is",
        {**_RESTART, of_task(SCHEDULED): f"0+5x{_RUN} _x4 0+5x{_TO_END}"},
        quiet(_DAY + 45, _DAY + 60, _DAY + 90, _DAY + 120),
    ),
    _case(
        "firing: after a gap, as soon as it was not scheduled for an hour in which it was looked at",
        {**_GAP, of_task(SCHEDULED): f"0+5x{_SEEN} stale _x{_AWAY} {5 * _SEEN}x{_TO_END}"},
        {_DAY + 60: [], _DAY + 70: [], _DAY + 130: [fired("60")]},
    ),
    _case(
        "quiet: a gap, and all goes on",
        {**_GAP, of_task(SCHEDULED): _GOES_ON},
        quiet(_DAY + 60, _DAY + 80, _DAY + 130),
    ),
)
