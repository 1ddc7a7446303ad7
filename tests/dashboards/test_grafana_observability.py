"""The example installation fits together, as far as that can be seen without running it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from dashboards import expressions, names

HERE = Path(__file__).parents[2] / "examples" / "observability"


def load(name: str) -> Any:
    """Read one of the files."""
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


SERVICES = load("compose.yaml")["services"]
SOURCES = {source["uid"]: source for source in load("grafana/datasources/afterword.yaml")["datasources"]}


def mounts(service: str) -> dict[str, str]:
    """Return what is mounted into a service: the path inside, and the file outside or the volume."""
    found = (volume.split(":")[:2] for volume in SERVICES[service].get("volumes", ()))
    return {inside: outside for outside, inside in found}


def test_prometheus_configuration():
    """``promtool`` takes the Prometheus configuration."""
    assert shutil.which("promtool"), "promtool is missing: apt-get install prometheus"
    command = ["promtool", "check", "config", str(HERE / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_paths_exist():
    """Whatever compose mounts or builds from is there."""
    volumes = load("compose.yaml")["volumes"]
    for name, service in SERVICES.items():
        for outside in mounts(name).values():
            assert outside in volumes or (HERE / outside).exists(), (name, outside)
        if "build" in service:
            context = (HERE / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
            copied = re.findall(r"^COPY (.+) \S+$", (HERE / "Dockerfile").read_text(), re.MULTILINE)
            assert all((context / path).exists() for line in copied for path in line.split())


def test_configuration_files_are_where_commands_look():
    """Every configuration file that a command names is mounted there."""
    for name, service in SERVICES.items():
        command = service.get("command", "")
        text = " ".join(command) if isinstance(command, list) else command
        for path in re.findall(r"/etc/\S+", text):
            assert path in mounts(name), (name, path)


def test_hosts_are_services():
    """Every address inside the configuration is that of a service."""
    text = "".join(path.read_text() for path in HERE.rglob("*.*") if path.suffix in (".yml", ".yaml", ".alloy"))
    hosts = set(re.findall(r"http://([a-z]+):", text)) - {"localhost"}
    assert hosts <= SERVICES.keys()
    (scrape,) = load("prometheus.yml")["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["shop:8000", "shop:9464"]}]
    assert SERVICES["worker"]["network_mode"] == "service:shop"
    assert SERVICES["worker"]["environment"]["AFTERWORD_WORKER_METRICS_PORT"] == "9464"


def test_one_name_for_all_signals():
    """Metrics, traces and logs of the shop carry the same name, by which the dashboards find them."""
    (scrape,) = load("prometheus.yml")["scrape_configs"]
    name = scrape["job_name"]
    assert SERVICES["shop"]["environment"]["OTEL_SERVICE_NAME"] == name
    assert f'service_name = "{name}"' in (HERE / "alloy.alloy").read_text()


def test_rules_are_mounted_where_prometheus_looks():
    """The recording rules and alerts are in the folder that the configuration names."""
    (pattern,) = load("prometheus.yml")["rule_files"]
    rules = mounts("prometheus")[f"/etc/prometheus/{Path(pattern).parent}"]
    assert list((HERE / rules).glob(Path(pattern).name))


def test_dashboards_are_provisioned():
    """Grafana finds the committed dashboards where its provider looks."""
    (provider,) = load("grafana/dashboards/afterword.yaml")["providers"]
    outside = mounts("grafana")[provider["options"]["path"]]
    assert (HERE / outside).resolve() == expressions.DIRECTORY
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (expressions.DIRECTORY / home.name).is_file()


def test_dashboards_were_built_for_this_grafana():
    """The image is of the version whose schema the dashboards keep."""
    assert SERVICES["grafana"]["image"].startswith("grafana/grafana:11.6")


def test_data_sources_for_all_queries():
    """There is a data source of every kind that the dashboards choose from."""
    kinds = {expression.language for expression in expressions.expressions()}
    assert kinds == {source["type"] for source in SOURCES.values()}


def test_exemplar_leads_to_trace():
    """An exemplar's ``trace_id`` leads to Tempo, and Prometheus keeps exemplars."""
    (destination,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert SOURCES[destination["datasourceUid"]]["type"] == "tempo"
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_log_line_leads_to_trace():
    """A log line's ``trace_id`` leads to Tempo, be it parsed or not."""
    by_label, by_text = SOURCES["loki"]["jsonData"]["derivedFields"]
    assert (by_label["matcherType"], by_label["matcherRegex"]) == ("label", "trace_id")
    line = '{"event": "background_task.failed", "trace_id": "0af7651916cd43dd8448eb211c80319c"}'
    found = re.search(by_text["matcherRegex"], line)
    assert found
    assert found[1] == "0af7651916cd43dd8448eb211c80319c"
    assert {field["datasourceUid"] for field in (by_label, by_text)} == {"tempo"}


def test_span_leads_to_lines_and_metrics():
    """A span leads to the lines of its trace, and to its task's metrics."""
    data = SOURCES["tempo"]["jsonData"]
    assert SOURCES[data["tracesToLogsV2"]["datasourceUid"]]["type"] == "loki"
    assert "$${__trace.traceId}" in data["tracesToLogsV2"]["query"]
    assert SOURCES[data["tracesToMetrics"]["datasourceUid"]]["type"] == "prometheus"
    assert data["tracesToMetrics"]["tags"] == [{"key": names.SPAN_TASK.removeprefix("span."), "value": names.TASK}]


def test_queries_of_a_span_name_what_exists():
    """The queries that a span leads to name metrics and labels of the library."""
    known = {metric.prometheus + end for metric in names.METRICS for end in ("", "_total", "_bucket")}
    known |= {label for metric in names.METRICS for label in metric.labels}
    queries = [one["query"] for one in SOURCES["tempo"]["jsonData"]["tracesToMetrics"]["queries"]]
    named = set(re.findall(r"\b(?:background_task|afterword)_\w+", " ".join(queries)))
    assert named
    assert named <= known


def test_scrape_interval_is_told_to_grafana():
    """Grafana takes its rate interval from the interval at which Prometheus scrapes."""
    interval = load("prometheus.yml")["global"]["scrape_interval"]
    assert SOURCES["prometheus"]["jsonData"]["timeInterval"] == interval
