"""Run by an environment that has nothing but the wheel: an application, a request, a scrape, a page."""

import http.client
import importlib.metadata
import json
import os
import socket
import threading
import time
from pathlib import Path

import uvicorn
from fastapi import BackgroundTasks, FastAPI

import afterword


async def send_mail() -> None:
    """Be the task."""


os.environ["AFTERWORD_CONSOLE_TOKEN"] = "the-token-of-the-smoke-test"
app = FastAPI()
afterword.instrument(app, console="/afterword")


@app.get("/")
async def endpoint(tasks: BackgroundTasks) -> str:
    """Schedule the task."""
    tasks.add_task(send_mail)
    return "thanks"


def get(port: int, path: str) -> tuple[int, str]:
    """Ask the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def main() -> None:
    """Serve, ask, scrape until the task has ended, and print what was found."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    serving.start()
    answer = get(port, "/")
    task = 'background_task_name="__main__.send_mail",background_task_outcome="succeeded"'
    labels = f'background_task_engine="starlette",{task}'
    succeeded = f"background_task_ended_total{{{labels}}}"
    deadline = time.monotonic() + 10
    metrics = ""
    while f"{succeeded} 1.0" not in metrics and time.monotonic() < deadline:
        metrics = get(port, "/metrics")[1]
        time.sleep(0.05)
    page = get(port, "/afterword/")
    server.should_exit = True
    serving.join(10)
    points = importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="afterword")
    found = {
        "answer": answer,
        "counted": [line for line in metrics.splitlines() if line.startswith(succeeded)],
        "installed at": str(Path(afterword.__file__).parent),
        "entry points": [point.load().__name__ for point in points],
        "page": [page[0], page[1].startswith("<!doctype html>")],
        "version": importlib.metadata.version("afterword") == afterword.__version__,
    }
    print(json.dumps(found))


main()
