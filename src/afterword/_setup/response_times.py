"""How long answers take, without the background work behind them: wanted by ``response_duration=True``."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from starlette.types import Message, Send

from .._common.model import RequestInfo
from .._ledger.instrumentation import Instrumentation
from .._signals.otel_metrics import OtelMetrics
from .._signals.prometheus import CountsRequests
from .._starlette.asgi import STARTS, ends
from .._starlette.http_route import locate
from .._starlette.state import RequestState


def timed(request: RequestState, send: Send) -> Send:
    """Watch an answer until its last part has been sent, and record the time since its request came."""
    began, status, is_over = perf_counter(), None, False

    async def watched(message: Message) -> None:
        nonlocal status, is_over
        await send(message)
        kind = message["type"]
        if kind in STARTS:
            status = message["status"]
        elif not is_over and ends(kind, message):
            is_over = True
            request.instrumentation.failsafe("timing an answer", _record, request, status, perf_counter() - began)

    return watched


def _record(request: RequestState, status: int | None, seconds: float) -> None:
    locate(request)
    for record in _recorders(request.instrumentation):
        record(request.info, status, seconds)


def _recorders(instrumentation: Instrumentation) -> list[Callable[[RequestInfo, int | None, float], None]]:
    observers = instrumentation.ledger.observers  # asked each time: one may join late
    return [each.answered for each in observers if isinstance(each, CountsRequests | OtelMetrics)]
