"""Node environments with packages from npm, each in a folder of its own below ``.build``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import ROOT

TYPESCRIPT = "5.9.3"
CONSOLE = {"typescript": TYPESCRIPT, "axe-core": "4.11.0"}
"""What the console's page is checked with."""
_OPTIONS = ("--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def node_environment(name: str, packages: Mapping[str, str]) -> Path:
    """Install packages of these versions, unless they are there, and return the directory."""
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            raise AssertionError(f"{program} is missing: install Node.js")
    directory = ROOT / ".build" / name
    stamp = directory / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == packages:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
    run(directory, ["npm", "install", *_OPTIONS, *(f"{one}@{version}" for one, version in packages.items())])
    stamp.write_text(json.dumps(packages))
    return directory


def run(directory: Path, command: Sequence[str], stdin: str | None = None) -> str:
    """Run a command there and return its output; what it complains of becomes the failure."""
    done = subprocess.run(
        command,
        cwd=directory,
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
