"""The names of metrics, labels, attributes, log keys and events are the library's, and typed only there."""

import ast
import re
from pathlib import Path

import pytest
from billiard.exceptions import WorkerLostError

from afterword import Outcome, Reason
from afterword._celery import judgement
from afterword._common.model import full_name
from dashboards import expressions, names, recording
from dashboards.names import semconv

from .prometheus_rules import alerts
from .prometheus_texts import TEXTS

HERE = Path(names.__file__).parent
SOURCES = sorted([*HERE.rglob("*.py"), *HERE.rglob("*.libsonnet")])
MODULES = [path for path in SOURCES if path.suffix == ".py"]
RUNBOOK = HERE / "RUNBOOK.md"
PAGES = [RUNBOOK, HERE / "README.md"]


def of_the_library() -> set[str]:
    """Return every name that the library has a constant for, in every form that it has on the wire."""
    found: set[str] = set()
    for name, value in vars(semconv).items():
        if isinstance(value, semconv.Metric):
            found |= {value.name, value.prometheus, f"{value.prometheus}_total", *value.attributes, *value.labels}
        elif name.isupper() and not name.startswith("_"):
            found |= (
                {value} if isinstance(value, str) else set(value.values()) if isinstance(value, dict) else set()
            )
    return found


NAMES = of_the_library()
COMPOUND = {name for name in NAMES if re.fullmatch(r"\w+([._]\w+)+", name)}
"""Those that cannot be a word of a sentence."""
WORDS = {*Outcome, semconv.STATE_PENDING, semconv.STATE_RUNNING, *semconv.LOG_KEYS} - COMPOUND


def relative(path: Path) -> str:
    """Name a file in a test's id."""
    return str(path.relative_to(HERE))


def texts(path: Path) -> list[str]:
    """Return the strings of a module, its documentation included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_the_library_has_names():
    """The names are found at all: metrics, labels, attributes, events and keys."""
    assert {"background_task_ended_total", "error_type", "span_id", "request.failed"} <= COMPOUND
    assert {"dropped", "running", "reason"} <= WORDS


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_source_types_a_name_of_the_library(path: Path):
    """No metric, label, attribute, log key or event is typed in a file that is written by hand."""
    typed = set(re.findall(r"(?<![\w.])\w+(?:[._]\w+)+", path.read_text(encoding="utf-8")))
    assert not typed & COMPOUND


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_source_types_an_outcome_a_state_or_a_key(path: Path):
    """Outcomes, states and keys that are words are typed in sentences only: not in queries, legends and links."""
    word = "|".join(sorted(WORDS))
    quoted = rf"""["|(]({word})["|)]|(?<!`)`({word})`(?!`)"""
    in_a_query = re.compile(rf"{quoted}|\{{\{{\.?({word})\}}\}}|^({'|'.join(Outcome)})$")
    assert not [text for text in texts(path) if in_a_query.search(text)]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_one_module_asks_the_library(path: Path):
    """The library is imported in one place, so that what moves there is mended here once."""
    imported = re.search(r"^\s*(from|import) afterword\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert bool(imported) is (path.name == "names.py")


def test_events_are_a_family():
    """The event of every outcome, and of what a dead process held, is the family's name and the outcome."""
    events = {*semconv.EVENT_ENDED.values(), semconv.EVENT_LOST}
    assert events == {f"{names.EVENT_FAMILY}.{outcome}" for outcome in (*Outcome, names.OUTCOME_LOST)}


# --- what the pages for people name -----------------------------------------------------------------------------

OTHERS = {
    *("@task(isolated=True)", "lsof"),
    *("make pictures", "@grafana/ui"),
    *("make drills", "optional.yml", "rule_files", "optionalRules: true", "offset 1h", "offset 7d", "return"),
    *("$task", "afterword-overview", "afterword-task", "/d/afterword-task?var-task=app.mail.send_receipt"),
    *("recording.yml", "alerts.yml", "prometheus.yml", "RUNBOOK.md", "http://localhost:3000", "_config.afterword"),
    *(
        "instrument(app)",
        "add_task",
        "BackgroundTasks",
        "tasks.tasks",
        "registry=",
        "/metrics",
        "afterword.running()",
    ),
    *("@task(run_on_request_error=True)", '@task(name="export")', "AFTERWORD_MAX_TASK_NAMES"),
    *("Prometheus", "OtelMetrics", "Traces", "Logs", "Journal", "on_task_failure"),
    *("def", "async", "await", "background", "asyncio.timeout(30)", "asyncio.to_thread"),
    "anyio.to_thread.current_default_thread_limiter().total_tokens = 100",
    *("PROMETHEUS_MULTIPROC_DIR", "metric_relabel_configs"),
    *("--timeout-graceful-shutdown", "terminationGracePeriodSeconds"),
    *(
        "celery -A shop inspect active_queues",
        "-Q",
        "-c",
        "task_routes",
        "queue=",
        "include=",
        "autodiscover_tasks",
    ),
    *("acks_late", "reject_on_worker_lost", "time_limit", "worker_max_memory_per_child", "AFTERWORD_JOURNAL"),
    "AFTERWORD_WORKER_METRICS_PORT",
    *("slow_after", "for", "HEALTHY_MINUTES=10"),
    *("visibility_timeout", "broker_transport_options", "SystemExit", "sys.exit", "SIGKILL"),
}
"""What the pages name that is no name on the wire: of the API, of files, of other programs."""


def named(path: Path) -> set[str]:
    """Return what a page names in code."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`]+)`", prose))


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages_name_what_exists(path: Path):
    """Every metric, label, key, event, outcome, reason and recorded series that a page names exists."""
    known = {
        *NAMES,
        *Outcome,
        *Reason,
        names.OUTCOME_LOST,
        names.OTHER,
        *(rule.record for rule in recording.RULES),
    }
    known |= {f".{outcome}" for outcome in (*Outcome, names.OUTCOME_LOST)}
    known |= {"count", "by", names.STARLETTE, names.CELERY, *names.PROCESS}
    assert {word for code in named(path) - OTHERS for word in re.findall(r"[\w.:]+", code)} <= known


TITLES = {panel["title"] for dashboard in expressions.load() for panel in expressions.panels(dashboard)}
MARKS = {mark["name"] for dashboard in expressions.load() for mark in dashboard["annotations"]["list"]}


def test_the_runbook_names_panels_that_exist():
    """What is printed in italics is the title of a panel or a section, or a mark on the graphs."""
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    italics = {" ".join(found.split()) for found in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", prose)}
    assert {"In the queue", "process started"} <= italics <= TITLES | MARKS


@pytest.mark.parametrize("alert", alerts())
def test_each_entry_leads_to_the_cause_in_two_steps(alert: str):
    """An entry says what the alert means, has two steps, of which the first names what exists, and the change."""
    entry = RUNBOOK.read_text(encoding="utf-8").split(f"\n## {alert}\n")[1].split("\n## ")[0]
    meaning, *steps = re.split(r"^(?=\d\. )", entry, flags=re.MULTILINE)
    assert meaning.strip()
    assert re.findall(r"^\d\. \*\*\w+", "".join(steps), re.MULTILINE) == ["1. **Look", "2. **Then"]
    last, changed, _ = steps[-1].partition("\n**Change**")
    assert changed
    code = re.findall(r"`([^`]+)`", steps[0])
    first = {*code, *re.findall(r"[\w.:]+", " ".join(code))}
    first |= set(re.findall(r"\*(\w[^*]+\w)\*", steps[0].replace("**", "")))
    records = {rule.record for rule in recording.RULES}
    assert first & (NAMES | TITLES | MARKS | OTHERS | records), first
    assert last.strip()


def test_labels_of_which_an_entry_speaks_are_the_alerts():
    """Where the first step reads labels "of the alert", the alert has them when it fires."""
    labels = {label for metric in names.METRICS for label in metric.labels}
    spoken = {alert: set(re.findall(r"`(\w+)`", _first_step(alert))) & labels for alert in alerts()}
    spoken = {alert: found for alert, found in spoken.items() if "of the alert" in _first_step(alert)}
    assert spoken["AfterwordTaskStuck"] == {names.TASK}
    assert len(spoken) > 3
    assert [alert for alert, found in spoken.items() if found - TEXTS[alert].labels.keys()] == []


def _first_step(alert: str) -> str:
    return RUNBOOK.read_text(encoding="utf-8").split(f"\n## {alert}\n")[1].split("\n1. ")[1].split("\n2. ")[0]


def test_the_errors_of_a_lost_worker_are_the_librarys():
    """A failure has its error as a label and not its reason: these errors are those of a process that is gone."""
    assert {WorkerLostError, SystemExit} <= set(judgement.LOST)
    assert set(names.WORKER_LOST_ERRORS) == {full_name(WorkerLostError), full_name(SystemExit)}


def test_pages_name_the_others():
    """Nothing is excepted that no page names."""
    assert set().union(*map(named, PAGES)) >= OTHERS
