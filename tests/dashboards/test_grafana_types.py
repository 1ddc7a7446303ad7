"""The dashboards are what Grafana 11.6's published schema says a dashboard is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashboards import expressions

from .grafana_node import node_environment, run
from .grafana_typescript import program

TSC = ["node_modules/.bin/tsc", "--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"]
MODULES = ["--module", "esnext", "--moduleResolution", "bundler"]


def check(*programs: tuple[str, dict[str, Any]]) -> None:
    """Run the compiler over dashboards as typed literals."""
    directory = node_environment()
    names = []
    for name, dashboard in programs:
        (directory / name).write_text(program(dashboard))
        names.append(name)
    run([*TSC, *MODULES, *names])


def test_dashboards_are_typed_literals():
    """``tsc --strict`` takes each dashboard, and each panel with the types of its own plugin."""
    check(*((f"{dashboard['uid']}.ts", dashboard) for dashboard in expressions.load()))


def with_an_unknown_option(dashboard: dict[str, Any]) -> str:
    """Add an option that no stat panel has."""
    dashboard["panels"][0]["options"]["colourMode"] = "background"
    return "colourMode"


def with_an_unknown_value(dashboard: dict[str, Any]) -> str:
    """Give an option a value that it does not take."""
    dashboard["panels"][0]["options"]["colorMode"] = "loud"
    return "loud"


def with_a_wrong_kind(dashboard: dict[str, Any]) -> str:
    """Give a query a text where a truth value belongs."""
    dashboard["panels"][0]["targets"][0]["instant"] = "yes"
    return "boolean"


@pytest.mark.parametrize("break_it", [with_an_unknown_option, with_an_unknown_value, with_a_wrong_kind])
def test_compiler_refuses_mistakes(break_it):
    """The check is a check: each mistake makes the compiler refuse the dashboard."""
    dashboard = json.loads(json.dumps(expressions.load()[0]))
    complaint = break_it(dashboard)
    with pytest.raises(AssertionError, match=complaint):
        check((f"{break_it.__name__}.ts", dashboard))
