"""The ``/metrics`` endpoint: an ordinary route of the application, before all others and behind its middleware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from .._common import semconv
from .._common.log import emit
from .._common.own_thread import OwnThread
from .._ledger.deferred import drain
from .._ledger.instrumentation import MetricsRoute, get_instrumentation
from .._signals.process_gauges import sample
from .._signals.worker_threads import note_limiter
from .exposition import render
from .occupied_path import Yielding, is_taken

_NAME = "afterword_metrics"
"""The name of our route, and its operation id in FastAPI. No user route is likely to have it."""


_rendering = OwnThread("afterword_rendering")


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
    if instrumentation.on_loop is not None:  # where there is no lifespan
        instrumentation.failsafe("watching the event loop", instrumentation.on_loop, instrumentation)
    accept, encoding = (request.headers.get(name, "") for name in ("accept", "accept-encoding"))
    wanted = request.query_params.getlist("name[]")
    # render off the event loop, so that no request waits for many series
    body, headers = await _rendering.run(render, registry, instrumentation.journal, accept, encoding, wanted)
    return Response(body, headers=headers)


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
