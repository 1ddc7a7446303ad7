"""An application whose async task calls what it should await, and holds up its loop."""

import time

from fastapi import BackgroundTasks, FastAPI

from afterword import instrument

app = FastAPI()
instrument(app)


async def make_thumbnail() -> None:
    """Compute, for longer than a second."""
    time.sleep(1.6)  # noqa: ASYNC251  that is its fault


@app.get("/health")
async def health() -> None:
    """Answer, when the loop lets it."""


@app.post("/pictures")
async def pictures(tasks: BackgroundTasks) -> None:
    """Make a thumbnail after the answer."""
    tasks.add_task(make_thumbnail)
