"""Workers that nobody has told to add up their numbers: each says so once, and only where there are several."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from examples.demo.process import free_port
from tests.support.processes import server_process
from tests.support.waiting import wait_until
from tests.workers.servers import APP, is_up

pytestmark = pytest.mark.timeout(120)
WARNING = "one of several workers of "

UVICORN = ["-m", "uvicorn", "--port", "PORT", "--no-access-log", APP]
GUNICORN = ["-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:PORT", APP]
HYPERCORN = ["-m", "hypercorn", "-b", "127.0.0.1:PORT", APP]
RUN = "import uvicorn; uvicorn.run({app!r}, port=PORT, workers={workers})"
SERVERS = {
    "uvicorn": ([*UVICORN, "--workers", "2"], 2),
    "uvicorn in code": (["-c", "if __name__ == '__main__': " + RUN.format(app=APP, workers=2)], 2),
    "uvicorn with one worker": ([*UVICORN, "--workers", "1"], 0),
    "uvicorn that reloads": ([*UVICORN, "--reload", "--reload-dir", "tests/workers"], 0),
    "gunicorn": ([*GUNICORN, "-w", "2"], 2),
    "gunicorn with one application for all": ([*GUNICORN, "-w", "2", "--preload"], 1),
    "gunicorn with one worker": ([*GUNICORN, "-w", "1"], 0),
    "hypercorn": ([*HYPERCORN, "-w", "2"], 2),
    "hypercorn with one worker": ([*HYPERCORN, "-w", "1"], 0),
}


@pytest.mark.parametrize("which", SERVERS)
def test_each_of_several_workers_says_once_that_it_counts_alone(which: str, tmp_path: Path):
    """A worker with siblings names the remedy once; one by itself, also one that a reloader starts, is silent."""
    command, warnings = SERVERS[which]
    port, log = free_port(), tmp_path / "log"
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    address = f"http://127.0.0.1:{port}"
    arguments = [sys.executable, *(part.replace("PORT", str(port)) for part in command)]
    with server_process(arguments, log, environment | {"PYTHONWARNINGS": ""}):
        wait_until(lambda: is_up(address), why=log.read_text)
        wait_until(lambda: log.read_text().count(WARNING) >= warnings, why=log.read_text)
        assert httpx.get(f"{address}/metrics", timeout=10).status_code == 200
    lines = [line for line in log.read_text().splitlines() if WARNING in line]
    assert len(lines) == warnings, log.read_text()
    server = which.partition(" ")[0]
    assert all(f"{WARNING}{server}," in line and "PROMETHEUS_MULTIPROC_DIR" in line for line in lines)


LATE = """
import os, sys
import prometheus_client
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from fastapi import FastAPI
from fastapi.testclient import TestClient
from afterword import instrument
app = FastAPI()
instrument(app)
print(TestClient(app).get("/metrics").text)
"""


def test_a_directory_that_is_named_too_late(tmp_path: Path):
    """Where prometheus_client was imported before the variable was set, one warning says so; all is counted."""
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "afterword_info{" in done.stdout
    assert done.stderr.count("was set after prometheus_client was imported") == 1
