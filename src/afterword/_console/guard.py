"""Lets in whom FastAPI dependencies of the user's let in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_NAME: Final = "afterword_console"
_LET_IN: Final = "afterword.let_in"
"""Where the scope says that every dependency was satisfied."""


class DependencyAccess:
    """Lets in whoever satisfies the dependencies. Whom one of them refuses gets its answer, as anywhere else."""

    is_theirs = True

    def __init__(self, app: FastAPI, dependencies: Sequence[Depends]) -> None:
        route: Any = APIRoute(
            "/{path:path}",
            _let_in,
            dependencies=list(dependencies),
            include_in_schema=False,
            response_model=None,
            name=_NAME,
            operation_id=_NAME,
            # for tests of the user's, as with any other route
            dependency_overrides_provider=app,
        )
        self._app = route.app

    async def admits(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Return whether all dependencies are satisfied; if not, the answer of the one that refused was sent.

        They are over when this returns: what one of them has opened is not held open for a stream.
        """
        asked = {**scope, _LET_IN: False, "path_params": {}}

        async def send_refusal(message: Message) -> None:
            if not asked[_LET_IN]:
                await send(message)

        await self._app(asked, receive, send_refusal)
        return bool(asked[_LET_IN])

    def cookie(self, scope: Scope) -> None:
        """Return no cookie: the dependencies know whom they let in."""


async def _let_in(request: Request) -> Response:
    request.scope[_LET_IN] = True
    return Response(status_code=204)
