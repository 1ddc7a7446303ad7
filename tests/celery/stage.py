"""Plays a situation: publishes from this process, runs workers, and reads what all of them tell."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import afterword
from tests.celery import shop
from tests.celery.brokers import RabbitMQ, Redis, free_port, plain_environment
from tests.support import ROOT
from tests.support.waiting import wait_until

_COUNTED = {
    "background_task_scheduled_total": "scheduled",
    "background_task_started_total": "started",
    "background_task_ended_total": "ended",
    "background_task_returned_total": "returned",
    "background_task_lost_total": "lost",
}
_NOW = {"background_task_pending": "held", "background_task_running": "running"}
SECONDS = 40.0
_MODULE = "tests.celery.worker"
_client = httpx.Client(verify=False, trust_env=False, timeout=10)

Numbers = Counter[str]


def numbers_of(samples: Iterable[Any]) -> Numbers:
    """Return the account of Celery's tasks, without zeros: ``"ended works succeeded": 1``."""
    found: Numbers = Counter()
    for sample in samples:
        what = _COUNTED.get(sample.name) or _NOW.get(sample.name)
        if what is not None and sample.labels["background_task_engine"] == "celery" and sample.value:
            labels = [sample.labels["background_task_name"].removeprefix("shop.")]
            labels += [sample.labels.get(f"background_task_{key}", "") for key in ("outcome", "reason")]
            found[" ".join(filter(None, (what, *labels)))] += int(sample.value)
    return found


class Worker:
    """A worker in processes of its own."""

    def __init__(self, stage: Stage, name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.stage = stage
        self.name = name
        self.port = port
        self.process = process
        self.log = log

    def scrape(self) -> str:
        """Return its /metrics."""
        return _client.get(f"http://127.0.0.1:{self.port}/metrics").text

    def numbers(self) -> Numbers:
        families = text_string_to_metric_families(self.scrape())
        return numbers_of(sample for family in families for sample in family.samples)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return bool(self.scrape())
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its main process."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def wait(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended."""
        return self.process.wait(seconds)


class Stage:
    """A broker, a publisher and its workers; each test has one of its own, and perhaps shares a worker."""

    def __init__(self, folder: Path, redis: Redis | RabbitMQ, **settings: Any) -> None:
        self.folder = folder
        self.redis = redis
        self.registry = CollectorRegistry()
        self.provider = shop.tracing(folder)
        self.app = shop.make(folder, redis.url, settings.pop("result_backend", redis.results), **settings)
        self.workers: list[Worker] = []
        self._started = 0
        self._before: Numbers = Counter()
        self._gone: Numbers = Counter()
        afterword.instrument(self.app, registry=self.registry, tracer_provider=self.provider, metrics_port=None)

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.kill()  # a shutdown would take seconds, and is played elsewhere
        self.workers.clear()
        afterword.uninstrument(self.app)
        # a result that is collected later would ask the backend, which may be gone by then
        self.app.backend.remove_pending_result = lambda result: result
        self.app.close()

    # --- workers ------------------------------------------------------------------------------------------------

    def worker(
        self, pool: str = "prefork", *options: str, queue: str = "shop", port: int = 0, **environment: str
    ) -> Worker:
        """Start a worker, and wait until it is ready; without a port, its metrics are at one that is free."""
        name = f"w{self._started}"
        self._started += 1
        port = port or free_port()
        log = self.folder / f"{name}.log"
        more = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        if not any(option.startswith("-c") for option in options):
            more.append("-c2")
        command = ["worker", "-P", pool, "-Q", queue, "-n", f"{name}@%h", *more, *options]
        process = self._start(command, port, log, environment)
        worker = Worker(self, name, port, process, log)
        self.workers.append(worker)
        if any(key.startswith("SHOP_BARE") for key in environment):
            wait_until(lambda: b" ready." in log.read_bytes(), SECONDS)
        else:
            wait_until(worker.is_ready, SECONDS, log.read_text)
        return worker

    def beat(self, port: int, settings: str) -> Worker:
        """Start beat, and wait until it is ready."""
        log = self.folder / "beat.log"
        command = ["beat", "-s", str(self.folder / "schedule"), "--pidfile", ""]
        beat = Worker(self, "beat", port, self._start(command, port, log, {"SHOP_SETTINGS": settings}), log)
        self.workers.append(beat)
        wait_until(beat.is_ready, SECONDS, log.read_text)
        return beat

    def _start(
        self, command: list[str], port: int, log: Path, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        known = {
            "SHOP_FOLDER": str(self.folder),
            "SHOP_BROKER": self.redis.url,
            "SHOP_RESULTS": self.redis.results,
            "AFTERWORD_WORKER_METRICS_PORT": str(port),
            "AFTERWORD_WORKER_METRICS_HOST": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "PYTHONWARNINGS": "ignore",
        }
        module = environment.get("SHOP_MODULE", _MODULE)
        with log.open("wb") as output:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    module,
                    *command,
                    "-l",
                    "INFO",
                ],
                cwd=self.folder,
                env=plain_environment() | known | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    # --- what is done -------------------------------------------------------------------------------------------

    def publish(self, name: str, *args: Any, **options: Any) -> Any:
        """Publish one of the shop's tasks."""
        return self.app.tasks[f"shop.{name}"].apply_async(args=args, **options)

    def signature(self, name: str, *args: Any, **options: Any) -> Any:
        """Return a signature of one of the shop's tasks."""
        return self.app.tasks[f"shop.{name}"].signature(args=args, **options)

    def open(self, gate: str) -> None:
        """Let those go on that wait for a gate."""
        (self.folder / gate).touch()

    def begun(self, gate: str) -> int:
        """Return how often a task began to wait for a gate."""
        return sum(entry["gate"] == gate for entry in self.read("begun.jsonl"))

    def wait_begun(self, gate: str, times: int = 1) -> None:
        """Wait until a task waits for a gate."""
        wait_until(lambda: self.begun(gate) >= times, SECONDS, self.report)

    # --- what is told -------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """Count from now on: what shared workers have counted before is not this test's."""
        self._before = self._all()

    def _all(self) -> Numbers:
        total = numbers_of(sample for family in self.registry.collect() for sample in family.samples)
        for worker in self.workers:
            if worker.process.poll() is None:
                total += worker.numbers()
        return total

    def counted(self) -> Numbers:
        """Return the account over all processes."""
        total = self._all()
        total.subtract(self._before)
        return Counter({key: value for key, value in total.items() if value})

    def settles(self, *expected: str) -> None:
        """Wait until the account over all processes is this one, and nothing more happens."""
        wanted: Numbers = Counter()
        for text in expected:
            number, _, rest = text.partition(" ")
            wanted[rest if number.isdigit() else text] += int(number) if number.isdigit() else 1
        wait_until(
            lambda: self.counted() == wanted, SECONDS, lambda: f"{self.counted()} is not {wanted}{self.report()}"
        )

    def lines(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return our log lines of all processes, perhaps of one task."""
        lines = [line for line in self.read("lines.jsonl") if str(line["event"]).startswith("background_task.")]
        return [line for line in lines if task_id is None or line.get("task_run") == task_id]

    def spans(self, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return the spans of all processes, perhaps of one task."""
        spans = list(self.read("spans.jsonl"))
        if task_id is None:
            return spans
        return [span for span in spans if span["attributes"].get("background_task.run.id") == task_id]

    def attempts(self, task_id: str) -> list[str]:
        """Return how each attempt ended by its span, as ``retry`` or ``failed exception``."""
        found = [span["attributes"] for span in self.spans(task_id) if span["kind"] == "CONSUMER"]
        keys = "background_task.outcome", "background_task.reason"
        return [" ".join(str(each[key]) for key in keys if key in each) for each in found]

    def told(self, task_id: str) -> list[str]:
        """Return how each attempt ended by its line, in the same words."""
        found = []
        for line in self.lines(task_id):
            event = str(line["event"]).removeprefix("background_task.")
            words = [] if event == "returned" else [event]
            found.append(" ".join([*words, *([line["reason"]] if "reason" in line else [])]))
        return found

    def tells(self, task_id: str, *ends: str) -> None:
        """Wait until spans and lines tell these ends of a task's attempts, each once."""
        wanted = sorted(ends)
        wait_until(
            lambda: sorted(self.attempts(task_id)) == sorted(self.told(task_id)) == wanted,
            10,
            lambda: f"{self.attempts(task_id)} and {self.told(task_id)} are not {wanted}{self.report()}",
        )

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.folder / name
        if path.exists():
            for line in path.read_text().splitlines():
                yield json.loads(line)

    def report(self) -> str:
        """Return what helps to understand a failure."""
        logs = "".join(f"\n--- {worker.log.name}\n{worker.log.read_text()[-3000:]}" for worker in self.workers)
        return f"\n{self.lines()}{logs}"
