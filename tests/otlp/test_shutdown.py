"""The last task's signals arrive, however the process ends, although nothing is exported in between."""

from pathlib import Path

import pytest

from tests.otlp.receiver import Receiver
from tests.otlp.serving import PATIENT, Process, gunicorn, process, uvicorn
from tests.otlp.visits import ended
from tests.parts.interpreter import run_fresh

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


@pytest.mark.parametrize("command", [uvicorn, gunicorn], ids=["uvicorn", "gunicorn"])
def test_a_task_that_ends_during_the_shutdown(command, receiver: Receiver, tmp_path: Path):
    """A task that is still running when the server is told to stop arrives with its span and its numbers."""
    flag = tmp_path / "flag"
    environment = receiver.environment | PATIENT | {"SLOW_UNTIL": str(flag)}
    with process(command, "configured", tmp_path / "log", **environment) as server:
        assert server.get("/slow") == 200
        server.server.terminate()
        server.wait_for(lambda: "hutting down" in server.text() or "Waiting for background" in server.text())
        flag.touch()
        server.server.wait(40)
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
