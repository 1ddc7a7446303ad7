"""What lies in the workers' directory and was never written by a worker, and a directory without room."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support import ROOT
from tests.support.disks import on_a_small_disk
from tests.support.waiting import wait_until
from tests.workers.servers import balance, scrape, serve, succeeded, uvicorn

pytestmark = pytest.mark.timeout(120)


def entry(key: str, value: bytes = bytes(16)) -> bytes:
    """Return a file of one series, as prometheus_client would write it."""
    encoded = key.encode()
    padded = encoded + b" " * (8 - (len(encoded) + 4) % 8)
    content = len(encoded).to_bytes(4, "little") + padded + value
    return (8 + len(content)).to_bytes(4, "little") + bytes(4) + content


BAD: dict[str, Callable[[Path], object]] = {
    "counter_71.db": lambda file: file.write_bytes(b""),
    "histogram_72.afterword.db": lambda file: file.write_bytes(b""),
    "counter_73.db": lambda file: file.write_bytes(b"no numbers"),
    "gauge_livesum_74.db": lambda file: file.write_bytes(b"\xff" * 5000),
    "counter_75.db": lambda file: file.write_bytes(b"\xff\xff\xff\x7f" + bytes(100)),
    "counter_76.db": lambda file: file.write_bytes(entry("no JSON")),
    "counter_77.db": lambda file: file.write_bytes(entry('["", "", {}, ""]')),
    "counter_78.db": lambda file: file.write_bytes(entry('["a_metric", "a_metric_total", {"a": 1}, ""]')),
    "counter_79.db": lambda file: file.write_bytes(entry("[]")),
    "counter_80.afterword.db": lambda file: file.write_bytes(b"\x01" * 5000),
    "orders.db": lambda file: file.write_bytes(b"SQLite format 3\0" + bytes(5000)),
    "gauge_livesum_99999999999999999999.db": lambda file: file.write_bytes(b"?"),
    "gauge_livesum.db": lambda file: file.write_bytes(entry('["a_metric", "a_metric", {}, ""]')),
    "counter_81.db": lambda file: file.mkdir(),
    "counter_82.db": lambda file: file.symlink_to("nowhere"),
    "counter_83.db": os.mkfifo,
}


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path):
    """Empty, foreign and garbled files are named in one error each; scrapes go on, with what the workers count."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(uvicorn, directory, log) as address:
        httpx.get(f"{address}/quick", timeout=10)
        for name, make in BAD.items():
            make(directory / name)
        for _ in range(20):  # both workers
            assert httpx.get(f"{address}/metrics", timeout=10).status_code == 200
        wait_until(lambda: succeeded(address, "quick") == 1, why=log.read_text)
        assert balance(scrape(address), "quick") == 0
    lines = [line for line in log.read_text().splitlines() if "left out" in line]
    for name in BAD.keys() - {"gauge_livesum_74.db"}:  # which goes with its process, as there is none
        assert 1 <= sum(f"/{name} " in line for line in lines) <= 2, (name, log.read_text())  # once a worker


def test_the_files_of_a_dead_worker_that_are_garbled_harm_nobody(tmp_path: Path):
    """Where the counters of a dead process cannot be read, its gauges go, and the log says what is not counted."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(uvicorn, directory, log) as address:
        (directory / "counter_4194304.afterword.db").write_bytes(b"\x01" * 5000)
        (directory / "gauge_livesum_4194304.afterword.db").write_bytes(bytes(4096))
        assert httpx.get(f"{address}/metrics", timeout=10).status_code == 200
        assert not (directory / "gauge_livesum_4194304.afterword.db").exists()
    assert "no run of process 4194304 is counted as lost" in log.read_text()


FULL = """
import os, resource, sys
from fastapi import BackgroundTasks, FastAPI
from fastapi.testclient import TestClient
from afterword import instrument

directory, when = os.environ["PROMETHEUS_MULTIPROC_DIR"], sys.argv[1]

def fill():
    if sys.argv[2] == "limit":  # every write that would make a file longer than this is refused
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        return
    with open(os.path.join(directory, "filler"), "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(512)):
                pass
        except OSError:
            return

if when == "before":
    if sys.argv[2] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    else:
        fill()
app = FastAPI()
instrument(app)
ran = []

def task(number): ran.append(number)
for number in range(30):
    exec(f"def task_{number}(): task({number})")

@app.get("/{number}")
async def endpoint(number: int, tasks: BackgroundTasks) -> None:
    tasks.add_task(globals()[f"task_{number}"])

client = TestClient(app)
client.get("/0")
if when == "after":
    fill()
for number in range(30):
    client.get(f"/{number}")
scraped = client.get("/metrics")
print(len(ran), scraped.status_code, flush=True)
print(scraped.text)
"""


def full(
    directory: Path, when: str, how: str, prefix: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an application whose directory has no room, from the beginning or from some moment on."""
    return subprocess.run(
        [*(prefix or []), sys.executable, "-c", FULL, when, how],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("how", ["limit", "disk"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_directory_without_room_harms_nobody(when: str, how: str, tmp_path: Path):
    """Where the directory is full, every task runs and every scrape is answered; the log says it once."""
    prefix = on_a_small_disk(tmp_path, "128k") if how == "disk" else None
    if how == "disk" and prefix is None:
        pytest.skip("nothing may be mounted here; the other half of this test holds the same by a limit")
    done = full(tmp_path, when, how, prefix)
    assert done.returncode == 0, done.stderr
    said = "no Prometheus series" if when == "before" else "series that need more room are left out"
    assert done.stderr.count(said) == 1, done.stderr
    assert done.stdout.splitlines()[0] == "31 200"
    labels = '{background_task_engine="starlette",background_task_name="__main__.task_0"}'
    has_series = f"background_task_scheduled_total{labels} 2.0" in done.stdout
    assert has_series == (when == "after")


DEATH = """
import os, resource
from prometheus_client import REGISTRY
from afterword._ledger.ages import oldest_ages
from afterword._signals.prometheus import series_of
from tests.workers.closing import forked, hold
from tests.workers.middle import left_over, total

series_of(REGISTRY, oldest_ages)
os.waitpid(forked(hold), 0)
for limit in (0, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for _ in range(3):
        print(total("background_task_pending"), total("background_task_lost_total"), left_over())
"""


def test_an_account_that_cannot_be_closed_waits_until_it_can(tmp_path: Path):
    """Without room to write what a dead process held, it stays pending, said once, and the law holds all along."""
    done = subprocess.run(
        [sys.executable, "-c", DEATH],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["1.0 0.0 0.0"] * 3 + ["0 1.0 0.0"] * 3
    assert done.stderr.count("stays open") == 1
    assert done.stderr.count("background_task.lost") == 1
