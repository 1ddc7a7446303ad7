"""The shop, closing its connections at its leisure when it is stopped.

A server cancels the tasks that outlast its patience, then waits for the application's shutdown, then dies. Tasks
that need a moment to notice that they are cancelled have until then.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from examples.shop.app import app, lifespan


@asynccontextmanager
async def leisurely(app: FastAPI) -> AsyncIterator[None]:
    """Open the shop; close it slowly."""
    async with lifespan(app):
        yield
        await asyncio.sleep(0.5)


app.router.lifespan_context = leisurely
