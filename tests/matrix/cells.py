"""Every cell, and what the environments hold."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.benchmarks.environments import PEERS as MEASURED_PEERS
from tests.matrix.cell import Cell
from tests.support import ROOT

PYTHONS = ("3.11", "3.12", "3.13")
_SERVERS = [
    "gunicorn>=23",
    "httptools>=0.6",
    "hypercorn[trio]>=0.17",
    "uvicorn>=0.30",
    "uvicorn-worker>=0.2",
    "uvloop>=0.21",
]

# What FastAPI changed: yield exits after the response, and, from 0.142 on, telemetry and a `__call__` of its own.
_VERSIONS = {
    "fastapi-0.117": ["fastapi==0.117.1"],
    "fastapi-0.128": ["fastapi==0.128.8"],
    "fastapi-0.141": ["fastapi==0.141.1"],
    "fastapi-0.142": ["fastapi==0.142.0"],
}
_PEERS = {
    "opentelemetry": [],
    "logfire": MEASURED_PEERS["logfire"],
    "sentry": MEASURED_PEERS["sentry"],
    "datadog": MEASURED_PEERS["datadog"],
    "newrelic": MEASURED_PEERS["newrelic"],
    "instrumentator": ["prometheus-fastapi-instrumentator==8.1.0"],
    "correlation-id": ["asgi-correlation-id==5.0.1"],
    "celery-sentry": ["celery[redis]>=5.4", *MEASURED_PEERS["sentry"]],
    "celery-datadog": ["celery[redis]>=5.4", *MEASURED_PEERS["datadog"]],
}


def _ours() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _oldest() -> list[str]:
    lines = (ROOT / "tests" / "oldest.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def requirements(environment: str) -> list[str]:
    """Return what an environment holds beside what Afterword depends on."""
    name = environment.partition("/")[0]
    if name in _PEERS:
        return [*_ours(), "uvicorn>=0.30", *_PEERS[name]]
    if name == "oldest":
        return [*_ours(), *_SERVERS, *_oldest()]
    return [*_ours(), *_SERVERS, *_VERSIONS.get(name, [])]


@cache
def interpreter(environment: str) -> str | None:
    """Return the interpreter of an environment, which may name a version behind a slash; `None`: not here."""
    version = environment.partition("/")[2]
    if not version or version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    candidates = [shutil.which(f"python{version}")]
    candidates += map(str, sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python{version}")))
    for candidate in candidates:
        if candidate and _has_venv(candidate):
            return candidate
    return None


def _has_venv(python: str) -> bool:
    command = [python, "-c", "import venv, ssl, sqlite3"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- the cells ---------------------------------------------------------------------------------------------------


def _peer(name: str, environment: str, *, removable: bool = False, early_only: bool = False) -> Iterator[Cell]:
    yield Cell(f"{name}-early", environment, name, removable=removable)
    if not early_only:
        yield Cell(f"{name}-late", environment, name, late=True, removable=removable)


def peers() -> list[Cell]:
    """Return the cells of those who watch the same application."""
    return [
        *_peer("native-off", "opentelemetry", early_only=True),
        *_peer("native", "opentelemetry", early_only=True),
        *_peer("native-own-providers", "opentelemetry", early_only=True),
        *_peer("contrib", "opentelemetry", removable=True),
        *_peer("contrib-own-provider", "opentelemetry", removable=True),
        *_peer("contrib-asgi", "opentelemetry"),
        *_peer("logfire", "logfire", removable=True),
        *_peer("sentry", "sentry"),
        *_peer("datadog", "datadog", removable=True),
        *_peer("newrelic", "newrelic"),
        *_peer("instrumentator", "instrumentator"),
        *_peer("correlation-id", "correlation-id"),
    ]


def celery() -> list[Cell]:
    """Return the cells of those who watch the same Celery application."""
    return [
        Cell(f"celery-{peer}-{when}", f"celery-{peer}", peer, late=when == "late", kind="celery")
        for peer in ("sentry", "datadog")
        for when in ("early", "late")
    ]


def runtimes() -> list[Cell]:
    """Return the cells of interpreters, event loops, servers and versions of FastAPI."""
    cells = []
    servers = ("uvicorn", "uvicorn-httptools", "uvicorn-uvloop", "hypercorn", "hypercorn-uvloop", "hypercorn-trio")
    for python, server in itertools.product(PYTHONS, (*servers, "gunicorn")):
        cells.append(Cell(f"py{python}-{server}", f"newest/{python}", server=server))
        if server in ("uvicorn", "uvicorn-uvloop") and python != "3.11":  # eager tasks came with 3.12
            cells.append(Cell(f"py{python}-{server}-eager", f"newest/{python}", server=server, eager=True))
    for version in ("oldest", *_VERSIONS, "oldest/3.13"):
        name = version.replace("/", "-py")
        cells += [Cell(f"{name}-{server}", version, server=server) for server in ("uvicorn", "hypercorn-trio")]
    for version in ("oldest", "newest/3.13"):
        name = version.partition("/")[0]
        cells += [
            Cell(f"starlette-{name}-{server}", version, kind="starlette", server=server)
            for server in ("uvicorn", "uvicorn-uvloop", "hypercorn-trio")
        ]
    return cells


def selected(words: list[str]) -> list[Cell]:
    """Return the cells whose name has one of the words in it, or all of them."""
    every = [*peers(), *celery(), *runtimes()]
    return [cell for cell in every if not words or any(word in cell.name for word in words)]
