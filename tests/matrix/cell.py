"""One cell of the matrix: the same acts with Afterword and without, on a real server, compared.

As a program (``python -m tests.matrix.cell JSON``) it prints what is wrong, act by act, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from examples.demo.process import free_port
from tests.benchmarks.processes import environment_variables
from tests.matrix.scenarios import HOLD, paths
from tests.matrix.servers import SERVERS
from tests.support import ROOT
from tests.support.alone import loopback_up
from tests.support.processes import server_process
from tests.support.visit import VOLATILE_HEADERS
from tests.support.waiting import wait_until

_PATIENCE = 40.0
Problems = dict[str, dict[str, str]]
"""What is wrong, by act and by what was looked at."""


class BrokenCellError(Exception):
    """The server did not start, or ended."""


class Cell(NamedTuple):
    """Who is there, and on what it runs."""

    name: str
    environment: str
    peer: str = "nobody"
    late: bool = False
    """Whether the peer comes after ours."""
    kind: str = "fastapi"
    server: str = "uvicorn"
    eager: bool = False
    removable: bool = False
    """Whether the peer can be taken out."""


class Drive:
    """The one who sends requests to a server of the matrix."""

    def __init__(self, address: str, kind: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=20.0, trust_env=False)
        self._address = address
        self._kind = kind

    def ask(self, command: str) -> Any:
        """Give the control panel a command."""
        answer = self._client.get(f"/-/{command}")
        answer.raise_for_status()
        return answer.json()

    def scenarios(self) -> dict[str, Any]:
        """Play every scenario, each when the tasks of the one before have ended."""
        return self._report([self._get(path) for path in paths(self._kind)])

    def held(self) -> dict[str, Any]:
        """Take ours out while a task runs and another one waits behind it."""
        seen: list[Any] = []
        request = threading.Thread(target=lambda: seen.append(self._get(HOLD)))
        request.start()
        self.ask("holding")
        self.ask("ours_off")
        self.ask("release")
        request.join(_PATIENCE)
        return self._report(seen)

    def _report(self, seen: list[Any]) -> dict[str, Any]:
        return {"seen": seen, **self.ask("report")}

    def _get(self, path: str) -> list[Any]:
        # a connection of its own, open until the tasks have ended: nobody hangs up on them
        headers = {"x-request-id": "2a6f8a5cf3b84e4f9c6d0a1b2c3d4e5f"}
        with httpx.Client(base_url=self._address, timeout=20.0, trust_env=False, headers=headers) as client:
            try:
                response = client.get(path)
                seen = [path, response.status_code, sorted(_kept(response)), response.text]
            except httpx.HTTPError as exc:
                seen = [path, type(exc).__name__]
            self.ask("quiet")
        return seen

    def scrape(self) -> str:
        """Return what /metrics answers."""
        text = self._client.get("/metrics").text
        self.ask("report")
        return text

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def _kept(response: httpx.Response) -> list[list[str]]:
    return [[name, value] for name, value in response.headers.items() if name not in VOLATILE_HEADERS]


@contextlib.contextmanager
def _serving(cell: Cell, python: str, *, watched: bool) -> Iterator[Drive]:
    """Serve the cell's application in a process group of its own."""
    port = free_port()
    panel = {"peer": cell.peer, "late": cell.late, "watched": watched, "kind": cell.kind, "eager": cell.eager}
    environment = environment_variables() | {"MATRIX": json.dumps(panel), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [python, "-m", *SERVERS[cell.server].command(port)]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        with (
            server_process(command, log, environment) as server,
            contextlib.closing(Drive(f"http://127.0.0.1:{port}", cell.kind)) as drive,
        ):
            try:
                _wait_until_up(drive, server)
                yield drive
            except (httpx.HTTPError, AssertionError) as exc:
                raise BrokenCellError(f"{exc!r}: {log.read_text()[-1500:]}") from None


def _wait_until_up(drive: Drive, server: subprocess.Popen[bytes]) -> None:
    def answers_or_has_ended() -> bool:
        with contextlib.suppress(httpx.TransportError):
            drive.ask("quiet")
            return True
        return server.poll() is not None

    wait_until(answers_or_has_ended, _PATIENCE, lambda: "the server did not start")
    assert server.poll() is None, "the server has ended"


# --- the acts ----------------------------------------------------------------------------------------------------

Acts = dict[str, dict[str, Any]]


def _ours_removed(drive: Drive) -> Acts:
    """Ours is taken out in the middle of a task, put in again; a peer that can be is taken out behind it."""
    acts = {"together": drive.scenarios()}
    acts["scrape"] = {"text": drive.scrape()}
    acts["removed in the middle"] = drive.held()
    acts["removed"] = drive.scenarios()
    drive.ask("ours_on")
    acts["again"] = drive.scenarios()
    return acts


def _peer_removed(drive: Drive) -> Acts:
    """The peer is taken out first, then ours."""
    drive.scenarios()
    drive.ask("peer_off")
    acts = {"peer removed": drive.scenarios()}
    drive.ask("ours_off")
    acts["peer removed, then ours"] = drive.scenarios()
    return acts


def play(cell: Cell, python: str) -> dict[str, Any]:
    """Play a cell's acts with Afterword and without; return what is wrong, and how much the peer says alone."""
    problems: Problems = {}
    said: dict[str, int] = {}
    for act in (_ours_removed, _peer_removed) if cell.removable else (_ours_removed,):
        try:
            unwatched = _acts(cell, python, act, watched=False)
        except BrokenCellError as exc:
            return {"not_run": f"it does not work without Afterword either: {str(exc)[-300:]}"}
        watched = _acts(cell, python, act, watched=True)
        problems |= _compared(cell, watched, unwatched)
        if "together" in unwatched:
            spans = unwatched["together"]["spans"]
            said = {
                "statements": len(unwatched["together"]["telemetry"]),
                "spans of tasks": len(spans["tasks"]),
                "other spans": len(spans["others"]),
            }
    return {"acts": problems, "said": said}


def _acts(cell: Cell, python: str, play_them: Callable[[Drive], Acts], *, watched: bool) -> Acts:
    with _serving(cell, python, watched=watched) as drive:
        return play_them(drive)


def _compared(cell: Cell, watched: Acts, unwatched: Acts) -> Problems:
    problems: Problems = {}
    if "scrape" in watched:
        with_series = "background_task_scheduled_total" in watched.pop("scrape")["text"]
        unwatched.pop("scrape")
        problems["scrape"] = {} if with_series else {"account": "no series of ours at /metrics"}
    for act, ours in watched.items():
        problems[act] = dict(ours["problems"])
        theirs = unwatched[act]
        for aspect in ("seen", "did", "escaped"):
            if ours[aspect] != theirs[aspect]:
                problems[act]["behaviour"] = _difference(aspect, ours[aspect], theirs[aspect])
        if cell.peer != "nobody":
            problems[act] |= _disturbed(act, ours, theirs)
    return problems


def _disturbed(act: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, str]:
    """Return what the peer says otherwise than without us."""
    compared = [("telemetry", ours["telemetry"], theirs["telemetry"])]
    compared += [("request spans", ours["spans"]["others"], theirs["spans"]["others"])]
    if act in ("removed", "peer removed, then ours"):
        compared += [("task spans", ours["spans"]["tasks"], theirs["spans"]["tasks"])]
        compared += [("spans of runs", ours["spans"]["runs"], [])]
    differences = [_difference(what, mine, alone) for what, mine, alone in compared if mine != alone]
    return {"peer": "; ".join(differences)} if differences else {}


def _difference(what: str, ours: list[Any], theirs: list[Any]) -> str:
    more = [each for each in ours if each not in theirs]
    less = [each for each in theirs if each not in ours]
    if not more and not less:
        return f"{what}: in another order or number, {ours}, without ours {theirs}"[:900]
    return f"{what}: {more}, without ours {less}"[:900]


def main(play: Callable[[Cell, str], dict[str, Any]]) -> None:
    """Play the cell that is given on the command line, and print what is wrong with it."""
    spec = json.loads(sys.argv[1])
    if "--alone" in sys.argv:
        loopback_up()
    try:
        answer = play(Cell(**spec["cell"]), spec["python"])
    except BrokenCellError as exc:
        answer = {"broken": str(exc)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(play)
