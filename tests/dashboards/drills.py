"""Plays every incident that an alert is for, on a real Prometheus: ``make drills``.

A minute of the rules is a second here. It prints which alert fired, after how many seconds, how many it may take,
and whether the alert itself names the culprit; ``live_timing`` says when the clock starts, and what an alert may
take. Beside it, and for longer, a shop where all is well is watched with the rules as they are.

Exits with 1 if an alert did not fire, came too late or does not name the culprit, or if one fired where all is
well.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

from . import live_timing
from .live_rules import INTERVAL, scaled_rules
from .live_situations import CULPRITS, MORE, PATIENCE, QUIET, SITUATIONS, Watch

PLAYED = SITUATIONS | MORE
"""What must fire: job and alert, with what happens there."""
MINUTES = 10.0
Rules = Mapping[str, live_timing.Rule]
_COLUMNS = "{:<76}  {:<36}  {:>9}  {:>9}  {}"


@dataclass
class Played:
    """What was seen."""

    watch: Watch = field(default_factory=Watch)
    took: dict[tuple[str, str], float | None] = field(default_factory=dict)
    tasks: int = 0
    gave_up: str = ""
    fired_in_health: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Print what there is all the same, if a step of an act takes too long: the machine is too busy."""
        try:
            yield
        except AssertionError as late:
            self.gave_up += f"{late} "

    def names_culprit(self, key: tuple[str, str]) -> bool:
        """Tell whether the alert names whose fault it is, in a label or in its text."""
        return key in self.watch.fired and CULPRITS.get(key, key[0]) in json.dumps(self.watch.fired[key])

    def fired_at(self, job: str) -> set[str]:
        """Return what fired in a job."""
        return {alert for other, alert in self.watch.fired if other == job}

    def complaints(self, rules: Rules) -> Iterator[str]:
        """Say what did not go well."""
        if self.gave_up:
            yield f"an act was given up, since the machine is too slow for it: {self.gave_up}"
        for job, alert in PLAYED:
            took = self.took.get((job, alert))
            if (job, alert) not in self.watch.fired:
                yield f"{alert} did not fire in {job}"
            elif took is None and not self.gave_up:  # else nobody knows any more when
                yield f"{alert} fired in {job}, but no scrape showed why"
            elif took is not None and took > rules[alert].allowed(INTERVAL) + live_timing.STEP:
                yield f"{alert} came too late in {job}"
            if not self.names_culprit((job, alert)):
                said = [fired["annotations"]["description"] for fired in self.watch.fired.get((job, alert), ())]
                yield " ".join([f"{alert} does not name {CULPRITS.get((job, alert), job)}:", *said])
        for job in QUIET:
            yield from (f"{alert} fired in {job}" for alert in sorted(self.fired_at(job)))
        yield from (f"{alert} fired in healthy minutes: {said}" for alert, said in self.fired_in_health.items())
        if not self.tasks:
            yield "no task succeeded in the healthy minutes"


def _rows(played: Played | None, rules: Rules, minutes: float) -> Iterator[tuple[str, ...]]:
    for key, what in PLAYED.items():
        allowed = f"{rules[key[1]].allowed(INTERVAL):.0f} s"
        if played is None:
            yield what, key[1], allowed, "", ""
            continue
        took = played.took.get(key)
        after = "never" if key not in played.watch.fired else "?" if took is None else f"{took:.1f} s"
        yield what, key[1], allowed, after, "yes" if played.names_culprit(key) else "no"
    for job, what in QUIET.items():
        yield what, ", ".join(sorted(played.fired_at(job)) if played else []) or "none", "", "", ""
    tasks = f", {played.tasks} tasks" if played else ""
    fired = ", ".join(sorted(played.fired_in_health)) if played else ""
    yield f"{minutes:g} minutes of healthy traffic, rules as they are{tasks}", fired or "none", "", "", ""


def _play(minutes: float, rules: Rules) -> Played:
    from .live_acts import MORE_ACTS  # it needs Redis and a mail server, which a list does not
    from .live_health import health

    played = Played()
    with tempfile.TemporaryDirectory() as directory, health(Path(directory, "health"), minutes) as well:
        for act in MORE_ACTS:
            with played.going_on():
                _play_act(act, Path(directory, act.__name__), played, rules)
        well.last(minutes)
        played.tasks, played.fired_in_health = well.tasks(), well.fired
    return played


def _play_act(act: Callable[[Any], None], directory: Path, played: Played, rules: Rules) -> None:
    from .live_scene import playing

    start = time.time()
    with playing(directory, act, played.watch.over) as scene:
        with suppress(AssertionError):
            wait_until(lambda: played.watch.has_seen(PLAYED, scene.targets), PATIENCE)
        for job, alert in PLAYED:
            if job in scene.targets:
                span = start, time.time()
                played.took[job, alert] = live_timing.taken(scene.prometheus, job, alert, rules[alert], *span)


def main(arguments: list[str]) -> int:
    """Play and print; with ``--list``, print what would be played."""
    parser = argparse.ArgumentParser(prog="drills", description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--healthy-minutes", type=float, default=MINUTES)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        rules = live_timing.of_files(scaled_rules(Path(directory)))
    played = None if given.list else _play(given.healthy_minutes, rules)
    print(_COLUMNS.format("incident", "alert", "may take", "took", "names the culprit"))
    for row in _rows(played, rules, given.healthy_minutes):
        print(_COLUMNS.format(*row).rstrip())
    complaints = list(played.complaints(rules)) if played is not None else []
    print(*complaints, sep="\n", end="\n" if complaints else "", file=sys.stderr)
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
