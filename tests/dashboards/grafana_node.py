"""A Node environment with Grafana's published schema, TypeScript, and the grammars of the query languages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT

DIRECTORY = ROOT / ".build" / "grafana"

PACKAGES = {
    "typescript": "5.9.3",
    "@grafana/schema": "11.6.14",
    "@grafana/lezer-logql": "0.2.7",
    "@grafana/lezer-traceql": "0.0.21",
    "@lezer/common": "1.2.3",
    "@lezer/highlight": "1.2.1",
    "@lezer/lr": "1.4.2",
}


def node_environment() -> Path:
    """Install what is needed, unless it is there, and return the directory."""
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            raise AssertionError(
                f"{program} is missing; the dashboards' types are checked with it: install Node.js"
            )
    stamp = DIRECTORY / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == PACKAGES:
        return DIRECTORY
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "package.json").write_text('{"private": true, "type": "module"}\n')
    options = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run(["npm", "install", *options, *(f"{name}@{version}" for name, version in PACKAGES.items())])
    stamp.write_text(json.dumps(PACKAGES))
    return DIRECTORY


def run(command: list[str], stdin: str | None = None) -> str:
    """Run a command there and return its output; what it complains of becomes the failure."""
    done = subprocess.run(
        command,
        cwd=DIRECTORY,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
