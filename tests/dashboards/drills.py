"""Plays every incident that an alert is for, on a real Prometheus: ``make drills``.

A minute of the rules is a second here. It prints which alert fired, after how many seconds, and whether the alert
itself names the culprit. Exits with 1 if an alert did not fire, or one fired where all is well.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until

from .live_situations import CULPRITS, MORE, PATIENCE, QUIET, SITUATIONS, Watch

PLAYED = SITUATIONS | MORE
"""What must fire: job and alert, with what happens there."""
_COLUMNS = "{:<76}  {:<36}  {:>9}  {}"


def _rows(watch: Watch | None) -> Iterator[tuple[str, str, str, str]]:
    for key, what in PLAYED.items():
        job, alert = key
        fired = watch.fired.get(key) if watch is not None else None
        if watch is None:
            yield what, alert, "", ""
        elif fired is None:
            yield what, alert, "never", "no"
        else:
            named = CULPRITS.get(key, job) in json.dumps(fired)
            yield what, alert, f"{watch.seconds[key]} s", "yes" if named else "no"
    for job, what in QUIET.items():
        fired_here = sorted({alert for other, alert in watch.fired if other == job}) if watch is not None else []
        yield what, ", ".join(fired_here) or "none", "", ""


def _went_well(watch: Watch) -> bool:
    return watch.fired.keys() >= PLAYED.keys() and not {job for job, _ in watch.fired} & QUIET.keys()


def _play() -> Watch:
    from .live_stage import stage  # it needs Redis and a mail server, which a list does not

    watch = Watch()
    with (
        tempfile.TemporaryDirectory() as directory,
        stage(Path(directory), watch.over, more=True),
        suppress(AssertionError),
    ):
        wait_until(lambda: watch.fired.keys() >= PLAYED.keys(), PATIENCE)
    return watch


def main(arguments: list[str]) -> int:
    """Play and print; with ``--list``, print what would be played."""
    watch = None if "--list" in arguments else _play()
    print(_COLUMNS.format("incident", "alert", "after", "names the culprit"))
    for row in _rows(watch):
        print(_COLUMNS.format(*row).rstrip())
    return 0 if watch is None or _went_well(watch) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
