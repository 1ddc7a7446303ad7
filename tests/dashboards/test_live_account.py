"""What Prometheus answers about real shops and workers, compared with the account that they keep themselves."""

import math
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from afterword._views.account import read
from dashboards import counting, names, recording
from dashboards.expressions import PLAUSIBLE, Expression, expressions, interpolate
from dashboards.prometheus.server import RULES, Prometheus, configuration
from examples.demo.mailserver import Mailroom
from tests.support.waiting import wait_until

from .live_bureau import CELERY_WARNS, Bureau, Served, bureau
from .live_mail import beside
from .live_shops import NOTICED, TWO_WORKERS, Shop, shop, uvicorn
from .prometheus_oracle import Oracle, Vector
from .prometheus_rules import load

pytestmark = [pytest.mark.timeout(240), *CELERY_WARNS]

RECORDS = [rule for path in RULES for rule in load(path) if "record" in rule]
ASKED = {one.expr: one for one in expressions() if one.language == "prometheus"}
OF_THE_PAST = ("annotation: process started", "Last scheduled")
"""Panels about a moment in the past, which the shops do not tell."""
RANGE = "10m"
"""Longer than everything here lasts, so that all events are in it."""
LAG = names.LOOP_LAG
"""An event loop looks at the clock when nobody asks it anything, too: two questions have two answers."""
_COUNTER_OVER_TIME = re.compile(r"(?:rate|increase)\(([a-z_:]+(?:\{[^}]*\})?)\[[^]]*\]\)")


@dataclass
class Scene:
    """Shops that have calmed down, and the Prometheus that has seen everything."""

    prometheus: Prometheus
    shops: list[Shop]
    bureau: Bureau
    served: list[Shop | Served]
    """All that are scraped: the shops, who publishes to Celery, and its worker."""
    start: float
    asked: Oracle | None = None
    """What the shops and the others have said last."""

    def oracle(self) -> Oracle:
        """Ask the shops and the others themselves."""
        scrapes = {("shop", one.address): one.get("/metrics") for one in self.served}
        self.asked = Oracle(scrapes, RECORDS)
        return self.asked


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Send customers to a shop; kill and replace the workers of a second one, block a third; wait for quiet."""
    directory, start = tmp_path_factory.mktemp("account"), time.time()
    metrics = directory / "metrics"
    metrics.mkdir()
    multiprocess = {"PROMETHEUS_MULTIPROC_DIR": str(metrics), "SHOP_SMTP_TIMEOUT": "600"}
    spans = {"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def one(port: int) -> list[str]:
        return uvicorn(port, "tests.dashboards.live_neglected:app")

    def several(port: int) -> list[str]:
        return uvicorn(port, "tests.dashboards.live_leisurely:app", *TWO_WORKERS)

    def blocked(port: int) -> list[str]:
        return uvicorn(port, "tests.dashboards.live_blocked:app")

    with ExitStack() as stack:
        aside = stack.enter_context(beside())
        good, silent = aside.mail_server(Mailroom()), aside.mail_server(None)
        shops = [
            stack.enter_context(shop(directory / "one", good.port, one, **spans)),
            stack.enter_context(shop(directory / "several", silent.port, several, **multiprocess)),
            stack.enter_context(shop(directory / "blocked", good.port, blocked)),
        ]
        bureau_ = stack.enter_context(bureau(directory / "bureau"))
        worker = bureau_.worker()
        bureau_.publish_to_nobody()
        served = [*shops, bureau_.publisher, Served(f"127.0.0.1:{worker.port}", worker=worker)]
        config = configuration({"shop": [each.address for each in served]}, interval="1s")
        prometheus = stack.enter_context(Prometheus(directory, config))
        for each in shops:
            wait_until(each.is_open, 60, each.log.read_text)
        for _ in range(2):  # an increase is seen between two scrapes, so there are events after the first ones
            aside.customers(shops[0].url, 4, 12).result(60)
            wait_until(
                lambda: prometheus.query('background_task_ended_total{background_task_outcome="failed"} > 0'), 20
            )
        bureau_.trouble_itself()
        for _ in range(3):  # so often that it counts as held up
            assert shops[2].post("/pictures") == 200
        _lose_and_cancel(shops[1], aside)
        aside.customers(shops[1].url, 1, 3, only="order, slow").result(60)  # these stay in flight
        scene = Scene(prometheus, shops, bureau_, served, start)
        wait_until(lambda: _calm(shops[0]) and not _differences(scene, "background_task_scheduled_total"), 60)
        wait_until(lambda: scene.oracle().ask(f"{recording.QUEUE_DIFFERENCE} == 0"), 60, bureau_.stage.report)
        yield scene


def _lose_and_cancel(server: Shop, aside: Any) -> None:
    """Kill the workers while their mails hang; then deploy, which cancels what hangs in the new ones."""

    def hanging() -> float:
        return sum(account.running for account in (read(server.get("/metrics")) or {}).values())

    for end in (server.kill_workers, server.deploy):
        aside.customers(server.url, 1, 4, only="order, slow").result(30)
        wait_until(lambda: hanging() == 4, 60)
        old = set(server.workers())
        end()
        wait_until(lambda old=old: len(server.workers()) == 2 and not old & set(server.workers()), NOTICED)
        wait_until(server.is_open, 60)


def _calm(one: Shop) -> bool:
    return not any(account.in_flight for account in (read(one.get("/metrics")) or {}).values())


def _given(prometheus: Prometheus, expression: str) -> Vector:
    """Return what Prometheus answers, without names and without what is not a number."""
    answer = {}
    for element in prometheus.query(expression):
        labels = frozenset((name, value) for name, value in element["metric"].items() if name != "__name__")
        if not math.isnan(value := float(element["value"][1])):
            answer[labels] = value
    return answer


def _differences(scene: Scene, expression: str) -> dict[Any, Any]:
    """Return where Prometheus and the shops differ; they are asked anew if it is not what they have said last."""
    said = scene.asked and _differences_from(scene.asked, scene, expression)
    return {} if said == {} else _differences_from(scene.oracle(), scene, expression)


def _differences_from(oracle: Oracle, scene: Scene, expression: str) -> dict[Any, Any]:
    """Return where Prometheus differs from what the shops have said; ages grow between the two questions."""
    tolerance = 5.0 if "_age_seconds" in expression else 1e-6
    expected = oracle.ask(expression)
    given = _given(scene.prometheus, _COUNTER_OVER_TIME.sub(r"(\1 + 0)", expression))
    return {
        tuple(sorted(labels)): (given.get(labels), expected.get(labels))
        for labels in given.keys() | expected.keys()
        if abs(given.get(labels, math.inf) - expected.get(labels, math.inf)) > tolerance
        or (labels in given) is not (labels in expected)
    }


def _agree(scene: Scene, expression: str) -> None:
    """Hold that both say the same, at the latest when the next scrape has seen it."""
    found: dict[Any, Any] = {}

    def same() -> bool:
        nonlocal found
        found = _differences(scene, expression)
        return not found

    wait_until(same, 40, lambda: f"{expression}\nPrometheus, the shops: {found}")


def _agree_in_between(scene: Scene, metric: str) -> None:
    """Hold that Prometheus says no less than the shops before its scrape, and no more than they say after it."""
    before = scene.oracle().ask(metric)
    given: Vector = {}

    def scraped() -> bool:
        nonlocal given
        given = _given(scene.prometheus, metric)
        return given.keys() == before.keys() and all(given[labels] >= before[labels] for labels in before)

    wait_until(scraped, 40, lambda: f"{metric}\nPrometheus: {given}\nthe shops before: {before}")
    after = scene.oracle().ask(metric)
    assert all(given[labels] <= after[labels] for labels in given), (metric, given, after)


def _of_dashboard(one: Expression) -> str:
    expression = re.sub(r"topk\(\d+,", "topk(1000,", one.expr)  # of equal ones, any may be among the largest
    return interpolate(expression, PLAUSIBLE | {"$__range": RANGE, "$__interval": "1s"})


def test_every_series_of_ours_is_the_shops_own(scene: Scene):
    """Every counter, gauge and bucket of ours has the same value in Prometheus and on the shop's own page."""
    metrics = {
        name
        for one in scene.served
        for name in re.findall(r"^((?:background_task|afterword)_\w+)", one.get("/metrics"), re.MULTILINE)
    }
    assert len(metrics) > 20
    for metric in sorted(metrics):
        if LAG in metric:
            _agree_in_between(scene, metric)
        else:
            _agree(scene, metric)


def test_the_scene_has_every_outcome(scene: Scene):
    """All six outcomes and lost ones occurred, so that no comparison is one of zeros."""
    oracle = scene.oracle()
    ended = oracle.ask("sum by (background_task_outcome) (background_task_ended_total) > 0")
    assert len(ended) == 6
    assert oracle.ask("sum(background_task_lost_total) > 0")
    assert oracle.ask("sum(background_task_running) > 0")
    assert oracle.ask("sum(afterword_observer_errors_total) > 0")


def test_the_scene_has_celery(scene: Scene):
    """Something is in a queue, came back, and died with a child; and what no worker has was thrown away."""
    oracle = scene.oracle()
    for question in (
        "sum(background_task_queue_messages) > 0",
        'sum(background_task_returned_total{background_task_reason="worker_lost"}) > 0',
        'sum(background_task_failures_total{error_type="billiard.exceptions.WorkerLostError"}) > 0',
        'background_task_ended_total{background_task_name="shop.adds", background_task_outcome="abandoned"} > 0',
    ):
        assert oracle.ask(question), question


@pytest.mark.parametrize("asked", ASKED.values(), ids=lambda one: f"{one.dashboard} {one.panel} {one.ref_id}")
def test_every_expression_of_the_dashboards_returns_the_account(scene: Scene, asked: Expression):
    """Every panel, variable and annotation has data; over the counters' whole life it is the shops' account."""
    expression = _of_dashboard(asked)
    wait_until(lambda: _ever(scene, expression), 40, lambda: f"no data: {expression}")
    if asked.panel not in OF_THE_PAST and LAG not in asked.expr:  # what is past, and what is never quiet
        _agree(scene, expression)


def test_counts_over_the_time_range_are_exact(scene: Scene):
    """Counts over a time range include each first event: they are the account without any rewriting."""
    counts = [_of_dashboard(one) for one in ASKED.values() if "offset $__range" in one.expr]
    assert counts
    oracle = scene.oracle()
    for expression in counts:
        expected, given = oracle.ask(expression), _given(scene.prometheus, expression)
        assert given == pytest.approx(expected)


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_every_recording_rule_returns_the_account(scene: Scene, rule: dict[str, Any]):
    """Every recorded series has data; over the counters' whole life its expression is the shops' account."""
    wait_until(lambda: _ever(scene, rule["record"]), 40)
    _agree(scene, rule["expr"])


def test_recorded_counts_are_exact(scene: Scene):
    """The recorded counts of the last five minutes, first events included, are the account of young shops."""
    oracle = scene.oracle()
    for record in (counting.ENDS, recording.ENDS_OF_TASK):
        expected = oracle.ask(record)
        assert sum(expected.values()) > 100
        wait_until(lambda: _given(scene.prometheus, record) == expected, 40)  # noqa: B023  asked at once


def test_the_law_holds_in_prometheus(scene: Scene):
    """The recorded difference is 0 for every task, with runs in flight and with lost ones."""

    def differences() -> Vector:
        return _given(scene.prometheus, recording.DIFFERENCE)

    wait_until(lambda: set(differences().values()) == {0.0}, 40, differences)
    assert not any("shop.works" in dict(labels).values() for labels in differences()), "it is Starlette's law"


def test_the_law_of_all_processes_holds_in_prometheus(scene: Scene):
    """What was published to Celery is in a queue or a worker, has ended or was lost: nothing is left over."""
    celery = frozenset({("background_task_engine", "celery")})
    wait_until(
        lambda: _given(scene.prometheus, recording.QUEUE_DIFFERENCE) == {celery: 0.0},
        40,
        lambda: _given(scene.prometheus, recording.QUEUE_DIFFERENCE),
    )


def test_promtool_accepts_the_plain_text(scene: Scene):
    """`promtool check metrics` has nothing against what the shops expose in the plain-text format."""
    for one in scene.served:
        text = one.get("/metrics")
        ours = "".join(re.findall(r"^(?:# \w+ )?(?:background_task|afterword)_.*\n", text, re.MULTILINE))
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_exemplars_lead_to_spans_of_their_tasks(scene: Scene):
    """Prometheus' exemplar API has trace ids, and they are those of real spans of the same task."""
    spans = {}

    def found() -> bool:
        spans.update(scene.shops[0].spans())
        spans.update((one["span"], (one["trace"], one["name"])) for one in scene.bureau.stage.spans())
        return len(spans) > 50

    wait_until(found, 40)
    for histogram in ("duration", "wait", "thread_wait"):
        series = scene.prometheus.api(
            "query_exemplars",
            query=f"background_task_{histogram}_seconds_bucket",
            start=scene.start,
            end=time.time(),
        )
        exemplars = [
            (one["seriesLabels"]["background_task_name"], exemplar["labels"])
            for one in series
            for exemplar in one["exemplars"]
        ]
        assert len(exemplars) > 5
        for task, labels in exemplars:
            wait_until(lambda: labels["span_id"] in spans or not found(), 40)  # noqa: B023
            trace, name = spans[labels["span_id"]]
            assert trace == labels["trace_id"]
            # a worker's main process counts, which knows the span of the publish and not that of its child
            assert name in (f"background_task {task}", *([f"publish {task}"] if task.startswith("shop.") else []))


def _ever(scene: Scene, expression: str) -> bool:
    """Tell whether the expression has a value, or has had one at any time."""
    if _given(scene.prometheus, expression):
        return True
    result = scene.prometheus.api("query_range", query=expression, start=scene.start, end=time.time(), step=1)[
        "result"
    ]
    return any(value != "NaN" for series in result for _, value in series["values"])
