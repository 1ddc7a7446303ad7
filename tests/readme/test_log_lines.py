"""What the first pages say of where log lines are seen: with plain uvicorn, and with each of two ways."""

import re
from pathlib import Path

import pytest

from tests.readme.test_readme import quick_start
from tests.support import ROOT
from tests.support.interpreter import run_fresh

PAGE = (ROOT / "docs" / "getting-started.md").read_text()
[BASIC_CONFIG] = re.findall(r"^logging\.basicConfig\(.*\)$", PAGE, re.MULTILINE)

SERVED = """
import logging
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException
import afterword
from tests.support.asgi import ask

{setting}
app = FastAPI()
afterword.instrument(app)
uvicorn.Config(app)  # which is where uvicorn configures its loggers

async def send_receipt() -> None: ...

@app.get("/{{order}}")
async def order(order: int, tasks: BackgroundTasks) -> None:
    tasks.add_task(send_receipt)
    if order == 13:
        raise HTTPException(409)

ask(app, "/7")
ask(app, "/13")
"""


def lines(setting: str) -> dict[str, str]:
    """Serve an application whose one task succeeds and is dropped; return its log lines by event."""
    printed, complained = run_fresh(SERVED.format(setting=setting))
    found = re.findall(r"^.*background_task\.(succeeded|dropped).*$", printed + complained, re.MULTILINE)
    return {event: next(x for x in (printed + complained).splitlines() if f".{event}" in x) for event in found}


def test_plain_uvicorn_shows_no_success_and_bare_warnings():
    """Without any configuration a success is not seen, and a warning begins with its event."""
    seen = lines("")
    assert list(seen) == ["dropped"]
    assert seen["dropped"].startswith("background_task.dropped ")


@pytest.mark.parametrize("setting", [BASIC_CONFIG, 'afterword.configure("orders")'], ids=["logging", "configure"])
def test_each_way_shows_every_line_with_time_and_level(setting: str):
    """What the page puts in place of it shows both lines, with time and level."""
    seen = lines(setting)
    assert list(seen) == ["succeeded", "dropped"]
    for line, level in zip(seen.values(), ("info", "warning"), strict=True):
        assert re.search(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d", line)
        assert level in line.lower()


def test_the_quick_start_leaves_the_line_and_the_number_that_are_shown(tmp_path: Path):
    """The README's dropped task leaves the very line and the very number that it shows, but for the ids."""
    (tmp_path / "main.py").write_text(quick_start())
    code = """
    import sys

    import uvicorn
    from prometheus_client import REGISTRY, generate_latest

    from tests.support.asgi import ask

    sys.path.insert(0, sys.argv[1])
    from main import app

    uvicorn.Config(app)
    ask(app, "/orders/7", "POST")
    ask(app, "/orders/13", "POST")
    print(generate_latest(REGISTRY).decode())
    """
    printed, complained = run_fresh(code, arguments=[str(tmp_path)])
    left = re.sub(r" (?:task_run|trace_id|span_id)=\w+", "", printed + complained).splitlines()
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"^background_task[._].*$", readme, re.MULTILINE)
    assert len(shown) == 2
    assert [line for line in shown if line not in left] == []
