"""The numbers of all worker processes, added up from their files for one scrape."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from prometheus_client.metrics_core import METRIC_TYPES, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from .dead_processes import close_dead_accounts, dead_among
from .directory import log_once
from .shared_file import owner_of_live_file

_TRIES = 3
_NEWBORN_SECONDS, _A_MOMENT = 2.0, 0.05
_CLOSING_SECONDS = 2.0


class AllProcesses:
    """A registry for one scrape: the files of all processes, optionally limited to some names.

    ``journaled`` returns the pids whose accounts are closed by those who read a journal.
    """

    def __init__(
        self, path: str, wanted: Iterable[str] = (), journaled: Callable[[], Collection[int]] = tuple
    ) -> None:
        self._path = path
        self._journaled = journaled
        self._wanted = set(wanted)
        self._sound: Callable[[str], bool] = os.path.exists

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, as a registry does."""
        for metric in self._merged():
            if self._wanted:
                metric.samples = [sample for sample in metric.samples if sample.name in self._wanted]
            if metric.samples:
                yield metric

    def encoded(self, encode: Callable[[Any], bytes]) -> bytes:
        """Return the metrics in one of prometheus_client's formats.

        A damaged or unrelated file is left out and logged once.
        """
        try:
            return encode(self)
        except Exception:  # noqa: BLE001  the file that causes it is found below
            self._sound = lambda file: _is_sound(file, encode)
        try:
            return encode(self)
        except Exception as fault:  # noqa: BLE001  each file can be read, but not all of them together
            log_once(f"the files in {self._path} contradict each other, so the scrape is empty: {fault!r}")
            self._sound = lambda file: False
            return encode(self)

    def _merged(self) -> Iterable[Metric]:
        """Read the files of live processes and the closed accounts of dead ones, at one point in time."""
        for last in (*[False] * _TRIES, True):
            self._let_others_close()
            files = _files(self._path)
            if close_dead_accounts(self._path, files, self._journaled()) and not last:
                continue
            chosen = [file for file in files if self._sound(os.path.join(self._path, file))]
            try:
                metrics = MultiProcessCollector.merge([os.path.join(self._path, file) for file in chosen])
            except FileNotFoundError:  # the directory was just cleared
                if last:
                    raise
                continue
            living = (file for file in chosen if owner_of_live_file(file) is not None)
            if last or (
                not self._being_closed() and all(os.path.exists(os.path.join(self._path, file)) for file in living)
            ):
                return list(metrics)  # no account was closed meanwhile
        return []

    def _being_closed(self) -> set[int]:
        """Return the dead processes whose accounts somebody closes just now."""
        journaled = set(self._journaled())
        return dead_among(_files(self._path)) & journaled if journaled else set()

    def _let_others_close(self) -> None:
        end = time.monotonic() + _CLOSING_SECONDS
        while self._being_closed() and time.monotonic() < end:
            time.sleep(_A_MOMENT / 5)


def _files(path: str) -> list[str]:
    """Return the names of the files that prometheus_client would read, without broken ones."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.name.endswith(".db") and _is_candidate(entry))


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    kind = entry.name.split("_")[0]
    try:
        if kind in METRIC_TYPES and entry.is_file() and _has_content(entry):
            return True
    except OSError:  # it was removed
        return False
    log_once(f"{entry.path} is left out: it is empty, or not one of prometheus_client's files")
    return False


def _has_content(entry: os.DirEntry[str]) -> bool:
    status = entry.stat()
    if status.st_size == 0 and time.time() - status.st_mtime < _NEWBORN_SECONDS:
        time.sleep(_A_MOMENT)  # prometheus_client first creates an empty file
        status = os.stat(entry.path)
    return status.st_size > 0


def _is_sound(file: str, encode: Callable[[Any], bytes]) -> bool:
    """Return whether a file can be read and rendered by itself."""

    class Alone:
        @staticmethod
        def collect() -> Iterable[Metric]:
            metrics: Iterable[Metric] = MultiProcessCollector.merge([file])
            return metrics

    try:
        encode(Alone)
    except FileNotFoundError:
        return False
    except Exception as fault:  # noqa: BLE001  the file may contain anything
        log_once(f"{file} is left out: it is damaged, or not one of prometheus_client's files: {fault!r}")
        return False
    return True
