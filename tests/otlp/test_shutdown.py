"""The last task's signals arrive, however the process ends, although nothing is exported in between."""

import contextlib
import threading
from pathlib import Path

import httpx
import pytest

from tests.otlp import apps
from tests.otlp.receiver import Receiver
from tests.otlp.serving import PATIENT, Process, gunicorn, process, uvicorn
from tests.otlp.visits import ended
from tests.support.interpreter import run_fresh

SLOW = f"{apps.__name__}.slow"

pytestmark = pytest.mark.timeout(120)


def begin_slow(server: Process) -> None:
    """Let the slow task run."""
    assert server.get("/slow") == 200
    server.wait_for(lambda: ("background_task_running", "slow") in running_tasks(server))


def running_tasks(server: Process) -> set[tuple[str, str]]:
    """Return what a scrape says is running."""
    return {
        (name, dict(labels)["background_task_name"].rpartition(".")[2])
        for (name, labels), value in server.scrape().items()
        if name == "background_task_running" and value
    }


def pending_tasks(server: Process) -> set[str]:
    """Return what a scrape says is waiting."""
    return {
        dict(labels)["background_task_name"].rpartition(".")[2]
        for (name, labels), value in server.scrape().items()
        if name == "background_task_pending" and value
    }


def ask_in_vain(server: Process, path: str) -> None:
    """Send a request that is never answered."""
    with contextlib.suppress(httpx.HTTPError):
        server.get(path)


@pytest.mark.parametrize("command", [uvicorn, gunicorn], ids=["uvicorn", "gunicorn"])
def test_a_task_that_ends_during_the_shutdown(command, receiver: Receiver, tmp_path: Path):
    """A task that is still running when the server is told to stop arrives with its span and its numbers.

    The server says once that it waits for it, and once that it had not to cut anything off.
    """
    flag = tmp_path / "flag"
    environment = receiver.environment | PATIENT | {"SLOW_UNTIL": str(flag)}
    with process(command, "configured", tmp_path / "log", **environment) as server:
        assert server.get("/slow") == 200
        server.server.terminate()
        server.wait_for(lambda: server.lines("shutdown.waiting"))
        flag.touch()
        server.server.wait(40)
    [waiting], [ended_line] = server.lines("shutdown.waiting"), server.lines("shutdown.ended")
    assert [entry.partition(" for up to ")[0] for entry in waiting["task_counts"]] == [f"{SLOW}: 1 running"]
    assert (ended_line["task_counts"], ended_line["level"]) == ([], "info")
    assert receiver.outcomes() == [("slow", "succeeded")]
    assert {key: value for key, value in ended(receiver.numbers()).items() if key[0] == "slow"} == {
        ("slow", "succeeded"): 1
    }


def test_a_task_that_outlasts_the_grace(receiver: Receiver, tmp_path: Path):
    """A task that the server cancels at the end of its grace period arrives as cancelled."""
    environment = receiver.environment | PATIENT | {"SLOW_UNTIL": str(tmp_path / "never")}
    options = ["--timeout-graceful-shutdown", "1"]
    with process(uvicorn, "configured", tmp_path / "log", *options, **environment) as server:
        begin_slow(server)
        assert server.stop() == -15
    assert receiver.outcomes() == [("slow", "cancelled")]
    assert ended(receiver.numbers()) == {("slow", "cancelled"): 1}


def test_a_cancelled_task_that_cleans_up(receiver: Receiver, tmp_path: Path):
    """A task that the server cancels may clean up; it arrives with span, numbers and line, as what it skips."""
    options = ["--timeout-graceful-shutdown", "1"]
    with process(uvicorn, "configured", tmp_path / "log", *options, **receiver.environment, **PATIENT) as server:
        assert server.get("/careful") == 200
        server.wait_for(lambda: ("background_task_running", "careful") in running_tasks(server))
        assert server.stop() == -15
    assert "cleaned up" in server.text()
    story = {("careful", "cancelled"), ("behind", "skipped")}
    assert receiver.outcomes() == sorted(story)
    assert ended(receiver.numbers()) == dict.fromkeys(story, 1)
    assert len(server.lines("background_task.cancelled")) == len(server.lines("background_task.skipped")) == 1
    [_], [over] = server.lines("shutdown.waiting"), server.lines("shutdown.ended")
    entries = [f"{apps.__name__}.careful: 1 cancelled", f"{apps.__name__}.behind: 1 skipped"]
    assert (sorted(over["task_counts"]), over["count"], over["level"]) == (sorted(entries), 2, "warning")


def test_a_cancelled_request_that_cleans_up(http_receiver: Receiver, tmp_path: Path):
    """The tasks of a request that the server cancels arrive as dropped, although its endpoint cleans up."""
    options = ["--timeout-graceful-shutdown", "1"]
    environment = http_receiver.environment | PATIENT
    with process(uvicorn, "configured", tmp_path / "log", *options, **environment) as server:
        threading.Thread(target=ask_in_vain, args=(server, "/unanswered"), daemon=True).start()
        server.wait_for(lambda: "behind" in pending_tasks(server))
        assert server.stop() == -15
    assert "cleaned up" in server.text()
    assert http_receiver.outcomes() == [("behind", "dropped")]
    assert len(server.lines("background_task.dropped")) == 1


@pytest.mark.parametrize("path", ["/stubborn", "/detached"])
def test_the_end_does_not_wait_for_ever(path: str, http_receiver: Receiver, tmp_path: Path):
    """A task that goes on although cancelled, or that nobody cancels, does not keep the server from ending."""
    options = ["--timeout-graceful-shutdown", "1"]
    environment = http_receiver.environment | PATIENT
    with process(uvicorn, "configured", tmp_path / "log", *options, **environment) as server:
        server.get(path)
        server.wait_for(lambda: bool(running_tasks(server)))
        assert server.stop() == -15
    assert "cleaned up" not in server.text()
    [_], [over] = server.lines("shutdown.waiting"), server.lines("shutdown.ended")
    assert over["task_counts"] == [f"{apps.__name__}.{'careful' if path == '/detached' else 'stubborn'}: 1 lost"]


def test_a_request_right_before_the_end(http_receiver: Receiver, tmp_path: Path):
    """The tasks of the last request before the signal arrive."""
    environment = http_receiver.environment | PATIENT
    with process(uvicorn, "configured", tmp_path / "log", **environment) as server:
        for path in ("/good", "/bad"):
            server.get(path)
        assert server.stop() == -15
    story = [("charge_card", "failed"), ("resize_picture", "succeeded"), ("send_mail", "skipped")]
    assert http_receiver.outcomes() == sorted([*story, ("send_mail", "succeeded")])
    assert ended(http_receiver.numbers()) == dict.fromkeys(http_receiver.outcomes(), 1)


@pytest.mark.parametrize("lifespan", ["with TestClient(app) as client:", "client = TestClient(app)\n    if True:"])
def test_a_process_that_ends_normally(lifespan: str, http_receiver: Receiver):
    """A script that comes to its end reports everything, with and without the application's lifespan.

    Also a task that was never attached to a response and dies in the last moment.
    """
    code = f"""
    import warnings
    warnings.simplefilter("ignore")  # the test client's own
    from fastapi import BackgroundTasks
    from fastapi.testclient import TestClient
    from tests.otlp.apps import configured
    app = configured()

    @app.get("/dropped")
    async def dropped() -> None:
        BackgroundTasks().add_task(print, "never")

    {lifespan}
        client.get("/good")
        client.get("/dropped")
    """
    run_fresh(code, **http_receiver.environment, **PATIENT)
    story = [("print", "abandoned"), ("resize_picture", "succeeded"), ("send_mail", "succeeded")]
    assert [(name.rpartition(".")[2], outcome) for name, outcome in http_receiver.outcomes()] == story
    assert ended(http_receiver.numbers()) == dict.fromkeys(story, 1)
