"""Processes that are killed between any two writes of one task's life; prints what the law leaves over."""

import itertools
import os
import signal
from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.mmap_dict import MmapedDict

from afterword._common.model import Outcome
from afterword._ledger.ages import oldest_ages
from afterword._signals.multiprocess import directory as workers
from afterword._signals.multiprocess.all_processes import AllProcesses
from afterword._signals.prometheus import series_of


def live(writes: int) -> None:
    """Live the life of a task in a forked process, which is killed after so many writes."""
    run: Any = SimpleNamespace(
        started_at=1.0, wait=0.1, thread_wait=0.1, duration=0.1, outcome=Outcome.FAILED, error_type="ValueError"
    )
    left, write_value = iter(range(writes)), MmapedDict.write_value

    def counted(*arguments: Any) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        write_value(*arguments)

    MmapedDict.write_value = counted
    task = series_of(REGISTRY, oldest_ages).tasks["mail"]
    task.count_scheduled()
    task.count_started(run)
    task.count_ended(run)


def total(name: str) -> float:
    """Add up one series of all processes."""
    metrics = AllProcesses(workers.directory() or "").collect()
    return sum(sample.value for metric in metrics for sample in metric.samples if sample.name == name)


def left_over() -> float:
    """Return what the law leaves over."""
    others = ("ended_total", "lost_total", "pending", "running")
    return total("background_task_scheduled_total") - sum(total(f"background_task_{other}") for other in others)


def main() -> None:
    """Kill one process after no write, one after one, and so on, until one lives to the end."""
    series_of(REGISTRY, oldest_ages)
    for writes in itertools.count():
        pid = os.fork()
        if pid == 0:
            live(writes)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        print(writes, killed, left_over(), flush=True)
        if not killed:
            break


if __name__ == "__main__":
    main()
