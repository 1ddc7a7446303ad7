"""The peers' environments, made by pip in ``.build/bench``; a peer that cannot be installed is left out."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.processes import ROOT

BUILD = ROOT / ".build" / "bench"

# The versions that docs/comparison.md compares.
PEERS: dict[str, list[str]] = {
    "native": ["opentelemetry-sdk=={opentelemetry-sdk}"],
    "contrib": [
        "opentelemetry-sdk=={opentelemetry-sdk}",
        "opentelemetry-instrumentation-fastapi=={opentelemetry-instrumentation-fastapi}",
    ],
    "sentry": ["sentry-sdk==2.75.0"],
    "logfire": ["logfire[fastapi]==5.2.0"],
    "datadog": ["ddtrace==4.16.0"],
    "newrelic": ["newrelic==14.1.0"],
}
_SHARED = ("fastapi", "starlette", "anyio", "pydantic")
_PACKAGES = {
    "native": "fastapi",
    "contrib": "opentelemetry-instrumentation-fastapi",
    "sentry": "sentry-sdk",
    "datadog": "ddtrace",
}


class Environment(NamedTuple):
    """Where a peer lives, or why it does not."""

    python: str
    problem: str = ""


def package_of(peer: str) -> str:
    """Return the distribution that a peer is."""
    return _PACKAGES.get(peer, peer)


def _requirements(peer: str) -> list[str]:
    here = {
        name: version(name) for name in (*_SHARED, "opentelemetry-sdk", "opentelemetry-instrumentation-fastapi")
    }
    shared = [f"{name}=={here[name]}" for name in _SHARED]
    return shared + [requirement.format_map(here) for requirement in PEERS[peer]]


def ensure(peer: str) -> Environment:
    """Make a peer's environment, unless it is there."""
    return made(BUILD / peer, _requirements(peer))


def made(directory: Path, requirements: list[str], python: str = sys.executable) -> Environment:
    """Make an environment of an interpreter with these packages in it, unless it is there."""
    try:
        return _made(directory, requirements, python)
    except (OSError, subprocess.SubprocessError) as exc:
        return Environment("", f"could not be installed: {exc}"[:150])


def _made(directory: Path, requirements: list[str], interpreter: str) -> Environment:
    python = directory / "bin" / "python"
    wanted = " ".join([interpreter, *requirements] if interpreter != sys.executable else requirements)
    stamp = directory / f"{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.stamp"
    if stamp.exists():
        return Environment(str(python))
    print(f"  installing {' '.join(requirements)} in {directory.relative_to(ROOT)}", flush=True)
    directory.mkdir(parents=True, exist_ok=True)
    create = [interpreter, "-m", "venv", "--clear", "--without-pip", str(directory)]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *requirements]
    for command in (create, install):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.strip().splitlines() if line] or ["pip failed"]
            return Environment("", f"could not be installed: {lines[-1][:150]}")
    stamp.touch()
    return Environment(str(python))
