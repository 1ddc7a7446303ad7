"""Which requests are for Afterword itself: scrapes, and what the console is asked for. They are in no account."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from .._common.http_request import is_below, path_within
from .._ledger.instrumentation import ATTRIBUTE, Instrumentation, consoles

_OF_CONSOLE: Final = "(?:/?$|/(?:api|static)/)"
_MAX_DEPTH: Final = 10


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
