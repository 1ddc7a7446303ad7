"""Processes that die with tasks they hold, and others that close their accounts all at once."""

import os
import signal
from collections.abc import Callable

from prometheus_client import REGISTRY

from afterword._ledger.ages import oldest_ages
from afterword._signals.multiprocess import dead_processes
from afterword._signals.multiprocess import directory as workers
from afterword._signals.multiprocess.all_processes import AllProcesses
from afterword._signals.prometheus import series_of

DEAD, CLOSERS = 40, 4


def forked(act: Callable[[], object]) -> int:
    """Do something in a process of its own, which ends as a killed one does."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    return pid


def hold() -> None:
    """Hold one task that has not begun."""
    series_of(REGISTRY, oldest_ages).tasks["mail"].count_scheduled()


def main() -> None:
    """Let them die, close their accounts, add everything up."""
    path = workers.directory() or ""
    series_of(REGISTRY, oldest_ages)
    for pid in [forked(hold) for _ in range(DEAD)]:
        os.waitpid(pid, 0)
    start, go = os.pipe()

    def close() -> None:
        os.close(go)
        os.read(start, 1)  # until nobody holds the other end
        dead_processes.close_dead_accounts(path, os.listdir(path))

    closers = [forked(close) for _ in range(CLOSERS)]
    os.close(go)
    for pid in closers:
        os.waitpid(pid, 0)
    samples = [sample for metric in AllProcesses(path).collect() for sample in metric.samples]
    for name in ("background_task_scheduled_total", "background_task_lost_total", "background_task_pending"):
        print(name, sum(int(sample.value) for sample in samples if sample.name == name))


if __name__ == "__main__":
    main()
