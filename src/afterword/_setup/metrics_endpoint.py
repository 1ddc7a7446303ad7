"""The ``/metrics`` endpoint: an ordinary route of the application, before all others and behind its middleware."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from .._common import semconv
from .._common.faults import EXITS
from .._common.log import emit
from .._common.model import full_name
from .._ledger.deferred import drain
from .._ledger.instrumentation import MetricsRoute, get_instrumentation
from .._ledger.journal.journal import Journal
from .._signals.multiprocess import directory
from .._signals.multiprocess.all_processes import AllProcesses
from .._signals.process_gauges import sample
from .._signals.worker_threads import note_limiter
from .journal import pids_in
from .occupied_path import Yielding, is_taken

_NAME = "afterword_metrics"
"""The name of our route, and its operation id in FastAPI. No user route is likely to have it."""


_limiter: RunVar[CapacityLimiter] = RunVar("afterword_rendering")  # one for each event loop


class _YieldsToUser(Yielding):
    """Gives way to a user's route at the same path, even one that is added later."""

    path: str
    neighbours: Sequence[BaseRoute] = ()
    """The application's list of routes, this one among them."""

    def gives_way(self, scope: Scope) -> bool:
        """Return whether a user's route answers this request. Checked on every scrape: routes come and go."""
        return is_taken(self.neighbours, self.path, scope)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)  # type: ignore[misc]
        if match is not Match.NONE and self.gives_way(scope):
            return Match.NONE, {}
        return match, child_scope


class _ApiRoute(_YieldsToUser, APIRoute):
    pass


class _PlainRoute(_YieldsToUser, Route):
    pass


async def metrics(request: Request) -> Response:
    """Answer a scrape with the application's registry."""
    drain()
    note_limiter()
    sample()
    instrumentation = get_instrumentation(request.app)
    registry = instrumentation.settings.registry if instrumentation is not None else None
    if instrumentation is None or registry is None:  # uninstrumented a moment ago
        return Response(status_code=404)
    accept, encoding = (request.headers.get(name, "") for name in ("accept", "accept-encoding"))
    wanted = request.query_params.getlist("name[]")
    # render off the event loop, so that no request waits for many series
    body, headers = await anyio.to_thread.run_sync(
        render, registry, instrumentation.journal, accept, encoding, wanted, limiter=_own_thread()
    )
    return Response(body, headers=headers)


def _own_thread() -> CapacityLimiter:
    """Return a limiter with one thread for rendering: a scrape matters most when the 40 shared ones are busy."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(1)
        _limiter.set(limiter)
        return limiter


def add_route(app: Starlette, path: str) -> MetricsRoute:
    """Add the metrics route before all others and return it."""
    routes = app.router.routes
    if isinstance(app, FastAPI):
        # a FastAPI route, so that the application's dependencies (an API key, for example) protect it
        app.router.add_api_route(
            path,
            metrics,
            include_in_schema=False,
            route_class_override=_ApiRoute,
            response_model=None,
            name=_NAME,
            # our own id: the user's id function is written for the user's routes
            operation_id=_NAME,
            generate_unique_id_function=_own_id,
        )
    else:
        routes.append(_PlainRoute(path, metrics, include_in_schema=False, name=_NAME))
    route: Any = routes.pop()
    route.neighbours = routes
    routes.insert(0, route)
    emit("info", semconv.EVENT_METRICS, {semconv.KEY_PATH: path})
    return route  # type: ignore[no-any-return]


def _own_id(_route: APIRoute) -> str:
    return _NAME


def remove_route(app: Starlette, route: MetricsRoute) -> None:
    """Remove the metrics route."""
    routes: list[Any] = app.router.routes
    if route in routes:
        routes.remove(route)


def render(
    registry: CollectorRegistry, journal: Journal | None, accept: str, encoding: str, wanted: list[str]
) -> tuple[bytes, dict[str, str]]:
    """Return what a scrape is answered with, all series or those that are wanted, and its headers. May block."""
    encode, content_type = _encoder(accept)
    if journal is not None:
        journal.recover()  # so that what has died by now is counted
    path = directory.directory()
    try:
        if path is not None and directory.several_processes() and directory.problem_with(path) is None:
            body = AllProcesses(path, wanted, partial(pids_in, journal)).encoded(encode)
        else:
            body = encode(registry.restricted_registry(wanted) if wanted else registry)
    except (Exception, *EXITS):
        raise
    except BaseException as exc:  # otherwise the request would look cancelled
        raise RuntimeError(f"a collector of the registry raised {full_name(exc)}") from exc
    headers = {"content-type": content_type}
    if gzip_accepted(encoding):
        body = gzip.compress(body, compresslevel=1)
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    return body, headers


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except Exception:  # noqa: BLE001  an invalid version, for example; the text format always works
        return choose_encoder("")
