"""What Afterword costs around Celery: a publish, and a task in a prefork worker, beside bare Celery.

``python -m tests.benchmarks.celery_cost`` starts a Redis of its own, publishers and workers in processes of their
own, bare and instrumented with all signals, and lets them work by turns. It measures CPU time, of a worker that of
its main process and its child. Tasks do nothing and store no result, and workers log nothing but warnings, so that
what is added is seen best. ``--instructions`` counts with callgrind in place of measuring time, and a worker that
runs its tasks itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from prometheus_client import CollectorRegistry

import afterword
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.instructions import _control, _read
from tests.benchmarks.surroundings import log_into_nothing, trace_into_nothing
from tests.celery.brokers import plain_environment, redis_server
from tests.support import ROOT
from tests.support.waiting import wait_until

NAMES = ("bare", "afterword")
CALLGRIND = ("--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no")
_TICKS = os.sysconf("SC_CLK_TCK")


def create(name: str, broker: str) -> Celery:
    """Make an application, and instrument it if it is not the bare one."""
    app = Celery(name, broker=broker, set_as_current=False)
    app.conf.update(
        task_default_queue=name,
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )

    @app.task(name="shop.send_receipt", shared=False)
    def send_receipt(number: int) -> None:
        """Do nothing."""

    if name == "afterword":
        log_into_nothing()
        afterword.instrument(app, tracer_provider=trace_into_nothing(), registry=CollectorRegistry())
    return app


app = create(os.environ["NAME"], os.environ["BROKER"]) if "NAME" in os.environ else None
"""What a worker is started with."""


def publish() -> None:
    """Publish as many as each line of the standard input says, and tell the CPU time of one in microseconds."""
    assert app is not None
    task: Any = app.tasks["shop.send_receipt"]
    for line in sys.stdin:
        number = int(line)
        since = time.process_time()
        for each in range(number):
            task.delay(each)
        print((time.process_time() - since) / number * 1e6 if number else 0.0, flush=True)


class Process:
    """A publisher or a worker in a process of its own, perhaps under callgrind."""

    def __init__(self, name: str, broker: str, folder: Path, command: list[str], *, counted: bool) -> None:
        self.name = name
        self.folder = folder / f"{name}-{broker.partition(':')[0]}-{command[-1]}"
        self.folder.mkdir()
        wrapper = ["valgrind", *CALLGRIND, f"--callgrind-out-file={self.folder}/out.%p"] if counted else []
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        known = {"NAME": name, "BROKER": broker, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", *command],
                cwd=ROOT,
                env=plain_environment() | known,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if command[-1] == "publish" else log,
                stderr=log,
                text=True,
            )

    def publish(self, number: int) -> float:
        """Let it publish; return the CPU time of one in microseconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    @property
    def pids(self) -> list[int]:
        """Its process, and those that it has forked."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu(self) -> float:
        """Return the CPU time of all its processes in seconds."""
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids)
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / _TICKS

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def processes(broker: str, folder: Path, command: list[str], *, counted: bool) -> Iterator[dict[str, Process]]:
    """Start one of each kind."""
    started = {name: Process(name, broker, folder, command, counted=counted) for name in NAMES}
    try:
        yield started
    finally:
        for process in started.values():
            process.close()


def counting(process: Process, work: Any) -> int:
    """Return how many instructions the processes of one execute during some work."""
    pids = process.pids
    for pid in pids:
        _control(pid, "--instr=on")
        _control(pid, "--zero")
    work()
    total = 0
    for pid in pids:
        label = f"{time.monotonic_ns()}"
        before = set(process.folder.glob("out.*"))
        _control(pid, f"--dump={label}")
        _control(pid, "--instr=off")
        # a child's file has its parent's number, as it was forked
        wait_until(lambda: set(process.folder.glob("out.*")) - before, 60)  # noqa: B023
        total += _read_of(set(process.folder.glob("out.*")) - before)
    return total


def _read_of(found: set[Path]) -> int:
    with tempfile.TemporaryDirectory() as alone:
        newest = max(found, key=lambda path: path.stat().st_mtime_ns)
        Path(alone, "out").write_bytes(newest.read_bytes())
        return _read(Path(alone), "")[0]


def measure(rounds: int, number: int, *, counted: bool) -> None:
    """Measure, and print a table."""
    rows: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as path, redis_server(Path(path)) as server:
        folder, client = Path(path), server.client
        publisher = ["tests.benchmarks.celery_cost", "publish"]
        worker = ["celery", "-A", "tests.benchmarks.celery_cost", "worker", "-c1"]
        worker += ["-P", "solo" if counted else "prefork"]  # callgrind counts no child
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        with processes(server.url, folder, publisher, counted=False) as publishers:
            rows["publish, on Redis"] = by_turns(publishers, rounds, lambda each: each.publish(number))
            client.flushall()
            with processes("memory://", folder, publisher, counted=counted) as others:
                for each in others.values():
                    each.publish(50)
                if counted:
                    rows["publish, in memory"] = by_turns(
                        others, 1, lambda each: counting(each, lambda: each.publish(number)) / number / 1e3
                    )
                else:
                    rows["publish, in memory"] = by_turns(others, rounds, lambda each: each.publish(number))
            rows["a task in a worker"] = workers(
                server.url, folder, worker, publishers, client, rounds, number, counted=counted
            )
    unit = "thousands of instructions" if counted else "µs"
    print(f"| {unit} | bare | Afterword | ratio |\n|---|---:|---:|---:|")
    for what, row in rows.items():
        ratio: Figure = figure(ours / bare for bare, ours in zip(row["bare"], row["afterword"], strict=True))
        print(f"| {what} | {figure(row['bare']).text()} | {figure(row['afterword']).text()} | {ratio.text(2)} |")


def by_turns(those: dict[str, Process], rounds: int, work: Any) -> dict[str, list[float]]:
    """Let each work in each round."""
    found: dict[str, list[float]] = {name: [] for name in those}
    for number in range(rounds + 1):
        for name, process in those.items():
            value = work(process)
            if number or not rounds > 1:  # the first is for warming up
                found[name].append(value)
    return found


def workers(
    broker: str,
    folder: Path,
    command: list[str],
    publishers: dict[str, Process],
    client: redis.Redis,
    rounds: int,
    number: int,
    *,
    counted: bool,
) -> dict[str, list[float]]:
    """Return what a task costs a worker."""
    with processes(broker, folder, command, counted=counted) as started:

        def run(name: str, many: int) -> None:
            publishers[name].publish(many)
            wait_until(lambda: not client.llen(name) and not client.hlen("unacked"), 600)
            time.sleep(2.0 if counted else 0.2)  # the last one is acknowledged, and runs

        def work(process: Process) -> float:
            if counted:
                return counting(process, lambda: run(process.name, number)) / number / 1e3
            before = process.cpu()
            run(process.name, number)
            return (process.cpu() - before) / number * 1e6

        for name in started:
            run(name, 100)
        return by_turns(started, 1 if counted else rounds, work)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="?")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tasks", type=int)
    given = parser.parse_args()
    if given.role == "publish":
        publish()
    else:
        measure(given.rounds, given.tasks or (200 if given.instructions else 500), counted=given.instructions)


if __name__ == "__main__":
    main()
