"""The only place that patches Celery: once per process, reversible, idempotent. The rest are its own signals."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import celery
from celery import Celery, signals
from celery.backends.base import Backend
from celery.worker import WorkController, consumer, strategy
from celery.worker import request as request_module

from .._common import forks
from .._common.log import once, warn
from . import attempts, publishing, queues, redelivery, requests, worker
from .instrumentation import find
from .unstarted import chord_failed

_REQUEST: Final = {
    "on_accepted": 3,
    "on_success": 2,
    "on_failure": 2,
    "on_timeout": 3,
    "reject": 1,
    "acknowledge": 1,
    "revoked": 1,
    "_announce_revoked": 5,
}
"""What the account needs of ``Request``: its methods, and how many arguments they take with ``self``."""
_ATTRIBUTES: Final = ("request_dict", "delivery_info", "type", "_payload", "task", "app", "acknowledged")

_RECEIVERS: Final[tuple[tuple[Any, Callable[..., None]], ...]] = (
    (signals.before_task_publish, publishing.before_publish),
    (signals.task_prerun, attempts.prerun),
    (signals.task_postrun, attempts.postrun),
    (signals.task_received, worker.received),
    (signals.task_unknown, worker.unknown),
    (signals.task_rejected, worker.rejected),
    (signals.celeryd_init, worker.before_worker),
    (signals.beat_init, worker.in_beat),
    (signals.worker_before_create_process, worker.before_child),
    (signals.worker_process_init, worker.child_began),
    (signals.worker_ready, worker.in_order),
    (signals.worker_init, queues.become_worker),
)


def _making_requests(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return a ``create_request_cls`` that accounts for the deliveries of instrumented applications."""

    def create_request_cls(base: type, task: Any, *args: Any, **kwargs: Any) -> type:
        made: type = original(base, task, *args, **kwargs)
        known = find(kwargs.get("app") or getattr(task, "app", None))
        if known is None or not is_on():
            return made
        return known.failsafe("the class of requests", requests.observed, made, known) or made

    return create_request_cls


_PATCHES: Final[tuple[tuple[Any, str, Callable[..., Callable[..., Any]]], ...]] = (
    (strategy, "create_request_cls", _making_requests),
    (Celery, "send_task", publishing.sending),
    (Backend, "chord_error_from_stack", chord_failed),
    (WorkController, "terminate", worker.terminating),
    (consumer.Consumer, "on_decode_error", worker.undecodable),
    (consumer.Consumer, "on_connection_error_after_connected", redelivery.losing_connection),
)


class CeleryHooks:
    """The patches and receivers of this process, and how many applications use them."""

    def __init__(self) -> None:
        self.users: set[int] = set()
        self.receivers: list[tuple[Any, Callable[..., None]]] = [*_RECEIVERS]
        """The receivers of signals; ``_setup`` adds its own."""
        self._originals: list[tuple[Any, str, Any, Any]] = []
        self._changing = forks.lock()

    @property
    def installed(self) -> bool:
        """Whether Celery is patched now."""
        return bool(self._originals)

    def is_compatible(self) -> bool:
        """Return whether this Celery can be observed; if not, warn once."""
        if self.installed:
            return True
        lacking = incompatibilities()
        if lacking and once.first("incompatible", "celery", *lacking):
            warn(
                "no Celery task is observed, and Celery runs as without Afterword, because Celery %s is not built "
                "as Afterword knows it: %s",
                celery.__version__,
                "; ".join(lacking),
            )
        return not lacking

    def install(self, app: Any) -> None:
        """Patch Celery on behalf of an application."""
        with self._changing:
            self.users.add(id(app))
            if self._originals:
                return
            for owner, name, make in _PATCHES:
                original = getattr(owner, name)
                hook = make(original, lambda: bool(self.users))
                self._originals.append((owner, name, original, hook))
                setattr(owner, name, hook)
            for signal, receiver in self.receivers:
                signal.connect(receiver, weak=False)
        worker.in_order()

    def uninstall(self, app: Any) -> None:
        """Give Celery back when the last application is gone. What another tool has wrapped only passes on."""
        with self._changing:
            self.users.discard(id(app))
            if self.users:
                return
            for owner, name, original, hook in self._originals:
                if getattr(owner, name) is hook:
                    setattr(owner, name, original)
            self._originals.clear()
            for signal, receiver in self.receivers:
                signal.disconnect(receiver)


hooks: Final = CeleryHooks()


def incompatibilities() -> list[str]:
    """Return how this Celery differs from those that Afterword knows."""
    lacking: list[str] = []
    cls = request_module.Request
    for name, arguments in _REQUEST.items():
        method = getattr(cls, name, None)
        if method is None:
            lacking.append(f"celery.worker.request.Request.{name} is not there")
            continue
        try:
            inspect.signature(method).bind(*(None,) * arguments)
        except TypeError:
            lacking.append(f"celery.worker.request.Request.{name} takes other arguments")
    lacking += [
        f"celery.worker.request.Request.{name} is not there" for name in _ATTRIBUTES if not hasattr(cls, name)
    ]
    for owner, name, _ in _PATCHES:
        if not callable(getattr(owner, name, None)):
            lacking.append(f"{getattr(owner, '__name__', owner)}.{name} is not there")
    return lacking
