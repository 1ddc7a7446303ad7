"""The console on real servers: one view over all workers, and streams that hold up no shutdown."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.demo.process import free_port
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import wait_until
from tests.workers.servers import is_up

pytestmark = pytest.mark.timeout(120)
APP = "tests.workers.console_app:app"
UVICORN = ["-m", "uvicorn", "--port", "PORT", APP]
GUNICORN = ["-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:PORT", APP]
HYPERCORN = ["-m", "hypercorn", "-b", "127.0.0.1:PORT", APP]
SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn, h11": [*UVICORN, "--http", "h11"],
    "uvicorn, two workers": [*UVICORN, "--workers", "2"],
    "gunicorn": [*GUNICORN, "-w", "1"],
    "gunicorn, two workers": [*GUNICORN, "-w", "2", "--preload"],
    "hypercorn": HYPERCORN,
}
ADDRESS = re.compile(r'afterword.console path="?([^" ]*)#token=([\w-]+)')


class Console:
    """A server with a console, as a browser sees it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url, self.process, self.log = url, process, log
        wait_until(lambda: ADDRESS.search(log.read_text()), why=log.read_text)
        self.said = ADDRESS.findall(log.read_text())
        self.known = {"authorization": f"Bearer {self.said[0][1]}"}

    def get(self, path: str) -> httpx.Response:
        """Ask on a connection of its own, which any worker may get."""
        return httpx.get(self.url + path, headers=self.known, timeout=10)

    def each(self, path: str, count: int = 2) -> dict[str, Any]:
        """Ask until so many workers have answered; return the answers by worker."""
        answers: dict[str, Any] = {}

        def ask() -> bool:
            answer = self.get(path)
            assert answer.status_code == 200, answer.text
            answers[answer.headers["x-pid"]] = answer.json()
            return len(answers) == count

        wait_until(ask, why=lambda: answers)
        return answers


@contextlib.contextmanager
def serving(server: list[str], directory: Path, **environment: str) -> Iterator[Console]:
    """Run a server, until it is up."""
    port, log = free_port(), directory / "log"
    command = [sys.executable, *(part.replace("PORT", str(port)) for part in server)]
    surroundings = plain_environment() | {"PYTHONWARNINGS": "", "TMPDIR": str(directory)} | environment
    with server_process(command, log, surroundings) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(url), why=log.read_text)
        yield Console(url, process, log)


def test_either_worker_shows_the_runs_of_both_and_what_was_lost(tmp_path: Path):
    """Who asks one worker is told of all, and of one that was killed which runs it has lost, by name."""
    with serving(SERVERS["uvicorn, two workers"], tmp_path, JOURNAL=str(tmp_path / "journal")) as console:
        quick = {pid: run for pid, [run] in console.each("/quick").items()}
        with httpx.Client(base_url=console.url) as browser:  # one connection, and so one worker
            pid = browser.get("/held").headers["x-pid"]
            with contextlib.suppress(httpx.HTTPError):
                browser.get("/endless", timeout=2)
        in_flight = next(iter(console.each("/afterword/api/now").values()))
        [held] = [process for process in in_flight["processes"] if process["runs"]]
        [lost] = held["runs"]
        assert (lost["task"], lost["state"], str(held["pid"])) == ("endless", "running", pid)
        os.kill(int(pid), signal.SIGKILL)

        def is_told() -> bool:
            runs = console.get("/afterword/api/runs?outcome=lost").json()["runs"]
            return [run["task_run"] for run in runs] == [lost["task_run"]]

        wait_until(is_told, why=console.log.read_text)
        for answer in console.each("/afterword/api/runs").values():
            outcomes = {run["task_run"]: (run["task"], run["outcome"]) for run in answer["runs"]}
            assert outcomes[lost["task_run"]] == ("endless", "lost")
            assert {outcomes[run] for run in quick.values()} == {("quick", "succeeded")}
        for answer in console.each("/afterword/api/summary").values():
            assert answer["outcomes"]["lost"] == 1
            assert [cause["task"] for cause in answer["causes"]] == ["endless"]
        # the new worker has the same token, and does not say it again
        assert len(ADDRESS.findall(console.log.read_text())) == 1


@pytest.mark.parametrize("which", SERVERS)
def test_the_address_in_the_log_opens_the_console(which: str, tmp_path: Path):
    """One line of one worker has the address: with uvicorn the whole of it. Every worker knows the token."""
    with serving(SERVERS[which], tmp_path) as console:
        [(where, token)] = console.said
        assert where == (f"{console.url}/afterword/" if which.startswith("uvicorn") else "/afterword/")
        console.each("/afterword/api/summary", 2 if "two" in which else 1)
        session = console.get("/afterword/api/session")
        assert session.status_code == 204
        name, _, value = session.headers["set-cookie"].partition(";")[0].partition("=")
        answer = httpx.get(f"{console.url}/afterword/api/now", cookies={name: value}, timeout=10)
        assert answer.status_code == 200
        httpx.get(f"{console.url}/afterword/?token={'x' * 43}", timeout=10)
        assert console.log.read_text().count(token) == 1


@pytest.mark.parametrize("which", SERVERS)
def test_a_server_ends_although_pages_are_open(which: str, tmp_path: Path):
    """On SIGTERM every stream ends with its last byte, and a page that does not read holds up nothing."""
    with serving(SERVERS[which], tmp_path) as console, contextlib.ExitStack() as pages:
        # a worker that is still being started may miss the signal
        console.each("/afterword/api/summary", 2 if "two" in which else 1)
        client = pages.enter_context(httpx.Client(timeout=30))
        answers = [
            pages.enter_context(client.stream("GET", f"{console.url}/afterword/api/events", headers=console.known))
            for _ in range(4)
        ]
        streams = [answer.iter_text() for answer in answers]
        assert all(next(stream).startswith("retry: 1000") for stream in streams)
        stuck = pages.enter_context(socket.create_connection(("127.0.0.1", httpx.URL(console.url).port or 0)))
        known = f"authorization: {console.known['authorization']}"
        stuck.sendall(f"GET /afterword/api/events HTTP/1.1\r\nhost: x\r\n{known}\r\n\r\n".encode())
        console.process.terminate()
        wait_until(lambda: console.process.poll() is not None, why=console.log.read_text)
        if which == "hypercorn":  # which breaks off what is open
            return
        for stream in streams:
            assert "".join(stream).count("data:") == 0
        log = console.log.read_text()
        assert "Traceback" not in log
        assert "ASGI callable returned" not in log


def test_a_page_is_told_through_middleware(tmp_path: Path):
    """What the application wraps around every answer holds no event back."""
    with serving(UVICORN, tmp_path) as console, contextlib.ExitStack() as pages:
        client = pages.enter_context(httpx.Client(timeout=30))
        events = client.stream("GET", f"{console.url}/afterword/api/events", headers=console.known)
        lines = pages.enter_context(events).iter_lines()
        assert next(lines) == "retry: 1000"
        [run] = console.get("/quick").json()
        ended = (json.loads(line[6:])["ended"] for line in lines if line.startswith("data: "))
        assert next(found for found in ended if found)[0]["task_run"] == run
        assert console.get(f"/afterword/api/runs/{run}").json()["run"]["outcome"] == "succeeded"
