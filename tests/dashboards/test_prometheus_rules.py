"""The committed rules as promtool sees them, and as a user of them does."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import _jsonnet
import pytest
import yaml

from dashboards import names
from dashboards.expressions import load as dashboards
from dashboards.prometheus.server import HERE, RULES, configuration

from . import (
    prometheus_cases_of_celery,
    prometheus_cases_of_ends,
    prometheus_cases_of_numbers,
    prometheus_cases_of_restarts,
    prometheus_cases_of_schedules,
    prometheus_cases_of_the_law,
    prometheus_cases_of_waits,
)
from .prometheus_cases import Case, documents
from .prometheus_rules import ALL_RULES, RUNBOOK, alerts, load, shorten

ALERTS = alerts()
CASES = (
    *prometheus_cases_of_ends.CASES,
    *prometheus_cases_of_waits.CASES,
    *prometheus_cases_of_numbers.CASES,
    *prometheus_cases_of_celery.CASES,
    *prometheus_cases_of_the_law.CASES,
    *prometheus_cases_of_restarts.CASES,
    *prometheus_cases_of_schedules.CASES,
)


def promtool(*arguments: object) -> str:
    """Run promtool and return what it says; any complaint is an error."""
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid():
    """Promtool has nothing against the rules, duplicates included."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *ALL_RULES)
    assert said.count("SUCCESS") == len(ALL_RULES)


def test_the_configuration_is_valid(tmp_path: Path):
    """Promtool has nothing against the configuration that `make prometheus` writes."""
    config = tmp_path / "prometheus.yml"
    config.write_text(configuration({"shop": ["127.0.0.1:8000"]}))
    assert f"{len(RULES)} rule files found" in promtool("check", "config", config)


@pytest.mark.timeout(900)
def test_the_unit_tests_of_the_rules_pass(tmp_path: Path):
    """Every alert fires and stays quiet when it should, and says what it should."""
    files = []
    for number, one in enumerate(documents(CASES)):
        files.append(tmp_path / f"tests-{number}.yml")
        files[-1].write_text(json.dumps(one))  # JSON is YAML
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files)


def _always(case: Case) -> bool:
    return True


def _restarts(case: Case) -> bool:
    """Tell whether a process has another start than before."""
    starts = (values for name, values in case.series.items() if name.startswith(names.PROCESS_START))
    return any(len(set(re.findall(r"-?\d+(?=x)", values))) > 1 for values in starts)


def _gap(case: Case) -> bool:
    """Tell whether a process was not scraped for a while."""
    told = (values for name, values in case.series.items() if name.startswith(names.INFO))
    return any(re.search(r"stale _x\d+ 1x", values) for values in told)


@pytest.mark.parametrize("happens", [_always, _restarts, _gap], ids=["", "a restart", "a gap"])
@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_firing_and_a_quiet_case(alert: str, happens: Callable[[Case], bool]):
    """The unit tests have a case where the alert fires and one where it never does; with a restart, with a gap."""
    looked = [case.expected[alert].values() for case in CASES if alert in case.expected and happens(case)]
    assert any(any(moments) for moments in looked)
    assert any(not any(moments) for moments in looked)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_to_do(alert: str):
    """Severity, summary, description, and an entry of the runbook: what to look at, what to change."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "dashboard_url", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == (RUNBOOK.name, alert.lower())
    entry = RUNBOOK.read_text().split(f"\n## {alert}\n")[1].split("\n## ")[0]
    assert "**Look at**" in entry  # how it leads to the cause is held by the test of the names
    assert "**Change**" in entry


def test_the_runbook_has_no_other_entries():
    """Every entry of the runbook is about an alert that exists."""
    assert re.findall(r"^## (.*)$", RUNBOOK.read_text(), re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_links_name_dashboards_and_variables_that_exist(alert: str):
    """The dashboard of the link exists, and so does each variable in it."""
    link = urlsplit(ALERTS[alert]["annotations"]["dashboard_url"])
    dashboard = {one["uid"]: one for one in dashboards()}[link.path.removeprefix("/d/")]
    variables = {f"var-{variable['name']}" for variable in dashboard["templating"]["list"]}
    assert parse_qs(link.query).keys() <= variables


def test_every_metric_that_the_rules_name_exists():
    """The rules read our own metrics and `up`, and nothing is misspelt."""
    ours = {
        metric.prometheus + suffix for metric in names.METRICS for suffix in ("", "_total", "_bucket", "_count")
    }
    recorded = {rule["record"] for path in ALL_RULES for rule in load(path) if "record" in rule}
    for path in ALL_RULES:
        for rule in load(path):
            named = set(
                re.findall(r"\b[a-z_:]*(?:background_task|afterword|process|job)_[a-z0-9_:]*", rule["expr"])
            )
            labels = {label for metric in names.METRICS for label in metric.labels}
            assert named - labels <= ours | recorded


def test_shortening_changes_durations_and_nothing_else():
    """Ranges, offsets, `for` and marked thresholds are divided; names and other numbers stay."""
    rule = "a:increase5m > 20 and x[5m] offset 1h > 600 # seconds\n  for: 10m\n"
    shortened = "a:increase5m > 20 and x[5000ms] offset 60000ms > 10.0 # seconds\n  for: 10000ms\n"
    assert shorten(rule, 60, 2) == shortened
    assert "> 2 # seconds" in shorten("x > 10 # seconds", 60, 2)


def test_the_mixin_imports_the_committed_files():
    """A user of mixins gets the same dashboards and rules, with the addresses filled in."""
    addresses = "grafanaUrl: 'https://grafana.example', runbookUrl: 'https://runbooks.example/afterword'"
    snippet = f"(import 'mixin.libsonnet') + {{ _config+:: {{ afterword+: {{ {addresses} }} }} }}"
    shown = (
        f"local mixin = {snippet}; "
        "[mixin.grafanaDashboards, mixin.prometheusRules.groups, mixin.prometheusAlerts.groups]"
    )
    given = json.loads(_jsonnet.evaluate_snippet(str(HERE.parent / "x"), shown))
    assert sorted(one["uid"] for one in given[0].values()) == sorted(one["uid"] for one in dashboards())
    for groups, path in zip(given[1:], RULES, strict=True):
        text = path.read_text().replace("http://localhost:3000", "https://grafana.example")
        text = text.replace("'RUNBOOK.md", "'https://runbooks.example/afterword")
        assert groups == yaml.safe_load(text)["groups"]


def test_what_is_off_by_default_is_no_rule_of_the_mixin_unless_switched_on():
    """The optional rules are in the mixin with their switch, and nowhere else."""
    groups = "[group.name for group in mixin.prometheusAlerts.groups]"
    for switch, names_ in (("false", ["afterword-alerts"]), ("true", ["afterword-alerts", "afterword-optional"])):
        config = f"{{ _config+:: {{ afterword+: {{ optionalRules: {switch} }} }} }}"
        shown = f"local mixin = (import 'mixin.libsonnet') + {config}; {groups}"
        assert json.loads(_jsonnet.evaluate_snippet(str(HERE.parent / "x"), shown)) == names_
