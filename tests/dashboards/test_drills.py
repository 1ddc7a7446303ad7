"""`make drills`: it starts, and it knows every alert."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

from .drills import PLAYED, Played
from .live_situations import CULPRITS, QUIET
from .live_timing import EVIDENCE, Rule, of_files, of_rule
from .prometheus_rules import ALL_RULES, alerts


def test_the_command_starts_and_knows_every_alert():
    """It lists a drill for each alert, and where none may fire; it is what `make drills` runs."""
    recipe = re.search(r"^drills:.*\n\t.*-m (\S+)", Path(ROOT, "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    done = subprocess.run(
        [sys.executable, "-m", recipe[1], "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"Afterword\w+", done.stdout)) == set(alerts())
    assert all(what in done.stdout for what in (*PLAYED.values(), *QUIET.values()))


def test_every_culprit_is_of_a_drill():
    """No culprit is named for what is not played."""
    assert CULPRITS.keys() <= PLAYED.keys()


def test_every_alert_has_its_evidence():
    """It is known of every alert what a scrape shows of its incident, so that a clock can start."""
    assert EVIDENCE.keys() == alerts().keys()


RECORDS = {"a:failed:ratio5m": "sum(increase(a_total[5m])) / sum(b)", "b:p95_5m": "rate(b_bucket[5m]) >= 0"}


@pytest.mark.parametrize(
    ("expr", "lasting", "expected"),
    [
        ("sum(increase(a_total[5m])) > 0", "", Rule(0, 0, is_event=True)),
        ("sum(increase(a_total[5m])) > 2", "", Rule(0, 300, is_event=False)),
        ("a:failed:ratio5m > 0.05", "5m", Rule(300, 300, is_event=False)),
        ("avg_over_time(b:p95_5m[10m]) > 10 # seconds", "2m", Rule(120, 900, is_event=False)),
        ("min_over_time(a[5m]) > 0", "", Rule(0, 300, is_event=True)),
        ("a > 600 # seconds", "", Rule(0, 0, is_event=False)),
        ("b > 5 * quantile_over_time(0.5, b:p95_5m[1d] offset 15m)", "", Rule(0, 300, is_event=False)),
        ("a == 0 and on (job) last_over_time(info[1d])", "10000ms", Rule(10, 0, is_event=True)),
        ("increase(a_total[5m]) > 0 and (time() - start <= 300) # seconds", "", Rule(0, 0, is_event=True)),
    ],
)
def test_what_an_alert_may_take_is_read_from_its_rule(expr: str, lasting: str, expected: Rule):
    """Its `for` and its longest window, that of what it reads included; none where one event is enough."""
    assert of_rule({"expr": expr, "for": lasting}, RECORDS) == expected
    assert expected.allowed(15) == expected.lasting + expected.window + 30


def test_the_committed_rules_take_what_they_say():
    """One event is enough where something was lost; an average has to fill, and what it reads, too."""
    rules = of_files(ALL_RULES)
    assert rules["AfterwordTaskNeverRan"] == rules["AfterwordTaskLost"] == Rule(0, 0, is_event=True)
    assert rules["AfterwordTaskStuck"] == Rule(0, 0, is_event=False)
    assert rules["AfterwordTaskFailureRatioHigh"] == Rule(300, 300, is_event=False)
    assert rules["AfterwordTaskStoppedSucceeding"] == Rule(300, 3600, is_event=False)


SAID = {"description": "It happened."}


def test_a_drill_complains_of_what_did_not_go_well():
    """What did not fire, was late, names nobody, or fired where all is well is told."""
    (first, second, *others) = PLAYED
    played = Played(tasks=1)
    rules = dict.fromkeys(alerts(), Rule(10, 5, is_event=False))
    for key in (first, *others):
        played.watch.fired[key] = [{"labels": {"job": key[0], "task": CULPRITS.get(key)}, "annotations": SAID}]
        played.took[key] = 17.0
    assert list(played.complaints(rules)) == [
        f"{second[1]} did not fire in {second[0]}",
        f"{second[1]} does not name {CULPRITS[second]}:",
    ]
    played.watch.fired[second] = [{"labels": {"job": second[0]}, "annotations": SAID}]
    played.took[second] = 17.5
    played.watch.fired["healthy", "AfterwordTaskStuck"] = []
    played.fired_in_health = {"AfterwordTaskLost": "3 run(s)"}
    played.tasks = 0
    assert list(played.complaints(rules)) == [
        f"{second[1]} came too late in {second[0]}",
        f"{second[1]} does not name {CULPRITS[second]}: It happened.",
        "AfterwordTaskStuck fired in healthy",
        "AfterwordTaskLost fired in healthy minutes: 3 run(s)",
        "no task succeeded in the healthy minutes",
    ]
