"""The peers: how each is put in and taken out, and what it says, caught in the process.

Nothing is imported before it is needed: some of them patch on import. Those whose agent would call out are set up
as for the benchmarks.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.matrix.account import Account


class Peer:
    """Nobody. OpenTelemetry spans are collected by the account; ``telemetry`` is for what else a peer says."""

    is_global = False
    """Whether it sets OpenTelemetry's global provider, so that the user gives ours none."""

    def start(self) -> None:
        """Begin, in a process that may not have imported FastAPI yet."""

    def options(self, account: Account) -> dict[str, Any]:
        """Return what the author passes to ``FastAPI``."""
        return {}

    def attach(self, app: Any, account: Account) -> None:
        """Put it into the application."""

    def detach(self, app: Any) -> None:
        """Take it out while the application serves."""
        raise NotImplementedError

    def telemetry(self) -> list[str]:
        """Return what it has said since this was last asked."""
        return []


class NativeOff(Peer):
    """FastAPI's own telemetry, switched off."""

    def options(self, account: Account) -> dict[str, Any]:
        return {"telemetry": {"tracing": False, "metrics": False, "logs": False}}


class Native(Peer):
    """FastAPI's own telemetry, into the same providers as ours."""

    def options(self, account: Account) -> dict[str, Any]:
        provider, meter = account.all.spans.provider, account.all.meter.provider
        return {"telemetry": {"tracer_provider": provider, "meter_provider": meter, "logs": False}}


class NativeOwnProviders(Peer):
    """FastAPI's own telemetry, into providers of its own."""

    def options(self, account: Account) -> dict[str, Any]:
        from opentelemetry.sdk.metrics import MeterProvider

        meter = MeterProvider(shutdown_on_exit=False)
        return {"telemetry": {"tracer_provider": account.own_provider(), "meter_provider": meter, "logs": False}}


class Contrib(NativeOff):
    """OpenTelemetry contrib's instrumentation of FastAPI."""

    def attach(self, app: Any, account: Account) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app, tracer_provider=self._provider(account))

    def _provider(self, account: Account) -> Any:
        return account.all.spans.provider

    def detach(self, app: Any) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.uninstrument_app(app)


class ContribOwnProvider(Contrib):
    """The same, with a provider of its own."""

    def _provider(self, account: Account) -> Any:
        return account.own_provider()


class ContribAsgi(NativeOff):
    """OpenTelemetry contrib's ASGI middleware."""

    def attach(self, app: Any, account: Account) -> None:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        app.add_middleware(OpenTelemetryMiddleware, tracer_provider=account.all.spans.provider)


class Logfire(Peer):
    """Logfire, sending nowhere; FastAPI's own telemetry finds its global provider, too."""

    is_global = True

    def attach(self, app: Any, account: Account) -> None:
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        keep = SimpleSpanProcessor(account.all.spans.exporter)
        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[keep])
        self._undo = contextlib.ExitStack()
        self._undo.enter_context(logfire.instrument_fastapi(app))

    def detach(self, app: Any) -> None:
        self._undo.close()


class Sentry(Peer):
    """Sentry, with tracing, into a transport that keeps what it is given."""

    def start(self) -> None:
        from tests.benchmarks.peers import start_sentry

        self._envelopes: list[Any] = []
        start_sentry(self._envelopes.append)

    def telemetry(self) -> list[str]:
        envelopes, self._envelopes[:] = list(self._envelopes), []
        return [text for envelope in envelopes for item in envelope.items if (text := sentry_item(item))]


def sentry_item(item: Any, without: str | None = None) -> str:
    """Say what Sentry says, ``without`` spans of an operation; nothing of what is no event and no transaction."""
    payload = item.payload.json or {}
    if item.type == "event":
        raised = [f"{each['type']}({each['value']})" for each in payload.get("exception", {}).get("values", ())]
        return f"event {payload.get('transaction')} {' '.join(raised)}"
    if item.type == "transaction":
        spans = [span for span in payload.get("spans", ()) if span["op"] != without]
        spans = sorted(f"{span['op']}:{span.get('description')}" for span in spans)
        return f"transaction {payload['transaction']} {payload['contexts']['trace'].get('status')} {spans}"
    return ""


class Datadog(Peer):
    """Datadog's tracer; finished spans are kept, not written."""

    def start(self) -> None:
        from tests.benchmarks.peers import start_datadog

        self._spans: list[Any] = []
        start_datadog(self._spans.extend)

    def detach(self, app: Any) -> None:
        from ddtrace.contrib.internal.fastapi.patch import unpatch as unpatch_fastapi
        from ddtrace.contrib.internal.starlette.patch import unpatch as unpatch_starlette

        unpatch_fastapi()
        unpatch_starlette()

    def telemetry(self) -> list[str]:
        spans, self._spans[:] = list(self._spans), []
        return [f"{span.name} {span.resource} error={span.error}" for span in spans]


class NewRelic(Peer):
    """New Relic's agent in developer mode; finished transactions are noted on their way to its statistics."""

    def start(self) -> None:
        from tests.benchmarks.peers import start_newrelic

        start_newrelic()
        from newrelic.core.stats_engine import StatsEngine

        self._transactions: list[str] = []
        record = StatsEngine.record_transaction

        def noting(engine: Any, transaction: Any) -> None:
            errors = sorted(error.type for error in transaction.errors)
            self._transactions.append(f"{transaction.type} {transaction.path} {errors}")
            record(engine, transaction)

        StatsEngine.record_transaction = noting

    def telemetry(self) -> list[str]:
        transactions, self._transactions[:] = list(self._transactions), []
        return [each for each in transactions if "/-/" not in each and "Panel" not in each]


class Instrumentator(Peer):
    """prometheus-fastapi-instrumentator, counting into the same registry as ours."""

    def attach(self, app: Any, account: Account) -> None:
        from prometheus_fastapi_instrumentator import Instrumentator as Theirs

        self._registry = account.all.prometheus.registry
        self._last: Counter[str] = Counter()
        Theirs(registry=self._registry).instrument(app).expose(app)

    def telemetry(self) -> list[str]:
        now: Counter[str] = Counter()
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name == "http_requests_total":
                    now[f"http_requests_total {sorted(sample.labels.items())}"] += int(sample.value)
        since, self._last = now - self._last, now
        return sorted(since.elements())


class CorrelationId(Peer):
    """asgi-correlation-id; its id is to be seen by every task."""

    def attach(self, app: Any, account: Account) -> None:
        from asgi_correlation_id import CorrelationIdMiddleware, correlation_id

        from tests.matrix import tasks

        app.add_middleware(CorrelationIdMiddleware)
        tasks.tags.append(lambda: str(correlation_id.get()))


PEERS: dict[str, type[Peer]] = {
    "nobody": Peer,
    "native-off": NativeOff,
    "native": Native,
    "native-own-providers": NativeOwnProviders,
    "contrib": Contrib,
    "contrib-own-provider": ContribOwnProvider,
    "contrib-asgi": ContribAsgi,
    "logfire": Logfire,
    "sentry": Sentry,
    "datadog": Datadog,
    "newrelic": NewRelic,
    "instrumentator": Instrumentator,
    "correlation-id": CorrelationId,
}
