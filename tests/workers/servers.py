"""Real servers with several worker processes, on loopback, ended by their own pid."""

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.process import free_port
from tests.support import ROOT
from tests.support.processes import server_process
from tests.support.waiting import wait_until

APP = "tests.workers.app:app"
Samples = dict[tuple[str, str], float]


def gunicorn(port: int) -> list[str]:
    """Return gunicorn's command line, with the shipped configuration."""
    return [sys.executable, "-m", "gunicorn", "-c", "examples/gunicorn.conf.py", "-b", f"127.0.0.1:{port}", APP]


def uvicorn(port: int) -> list[str]:
    """Return uvicorn's command line, with two workers."""
    return [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(port), "--no-access-log", APP]


@contextlib.contextmanager
def serve(command: Callable[[int], list[str]], directory: Path, log: Path) -> Iterator[str]:
    """Run a server whose workers share their numbers, and yield its address."""
    port = free_port()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONWARNINGS": ""}
    with server_process(command(port), log, environment):
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(address), why=log.read_text)
        yield address


def is_up(address: str) -> bool:
    """Return whether a server answers."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{address}/held", timeout=2).status_code == 200
    return False


def run_module(directory: Path, module: str, *options: str) -> tuple[str, str]:
    """Run one of the modules that tell something about such a directory; return its output, and its errors."""
    done = subprocess.run(
        [sys.executable, *options, "-m", module],
        cwd=ROOT,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def scrape(address: str) -> Samples:
    """Read every series that has a task's name, summed over its other labels but the outcome."""
    text = httpx.get(f"{address}/metrics", timeout=10).text
    samples: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.labels.get("background_task_outcome", "")
            if "background_task_name" in sample.labels:
                samples[sample.name + (f" {key}" if key else ""), sample.labels["background_task_name"]] += (
                    sample.value
                )
    return dict(samples)


def succeeded(address: str, name: str) -> float:
    """Return how many runs of a task have succeeded so far."""
    return scrape(address).get(("background_task_ended_total succeeded", name), 0)


def balance(samples: Samples, name: str) -> float:
    """Return what the law leaves over for a task: 0 if everything is accounted for."""
    in_flight = sum(samples.get((f"background_task_{state}", name), 0) for state in ("pending", "running"))
    ended = sum(
        value
        for (series, task), value in samples.items()
        if series.startswith("background_task_ended_total") and task == name
    )
    return samples[("background_task_scheduled_total", name)] - in_flight - ended - lost(samples, name)


def lost(samples: Samples, name: str) -> float:
    """Return how many runs of a task were found in dead processes."""
    return samples.get(("background_task_lost_total", name), 0)
