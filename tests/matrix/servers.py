"""The servers of the matrix, each with its own event loop and parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_APP = "tests.matrix.app:app"


class ServedBy(NamedTuple):
    """A server's command line after ``python -m``."""

    label: str
    command: Callable[[int], list[str]]


def _uvicorn(http: str, loop: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        options = ["--http", http, "--loop", loop, "--ws", "none", "--no-access-log"]
        return ["uvicorn", _APP, "--port", str(port), *options]

    return command


def _hypercorn(worker: str) -> Callable[[int], list[str]]:
    return lambda port: ["hypercorn", "-k", worker, "-b", f"127.0.0.1:{port}", _APP]


def _gunicorn(port: int) -> list[str]:
    return ["gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{port}", _APP]


SERVERS = {
    "uvicorn": ServedBy("uvicorn, h11, asyncio", _uvicorn("h11", "asyncio")),
    "uvicorn-httptools": ServedBy("uvicorn, httptools, asyncio", _uvicorn("httptools", "asyncio")),
    "uvicorn-uvloop": ServedBy("uvicorn, httptools, uvloop", _uvicorn("httptools", "uvloop")),
    "hypercorn": ServedBy("hypercorn, asyncio", _hypercorn("asyncio")),
    "hypercorn-uvloop": ServedBy("hypercorn, uvloop", _hypercorn("uvloop")),
    "hypercorn-trio": ServedBy("hypercorn, trio", _hypercorn("trio")),
    "gunicorn": ServedBy("gunicorn, uvicorn-worker", _gunicorn),
}
