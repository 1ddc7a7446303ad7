"""The structlog configurations that are shown: each prints a failed task's traceback, and none its arguments."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme.test_readme import Block, blocks
from tests.support import ROOT

FAILS = """

from fastapi import BackgroundTasks, FastAPI
from afterword import instrument
from tests.support.asgi import ask

def charge(card: str) -> None:
    raise ConnectionError("no bank")

app = FastAPI()
instrument(app)

@app.get("/")
def pay(tasks: BackgroundTasks) -> None:
    tasks.add_task(charge, "4111" * 4)

ask(app)
"""
CONFIGURING = [block for block in blocks() if "structlog.configure(" in block.code]
DICTIONARIES = """
import structlog
structlog.configure(processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()])
"""


def printed(configuration: str, folder: Path) -> str:
    """Return what an application prints whose one task fails."""
    file = folder / "block.py"
    file.write_text(configuration + FAILS)
    command = [sys.executable, "-m", "tests.readme.run_block", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert "background_task.failed" in done.stdout, done.stderr
    return done.stdout


def test_the_configurations_are_found():
    """The page for production has two, and the page on log lines one."""
    pages = ["docs/how-to/before-production.md"] * 2 + ["docs/how-to/your-own-logs.md"]
    assert [block.page for block in CONFIGURING] == pages


@pytest.mark.parametrize("block", CONFIGURING, ids=lambda block: f"{block.page} line {block.line}")
def test_tracebacks_without_arguments(block: Block, tmp_path: Path):
    """The frame and the error are printed, and not what the task was called with."""
    told = printed(block.code, tmp_path)
    assert "no bank" in told
    assert "block.py" in told
    assert "charge" in told
    assert "4111" * 4 not in told


def test_local_variables_are_the_renderers(tmp_path: Path):
    """A renderer that prints local variables prints a task's arguments, as the page says."""
    assert "4111" * 4 in printed(DICTIONARIES, tmp_path)
