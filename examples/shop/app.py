"""The shop: an ordinary FastAPI application, and one line that accounts for its background tasks.

``uvicorn examples.shop.app:app`` serves it, ``make demo`` serves it and shows what happens.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
from fastapi import FastAPI, Request, Response
from starlette.background import BackgroundTask

from afterword import configure, instrument
from afterword.logs import ReportedFilter

from . import orders, pages, store
from .settings import settings
from .tasks import meter_usage, open_ticket, tell_operator

log = structlog.get_logger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the shop."""
    store.prepare()
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
    log.info("shop opened", database=str(settings.database), mail_server_port=settings.smtp_port)
    yield
    log.info("shop closed")


async def meter_partners(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Middleware: count what partners ask for, after they have been answered."""
    response = await call_next(request)
    if partner := request.headers.get("x-partner"):
        response.background = BackgroundTask(meter_usage, partner)
    return response


def create_app() -> FastAPI:
    """Build the shop."""
    app = FastAPI(title="The shop", lifespan=lifespan)
    instrument(app, on_request_error=[tell_operator], on_task_failure=[open_ticket])
    app.middleware("http")(meter_partners)
    app.include_router(orders.router)
    app.include_router(pages.router)
    return app


configure("shop")
# uvicorn need not print again what is in our log already
logging.getLogger("uvicorn.error").addFilter(ReportedFilter())
app = create_app()
