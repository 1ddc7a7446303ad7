"""The route of a request: its template, with those of the mounts around it, and whether it is one of our own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import ASGIApp, Scope

from .._common.http_request import is_below, path_within, request_id
from .._ledger.instrumentation import ATTRIBUTE, Instrumentation, consoles
from .state import RequestState

_MAX_DEPTH: Final = 10
_OF_CONSOLE: Final = "(?:/?$|/(?:api|static)/)"


def locate(request: RequestState) -> None:
    """Set the route and the request id of a request, as soon as they are known."""
    scope, info = request.scope, request.info
    if scope is None or info.route is not None:
        return
    failsafe = request.instrumentation.failsafe
    info.route = failsafe("route", route_template, scope, request.app, request.root_path)
    if info.request_id is None:
        info.request_id = failsafe("request id", request_id, scope.get("headers", ()))


def route_template(scope: Scope, app: ASGIApp | None, root_path: str) -> str | None:
    """Return the route's template, such as ``/sub/items/{id}``; ``None`` where nothing matched (yet).

    ``app`` is the outermost instrumented application, ``root_path`` the one it was called with.
    """
    leaf = _leaf(scope)
    if scope.get("root_path", "") == root_path:
        return leaf
    prefix = _mounts(scope, app, root_path)
    return prefix + (leaf or "") or None


def _leaf(scope: Scope) -> str | None:
    context = scope.get("fastapi", {}).get("effective_route_context")  # FastAPI >= 0.137, included routers
    route = scope.get("route")
    if not isinstance(route, Mount):
        path = getattr(context, "path", None) or getattr(route, "path", None)
        if isinstance(path, str):
            return path
    if "endpoint" not in scope:
        return None
    return _find(getattr(scope.get("router"), "routes", ()), scope["endpoint"], _MAX_DEPTH)


def _find(routes: Sequence[Any], endpoint: object, depth: int) -> str | None:
    """Find a route by its endpoint, for frameworks that do not record the matched route."""
    for route in routes:
        if isinstance(route, Mount | Host):
            found = _find(_routes_of(route), endpoint, depth - 1) if depth else None
            if found is not None:
                return found
        elif getattr(route, "endpoint", None) is endpoint:
            return str(route.path)
    return None


def _mounts(scope: Scope, app: ASGIApp | None, root_path: str) -> str:
    """Return the templates of the mounts that the request went through."""
    here = {"type": scope["type"], "path": scope["path"], "root_path": root_path, "path_params": {}}
    routes: Sequence[BaseRoute] = getattr(app, "routes", ())
    prefix = ""
    for _ in range(_MAX_DEPTH):
        mount = next((r for r in routes if isinstance(r, Mount) and r.matches(here)[0] is Match.FULL), None)
        if mount is None:
            break
        here.update(mount.matches(here)[1])
        prefix += mount.path_format.removesuffix("/{path}")
        if here["root_path"] == scope.get("root_path"):
            break
        routes = _routes_of(mount)
    return prefix


def _routes_of(mount: Mount | Host) -> Sequence[BaseRoute]:
    return mount.routes or ()


# --- our own routes, which are in no account --------------------------------------------------------------------


def is_our_own(instrumentation: Instrumentation, scope: Scope) -> bool:
    """Return whether one of our own routes answers a request."""
    # every request comes by here, so nothing is called that need not be
    path = path_within(scope) if scope.get("root_path") else scope["path"]
    route, console = instrumentation.route, instrumentation.console
    if route is not None and path == route.path:
        return not route.gives_way(scope)
    if console is None or not path.startswith(console.path):
        return False
    return scope["type"] == "http" and is_below(console.path, path)


def is_of_a_mounted_console(app: Starlette, scope: Scope) -> bool:
    """Return whether a request is for the console of an application that is mounted in this one."""
    if not any(console in scope["path"] for console in consoles.paths):
        return False
    here = {**scope, "path_params": {}}
    routes: Sequence[BaseRoute] = app.routes
    for _ in range(_MAX_DEPTH):
        route = next((each for each in routes if each.matches(here)[0] is Match.FULL), None)
        if not isinstance(route, Mount):
            return False
        here.update(route.matches(here)[1])
        instrumentation = getattr(route.app, ATTRIBUTE, None)
        if instrumentation is not None and is_our_own(instrumentation, here):
            return True
        routes = route.routes or ()
    return False


def patterns(instrumentation: Instrumentation) -> list[str]:
    """Return regular expressions that find the addresses of our own routes, for who knows no more than those."""
    route, console = instrumentation.route, instrumentation.console
    return [
        *([f"{re.escape(route.path)}$"] if route is not None else []),
        *([f"{re.escape(console.path)}{_OF_CONSOLE}"] if console is not None else []),
    ]
