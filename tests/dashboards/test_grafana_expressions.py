"""Every expression of the dashboards parses, and keeps the rules for good ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from dashboards.expressions import Expression, expressions, interpolate

from .grafana_node import node_environment, run

ALL = expressions()
PROMQL = [expression for expression in ALL if expression.language == "prometheus"]


def name(expression: Expression) -> str:
    """Name an expression in a test's id."""
    return f"{expression.dashboard}-{expression.panel}-{expression.ref_id}"


each = pytest.mark.parametrize("expression", PROMQL, ids=name)


def test_promql_parses(tmp_path):
    """``promtool`` takes every PromQL expression, with values for the variables."""
    assert shutil.which("promtool"), "promtool is missing: apt-get install prometheus"
    rules = [{"record": f"expression:{n}", "expr": interpolate(e.expr)} for n, e in enumerate(PROMQL)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PROMQL)} rules found" in done.stdout


_PARSE = """\
import { readFileSync } from "node:fs";
import { parser as loki } from "@grafana/lezer-logql";
import { parser as tempo } from "@grafana/lezer-traceql";
const parsers = { loki, tempo };
for (const [language, text] of JSON.parse(readFileSync(0, "utf8"))) {
  parsers[language].parse(text).iterate({
    enter(node) { if (node.type.isError) { console.log(`${node.from}: ${text}`); } },
  });
}
"""


def complaints(*queries: tuple[str, str]) -> str:
    """Return where Grafana's own grammars for LogQL and TraceQL find mistakes."""
    (node_environment() / "parse.mjs").write_text(_PARSE)
    return run(["node", "parse.mjs"], stdin=json.dumps(queries))


def test_logql_and_traceql_parse():
    """Grafana's grammars take every LogQL and TraceQL expression."""
    queries = [(e.language, interpolate(e.expr)) for e in ALL if e.language != "prometheus"]
    assert {language for language, _ in queries} == {"loki", "tempo"}
    assert not complaints(*queries)


@pytest.mark.parametrize("query", [("loki", '{a="b"} | jsn'), ("tempo", '{ span.a = && "x" }')])
def test_grammars_find_mistakes(query):
    """The check is a check: a mistake is found."""
    assert complaints(query)


@each
def test_windows_are_variables(expression):
    """Every window is the interval or the range that the dashboard shows."""
    assert not re.search(r"\[(?!\$__rate_interval\]|\$__range\]|\$__range:\$__rate_interval\])", expression.expr)


@each
def test_no_irate(expression):
    """Nothing looks at the last two samples only."""
    assert "irate" not in expression.expr


@each
def test_aggregates(expression):
    """Whatever is not a variable's own query aggregates, since a pipeline may add labels."""
    if not expression.panel.startswith("variable"):
        assert re.match(r"\(*(clamp_min\()?(sum|max|count|topk|histogram_quantile)\b", expression.expr), (
            expression.expr
        )


@each
def test_narrowed_by_the_variables(expression):
    """Every selector is narrowed by the job and the instance, and by the task and the engine where it has them."""
    for metric, matchers in re.findall(r"((?:background_task|afterword)_\w+)\{([^}]*)\}", expression.expr):
        if not expression.panel.startswith("variable"):
            assert 'job=~"$job", instance=~"$instance"' in matchers
            of_a_process = metric.startswith(("afterword", "background_task_queue")) or "resets" in expression.expr
            without_task = of_a_process or "oldest_age" in metric or "publish" in metric
            assert without_task or 'background_task_name=~"$task"' in matchers
            assert of_a_process or 'background_task_engine=~"$engine"' in matchers


@each
def test_no_division_by_zero(expression):
    """What is divided by has been compared with zero."""
    for divisor in expression.expr.split(" / ")[1:]:
        assert divisor.startswith("("), divisor
        assert "> 0)" in divisor, divisor


@each
def test_shows_what_it_selects(expression):
    """Every label that a legend names is one that the expression keeps."""
    kept = {label for group in re.findall(r"by \(([^)]*)\)", expression.expr) for label in group.split(", ")}
    assert set(re.findall(r"\{\{(\w+)\}\}", expression.legend)) <= kept
