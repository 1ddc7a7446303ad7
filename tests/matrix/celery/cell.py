"""One cell of Celery's: the same tasks three times, with the peer, with ours and with both, compared.

As a program (``python -m tests.matrix.celery.cell JSON``) it prints what is wrong, by what was compared, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.processes import environment_variables
from tests.celery.brokers import HAS_REDIS, Redis, free_port, redis_server
from tests.celery.stage import Numbers, numbers_of
from tests.matrix.celery.scenarios import SCENARIOS, WITHOUT_RESULT
from tests.matrix.cell import BrokenCellError, Cell, main
from tests.support import ROOT
from tests.support.processes import server_process
from tests.support.waiting import wait_until

_PATIENCE = 60.0
_OF_TASKS = "background_task."
_OURS = (_OF_TASKS, "afterword.")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# one child: of two, the one that has ended an attempt may note it after the other has ended the next one
_WORKER = "worker -P prefork -c1 -Q shop -n w@%h --without-gossip --without-mingle --without-heartbeat -l INFO"


class Told(NamedTuple):
    """What came of all scenarios in one constellation."""

    application: list[str]
    """How each task ended for Celery, and what the tasks did."""
    numbers: Numbers
    """Our metrics of both processes."""
    spans: list[str]
    lines: list[str]
    peer: list[str]
    """What the peer says."""


def play(cell: Cell, python: str) -> dict[str, Any]:
    """Play a cell; return what is wrong, and how much the peer says alone."""
    if not HAS_REDIS:
        return {"not_run": "there is no Redis here"}
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as redis:
        try:
            alone = _Play(cell, python, redis, watched=False).told()
        except BrokenCellError as exc:
            return {"not_run": f"it does not work without Afterword either: {str(exc)[-300:]}"}
        ours = _Play(cell._replace(peer="nobody"), python, redis, watched=True).told()
        both = _Play(cell, python, redis, watched=True).told()
    acts = {
        "the application": _compared(("behaviour", both.application, alone.application)),
        "the account": _compared(
            ("metrics", _texts(both.numbers), _texts(ours.numbers)),
            ("spans", both.spans, ours.spans),
            ("lines", both.lines, ours.lines),
        )
        | _unlawful(both.numbers),
        "the peer": _compared(("peer", both.peer, alone.peer)),
    }
    if not alone.peer:
        acts["the peer"]["peer"] = "it says nothing"
    return {"acts": acts, "said": {"statements": len(alone.peer)}}


def _texts(numbers: Numbers) -> list[str]:
    return sorted(f"{value} {key}" for key, value in numbers.items())


def _compared(*pairs: tuple[str, list[str], list[str]]) -> dict[str, str]:
    found = {}
    for what, mine, other in pairs:
        more, less = Counter(mine) - Counter(other), Counter(other) - Counter(mine)
        if more or less:
            found[what] = f"together {dict(more)}, alone {dict(less)}"[:900]
    return found


def _unlawful(numbers: Numbers) -> dict[str, str]:
    """Say for which tasks the law does not hold."""
    sums: dict[str, Counter[str]] = {}
    for key, value in numbers.items():
        what, name, *rest = key.split()
        side = sums.setdefault(name, Counter())
        side[what] += value
        if what == "ended" and rest[0] in ("succeeded", "failed", "cancelled"):
            side["run"] += value
    broken = [
        f"{name}: {dict(side)}"
        for name, side in sums.items()
        if side["scheduled"] != side["ended"] or side["started"] < side["returned"] or side["running"]
    ]
    return {"law": "; ".join(broken)} if broken else {}


class _Play:
    """One constellation: a worker and a publisher, in the cell's environment."""

    def __init__(self, cell: Cell, python: str, redis: Redis, *, watched: bool) -> None:
        self._python = python
        self._redis = redis
        self._watched = watched
        self._port = free_port()
        panel = {"peer": cell.peer, "late": cell.late, "watched": watched}
        self._environment = environment_variables() | {
            "MATRIX": json.dumps(panel),
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PYTHONWARNINGS": "ignore",
            "SHOP_BROKER": redis.url,
            "SHOP_RESULTS": redis.results,
        }

    def told(self) -> Told:
        """Play all scenarios, one after the other, and return what is told."""
        self._redis.client.flushall()
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            self._environment["SHOP_FOLDER"] = directory
            ends, numbers = self._played(folder)
            read = {name: _read(folder / f"{name}.jsonl") for name in ("lines", "spans", "peer")}
        did = [str(line["event"]) for line in read["lines"] if not str(line["event"]).startswith(_OURS)]
        return Told(
            ends + did,
            numbers,
            [_span(span, read["spans"]) for span in read["spans"]],
            [_line(line) for line in read["lines"] if str(line["event"]).startswith(_OF_TASKS)],
            [_ID.sub("ID", str(entry["says"])) for entry in read["peer"]],
        )

    def _played(self, folder: Path) -> tuple[list[str], Numbers]:
        log = folder / "worker.log"
        at = {"AFTERWORD_WORKER_METRICS_PORT": str(self._port), "AFTERWORD_WORKER_METRICS_HOST": "127.0.0.1"}
        command = [self._python, "-m", "celery", "-A", "tests.matrix.celery.shop", *_WORKER.split()]
        with (
            server_process(command, log, self._environment | at, grace=20) as worker,
            self._publisher(folder) as publisher,
            Celery(broker=self._redis.url, backend=self._redis.results, set_as_current=False) as app,
        ):
            try:
                wait_until(lambda: b" ready." in log.read_bytes() or worker.poll() is not None, _PATIENCE)
                ends = [f"{name}: {self._end(app, publisher, name)}" for name in SCENARIOS]
                numbers = self._numbers(publisher)
            except (AssertionError, httpx.HTTPError, ValueError) as exc:
                said = (folder / "publisher.log").read_text()[-700:]
                raise BrokenCellError(f"{exc!r}: {log.read_text()[-1500:]} {said}") from None
        return ends, numbers

    @contextlib.contextmanager
    def _publisher(self, folder: Path) -> Iterator[subprocess.Popen[str]]:
        with (folder / "publisher.log").open("w") as log:
            process = subprocess.Popen(
                [self._python, "-m", "tests.matrix.celery.publisher"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                yield process
            finally:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=20)
                process.kill()
                process.wait(10)

    def _end(self, app: Celery, publisher: subprocess.Popen[str], name: str) -> str:
        """Publish one scenario; return what Celery says of it when nothing moves any more."""
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        publisher.stdin.write(f"{name}\n")
        publisher.stdin.flush()
        said = json.loads(publisher.stdout.readline())
        if "raised" in said:
            return str(said["raised"])
        result = app.AsyncResult(said["id"])
        if name != WITHOUT_RESULT and not said["said"]:
            wait_until(result.ready, _PATIENCE, lambda: f"{name} does not end")
        wait_until(lambda: self._is_quiet(app) and self._is_quiet(app), _PATIENCE, lambda: f"{name} goes on")
        value = _ID.sub("ID", repr(result._get_task_meta()["result"]))
        return f"{said['said'] or result.state} {value}"

    def _is_quiet(self, app: Celery) -> bool:
        """Return whether no message is in the queue, and none in the worker."""
        redis = self._redis.client
        if redis.llen("shop") or redis.hlen("unacked"):
            return False
        inspect = app.control.inspect(timeout=5, limit=1)
        held = [answer for look in (inspect.reserved, inspect.scheduled, inspect.active) for answer in [look()]]
        return all(answer is not None and not any(answer.values()) for answer in held)

    def _numbers(self, publisher: subprocess.Popen[str]) -> Numbers:
        if not self._watched:
            return Counter()
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        publisher.stdin.close()
        published = _parsed(json.loads(publisher.stdout.readline())["metrics"])
        publisher.stdin = None

        def numbers() -> Numbers:
            return published + _parsed(httpx.get(f"http://127.0.0.1:{self._port}/metrics", trust_env=False).text)

        with contextlib.suppress(AssertionError):  # it is told what is wrong
            wait_until(lambda: not _unlawful(numbers()), 10)
        return numbers()


def _parsed(text: str) -> Numbers:
    return numbers_of(sample for family in text_string_to_metric_families(text) for sample in family.samples)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _line(line: dict[str, Any]) -> str:
    keys = ("event", "task", "level", "attempt", "reason", "detail", "error_type")
    return " ".join(str(line.get(key)) for key in keys)


def _span(span: dict[str, Any], spans: list[dict[str, Any]]) -> str:
    parents = [each["name"] for each in spans if each["span"] == span["parent"]]
    keys = [f"background_task.{key}" for key in ("outcome", "reason", "attempt")]
    told = [span["attributes"].get(key) for key in keys]
    named = " ".join(str(span[key]) for key in ("name", "kind", "status", "events", "scope"))
    return f"{named} {told} in {parents}"


if __name__ == "__main__":
    main(play)
