"""The `/metrics` endpoint: what it says, to whom, and what it keeps out of."""

import asyncio
import gzip

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from tests.support.asgi import ask, call, with_header
from tests.support.in_process import InProcessStage

OPENMETRICS = with_header("accept", "application/openmetrics-text; version=1.0.0")
PROMETHEUS = with_header(
    "accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
)
SCHEDULED = "background_task_scheduled_total"
MAILS = SCHEDULED + repr([("background_task_engine", "starlette"), ("background_task_name", "shop.mail")])


def worked(stage: InProcessStage, **options) -> FastAPI:
    """Return an application in which a task of each kind has run."""
    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"), stage.fails("audit"), **options)
    ask(app)
    return app


def samples(families) -> dict[str, float]:
    """Return all samples by name and labels."""
    return {f"{s.name}{sorted(s.labels.items())}": s.value for family in families for s in family.samples}


@pytest.mark.parametrize("headers", [[], with_header("accept", "*/*"), with_header("accept", "text/html")])
def test_text_is_the_default(stage: InProcessStage, headers):
    """Without a wish for OpenMetrics the answer is Prometheus's text format, and can be parsed."""
    scrape = ask(worked(stage), "/metrics", headers=headers)
    assert scrape.status == 200
    assert scrape.headers["content-type"].startswith("text/plain; version=")
    parsed = samples(parse_text(scrape.text))
    assert parsed[MAILS] == 1


@pytest.mark.parametrize("headers", [OPENMETRICS, PROMETHEUS])
def test_openmetrics_when_asked_for(stage: InProcessStage, headers):
    """Who accepts OpenMetrics gets it, complete and parseable."""
    scrape = ask(worked(stage), "/metrics", headers=headers)
    assert scrape.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert scrape.text.endswith("# EOF\n")
    parsed = samples(parse_openmetrics(scrape.text))
    assert parsed[MAILS] == 1


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=many", ";;;", "\u00ff", "a" * 5000])
def test_a_strange_wish_gets_text(stage: InProcessStage, accept):
    """An accept header that makes no sense is answered in some format, not with an error."""
    scrape = ask(worked(stage), "/metrics", headers=[(b"accept", accept.encode("latin-1"))])
    assert (scrape.status, scrape.error) == (200, None)
    assert SCHEDULED in scrape.text


def test_compression_when_accepted(stage: InProcessStage):
    """Who accepts gzip gets it, with the same content."""
    app = worked(stage)
    scrape = ask(app, "/metrics", headers=with_header("accept-encoding", "gzip"))
    assert scrape.headers["content-encoding"] == "gzip"
    assert SCHEDULED.encode() in gzip.decompress(scrape.body)
    assert "content-encoding" not in ask(app, "/metrics").headers


def test_exemplars_link_to_the_trace(stage: InProcessStage):
    """In OpenMetrics the histograms carry the trace and span of a run; text has none."""
    app = stage.app_with(stage.works_in_thread("report"))
    ask(app)
    text = ask(app, "/metrics", headers=OPENMETRICS).text
    [run] = stage.accounts.recorder.ended_runs
    exemplars = {
        sample.name: sample.exemplar.labels
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.exemplar
    }
    ids = {"trace_id": run.trace_id, "span_id": run.span_id}
    assert exemplars == {
        "background_task_duration_seconds_bucket": ids,
        "background_task_wait_seconds_bucket": ids,
        "background_task_thread_wait_seconds_bucket": ids,
    }
    assert run.trace_id not in ask(app, "/metrics").text


@pytest.mark.parametrize("headers", [[], OPENMETRICS])
def test_there_are_no_created_series(stage: InProcessStage, headers):
    """Half of the series would be times of creation, which nobody asked for."""
    assert "_created" not in ask(worked(stage), "/metrics", headers=headers).text


def test_a_filter_by_name(stage: InProcessStage):
    """`name[]` restricts the answer to the named series; several may be named."""
    app = worked(stage)
    one = ask(app, f"/metrics?name[]={SCHEDULED}").text
    assert {sample.name for family in parse_text(one) for sample in family.samples} == {SCHEDULED}
    two = ask(app, f"/metrics?name[]={SCHEDULED}&name[]=background_task_pending").text
    names = {sample.name for family in parse_text(two) for sample in family.samples}
    assert names == {SCHEDULED, "background_task_pending"}
    assert ask(app, "/metrics?name[]=nothing").text == ""


def test_the_users_own_metrics_are_there(stage: InProcessStage):
    """The whole registry is exposed, the user's metrics included."""
    Counter("orders", "Orders.", registry=stage.accounts.prometheus.registry).inc(7)
    assert "orders_total 7.0" in ask(worked(stage), "/metrics").text


def test_dependencies_guard_it(stage: InProcessStage):
    """The application's own dependencies hold for `/metrics` as for any route."""

    async def with_key(request: Request) -> None:
        if request.headers.get("x-key") != "open":
            raise HTTPException(401, "no key")

    app = stage.instrument(stage.fastapi(dependencies=[Depends(with_key)]))
    assert ask(app, "/metrics").status == 401
    assert ask(app, "/metrics", headers=with_header("x-key", "open")).status == 200


def test_middleware_is_around_it(stage: InProcessStage):
    """`/metrics` is inside the application's middleware."""

    class Closed:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await PlainTextResponse("closed", 403)(scope, receive, send)

    app = stage.instrument(stage.fastapi(middleware=[Middleware(Closed)]))
    assert ask(app, "/metrics").status == 403


def test_it_is_not_in_the_schema(stage: InProcessStage):
    """The OpenAPI schema does not mention it."""
    assert "/metrics" not in stage.app(lambda: None).openapi()["paths"]


@pytest.mark.parametrize("make", ["native", "fastapi"])
def test_scrapes_are_in_no_account(stage: InProcessStage, make):
    """Scraping opens no span, writes no line, counts nothing."""
    app = stage.instrument(getattr(stage, make)())
    stage.accounts.lines.entries.clear()

    async def scrapes() -> list[str]:
        return [(await call(app, "/metrics")).text for _ in range(3)]

    _, before, after = asyncio.run(scrapes())
    assert before == after
    assert stage.accounts.spans.all() == ()
    assert stage.accounts.lines.entries == []


def test_only_get_is_answered(stage: InProcessStage):
    """Other methods are refused, and are no failure that would be reported."""
    assert ask(stage.app(), "/metrics", method="POST").status == 405


def test_a_collector_that_raises_what_is_no_error(stage: InProcessStage):
    """A user's collector that raises, say, what a cancelled future of its own raises fails its scrape, no more."""

    class Odd(Collector):
        def describe(self) -> list[Metric]:
            return []

        def collect(self) -> list[Metric]:
            raise asyncio.CancelledError

    app = worked(stage)
    stage.settings["registry"].register(Odd())
    scrape = ask(app, "/metrics")
    assert scrape.status == 500
    assert "CancelledError" in str(scrape.error)
    stage.settings["registry"]._collector_to_names.clear()
    assert ask(app, "/").status == 200
