"""Finds out whether a user's route has a given path, through routers, mounts and hosts.

Only a literal path counts. A pattern that happens to match (``/{page}``, the catch-all of a single-page
application) and an application that does not expose its routes (``StaticFiles`` at ``/``) do not count: nobody can
tell what they would answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import Scope

_MAX_DEPTH = 10


class Yielding:
    """One of our own routes, which does not count as the user's."""


def is_taken(routes: Iterable[BaseRoute], path: str, scope: Scope | None = None) -> bool:
    """Return whether a user's route or mount has exactly this path.

    A request's scope says which host was requested and where the application is mounted. Without a scope, routes
    of a ``Host`` are left out.
    """
    before = scope["path"].removesuffix(path) if scope is not None else ""
    known = scope if scope is not None else {"type": "http", "method": "GET", "root_path": "", "headers": []}
    # also with a trailing slash: the router would redirect there
    return any(
        _answers(routes, {**known, "path": before + address, "path_params": {}}, _MAX_DEPTH)
        for address in (path, path.rstrip("/") + "/")
    )


def _answers(routes: Iterable[BaseRoute], scope: Scope, depth: int) -> bool:
    return any(_answers_one(route, scope, depth) for route in list(routes) if not isinstance(route, Yielding))


def _answers_one(route: BaseRoute, scope: Scope, depth: int) -> bool:
    try:
        candidates = getattr(route, "effective_candidates", None)  # FastAPI >= 0.137: an included router
        if candidates is not None:
            return depth > 0 and _answers(candidates(), scope, depth - 1)
        route = getattr(route, "starlette_route", None) or route  # a route in an included router
        match, child = route.matches(dict(scope))
        if match is Match.NONE:
            return False
        if _is_written_out(route, scope):
            return True  # including any application mounted at exactly this path
        inner = route.routes or () if isinstance(route, Mount | Host) else ()
        return depth > 0 and _answers(inner, {**scope, **child}, depth - 1)
    except Exception:  # noqa: BLE001  a custom route that raises; it will raise again when it is called
        return False


def _is_written_out(route: BaseRoute, scope: Scope) -> bool:
    """Return whether a route that matches this path matches no other."""
    if not isinstance(route, Mount) and getattr(route, "param_convertors", None):
        return False
    elsewhere = scope["path"].rstrip("/") + ".elsewhere"
    return bool(route.matches({**scope, "path": elsewhere})[0] is Match.NONE)
