"""Reads ``/metrics`` of whatever application is named, in bounded time and size, by http and https only."""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from .._views.account import Account, Accounts, broken, read

SECONDS: Final = 10.0
SIZE: Final = 50 * 1000 * 1000
_SCHEMES: Final = ("http", "https")
_DEFAULT_PATH: Final = "/metrics"
_CHUNK: Final = 1 << 16
_TRIES, _PAUSE = 3, 0.2


class Unreadable(Exception):
    """The account cannot be read; the text says why."""


class Answer(NamedTuple):
    """What was read: the accounts, and those that broke the law each time."""

    accounts: Accounts
    broken: list[Account]


def address(url: str) -> str:
    """Return the address of the metrics: ``localhost:8000`` is as good as ``http://localhost:8000/metrics``.

    Raises ``Unreadable``.
    """
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise Unreadable(f"{url}: only http and https are read")
        if not parts.hostname or (parts.port is not None and not parts.port):
            raise ValueError("there is no host")
    except ValueError as fault:
        raise Unreadable(f"{url}: this is no address: {fault}") from fault
    return parts._replace(path=_DEFAULT_PATH, fragment="").geturl() if parts.path in ("", "/") else url


def account_at(url: str, seconds: float = SECONDS, size: int = SIZE) -> Answer:
    """Return the account that is published at an address; raises ``Unreadable``.

    A thread does it, since a server may take its time with each byte. Where the law seems broken, a transition
    may have been in progress, so it is asked again: only what is broken each time is.
    """
    answers: queue.SimpleQueue[Answer | Unreadable] = queue.SimpleQueue()
    threading.Thread(target=_ask, args=(url, seconds, size, answers), daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise Unreadable(f"{url}: there is no answer within {seconds:g} s") from None
    if isinstance(answer, Unreadable):
        raise answer
    return answer


def _ask(url: str, seconds: float, size: int, answers: queue.SimpleQueue[Answer | Unreadable]) -> None:
    try:
        answers.put(_asked_again(url, seconds, size))
    except Unreadable as fault:
        answers.put(fault)
    except Exception as fault:  # noqa: BLE001  whatever a server makes a library do
        answers.put(Unreadable(f"{url}: {_said(fault)}"))


def _asked_again(url: str, seconds: float, size: int) -> Answer:
    end = time.monotonic() + seconds / 2
    accounts: Accounts = {}
    wrong: set[str] = set()
    for number in range(_TRIES):
        new = _accounts(url, seconds, size)
        unbalanced = {account.name for account in broken(new.values())}
        wrong = unbalanced if not number else wrong & unbalanced
        balanced_before = unbalanced - wrong
        accounts |= {name: account for name, account in new.items() if name not in balanced_before}
        if not wrong or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    return Answer(accounts, [account for account in accounts.values() if account.name in wrong])


def _accounts(url: str, seconds: float, size: int) -> Accounts:
    body, content_type = _fetched(url, seconds, size)
    accounts = read(body.decode("utf-8", "replace"), content_type)
    if accounts is None:
        raise Unreadable(f"{url}: there are no metrics of Afterword; is this the address that Prometheus scrapes?")
    return accounts


def _fetched(url: str, seconds: float, size: int) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers={"Accept": "text/plain", "Accept-Encoding": "identity"})  # noqa: S310
    try:
        with _opener().open(request, timeout=seconds) as response:
            parts: list[bytes] = []
            left = size + 1
            while left > 0 and (part := response.read(min(left, _CHUNK))):
                parts.append(part)
                left -= len(part)
            if left <= 0:
                raise Unreadable(f"{url}: the answer is longer than {size / 1e6:g} MB")
            if response.length:  # the connection was closed before
                raise Unreadable(f"{url}: the answer was cut short")
            return b"".join(parts), response.headers.get("Content-Type", "").lower()
    except urllib.error.HTTPError as answer:
        answer.close()
        raise Unreadable(f"{url}: the answer is {answer.code} {answer.reason}") from answer


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https and nothing else: the usual one opens files, too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, but neither to another scheme nor from https back to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme not in _SCHEMES or (req.type == "https" and scheme != "https"):
            fp.close()
            raise Unreadable(f"{req.full_url}: it redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _said(fault: Exception) -> str:
    if isinstance(fault, urllib.error.URLError):
        return str(fault.reason)
    if isinstance(fault, http.client.HTTPException):
        return f"this is no answer of a server: {type(fault).__name__}"
    return str(fault) or type(fault).__name__
