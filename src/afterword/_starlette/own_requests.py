"""Which requests are for Afterword itself: scrapes, and what the console is asked for. They are in no account."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Scope

from .._common.http_request import is_below, path_within
from .._ledger.instrumentation import Instrumentation

_OF_CONSOLE: Final = "(?:/?$|/(?:api|static)/)"


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


def patterns(instrumentation: Instrumentation) -> list[str]:
    """Return regular expressions that find the addresses of our own routes, for who knows no more than those."""
    route, console = instrumentation.route, instrumentation.console
    return [
        *([f"{re.escape(route.path)}$"] if route is not None else []),
        *([f"{re.escape(console.path)}{_OF_CONSOLE}"] if console is not None else []),
    ]
