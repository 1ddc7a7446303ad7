"""The console's token. If none is given, one is made: for all workers of a server, in a file of this user's.

With a journal it lies in the journal's directory, and stays the same over restarts. Without one it lies in a
folder of this user's, in a file that is named after the process that has started the workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from .._common import forks
from .._common.log import warn
from .._ledger.journal import files
from .._ledger.journal.locking import try_lock

_FILE: Final = "console.token"
_TOKEN: Final = re.compile(r"[\w-]{43}", re.ASCII)
_MOST: Final = 1000
_PATIENCE: Final = 2.0
_PAUSE: Final = 0.01
_OTHERS: Final = 0o077
_making = forks.lock()
_born: Final = str(time.time_ns())


class Token:
    """What whoever wants to be let in has to know: the one that is given, or one that is made when it is needed.

    ``directory`` is the journal's.
    """

    def __init__(self, given: str | None, directory: str | None) -> None:
        self.is_given = given is not None
        self._token = given
        self._directory = directory
        self.is_news = False
        """It was made, and no process of this server has said it yet."""

    def get(self) -> str:
        """Return it. Raises nothing: without a file, this process has one of its own."""
        if self._token is None:
            with _making:
                if self._token is None:
                    self._token, self.is_news = self._shared()
        return self._token

    def _shared(self) -> Shared:
        try:
            return shared(self._directory)
        except OSError as fault:
            warn("the console's token cannot be kept in a file, so each worker has one of its own: %r", fault)
            return Shared(secrets.token_urlsafe(32), is_news=True)


class Shared(NamedTuple):
    """A token.

    Attributes:
        token: what whoever wants to be let in has to know.
        is_news: no process of this server has said it yet.
    """

    token: str
    is_news: bool


def shared(directory: str | None) -> Shared:
    """Return the token of all workers, after making it if there is none; raises ``OSError``.

    ``directory`` is the journal's.
    """
    if directory is None:
        directory = _own_folder()
        path = os.path.join(directory, f"{os.getppid()}.token")
    else:
        files.make_directory(directory)
        path = os.path.join(directory, _FILE)
    descriptor = files.open_ours(path, os.O_RDWR | os.O_CREAT)
    try:
        _wait_for_lock(descriptor, path)
        _check(os.fstat(descriptor), path)
        known, _, server = files.read_open(descriptor, 0, _MOST).decode("ascii", "replace").partition("\n")
        token = known if _TOKEN.fullmatch(known) else secrets.token_urlsafe(32)
        here = _server()
        if (known, server.strip()) != (token, here):
            os.ftruncate(descriptor, 0)
            files.write_at(descriptor, f"{token}\n{here}\n".encode(), 0)
        return Shared(token, is_news=server.strip() != here)
    finally:
        os.close(descriptor)  # and with it goes the lock


def _wait_for_lock(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is locked")
        time.sleep(_PAUSE)


def _check(status: os.stat_result, path: str) -> None:
    """Raise ``PermissionError`` for a file or folder that others may have written, or can read."""
    if os.name == "nt":
        return
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        raise PermissionError(f"{path} is not this user's alone")


def _own_folder() -> str:
    """Return a folder that only this user can enter; raises ``OSError``."""
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    path = os.path.join(tempfile.gettempdir(), f"afterword-{user}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{path} is no directory")
    _check(status, path)
    for gone in _of_ended(path):
        files.remove(gone)
    return path


def _of_ended(folder: str) -> Iterator[str]:
    """Yield the files of processes that are gone."""
    if os.name == "nt":
        return
    for name in os.listdir(folder):
        pid = name.partition(".")[0]
        if name.endswith(".token") and pid.isdecimal() and int(pid) != os.getppid():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                yield os.path.join(folder, name)
            except OSError:
                continue


def _server() -> str:
    """Return which server this process belongs to: its parent's, if it is a worker, else its own."""
    is_worker = multiprocessing.parent_process() is not None or "gunicorn.arbiter" in sys.modules
    pid = os.getppid() if is_worker else os.getpid()
    return f"{pid} {_started(pid)}"


def _started(pid: int) -> str:
    """Return when a process was started, since pids come back, above all in containers."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="latin-1") as file:
        return file.read().rpartition(")")[2].split()[19]
    return _born if pid == os.getpid() else ""
