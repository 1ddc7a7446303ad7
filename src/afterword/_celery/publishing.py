"""Whoever publishes: a task is scheduled before its message is sent, and dropped if it never is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter, time
from typing import Any

from celery import signals
from opentelemetry import context as otel
from opentelemetry.propagate import inject

from .._common.context import current
from .._common.model import TaskRun
from .._ledger.runs import inside_observer
from . import attempts, headers, interop, pipe, redelivery
from .instrumentation import CeleryInstrumentation, find

_publishing: ContextVar[Publication | None] = ContextVar("afterword_publishing", default=None)


class Publication:
    """One call of ``send_task``."""

    __slots__ = ("app", "around", "began", "instrumentation", "is_next", "name", "run")

    def __init__(self, instrumentation: CeleryInstrumentation, app: Any, name: Any) -> None:
        self.instrumentation = instrumentation
        self.app = app
        self.name = name
        self.around = otel.get_current()
        self.began = perf_counter()
        self.run: TaskRun | None = None
        self.is_next = False
        """Whether it is the next attempt of the task that publishes it."""

    def open(self, name: Any, said: dict[str, Any], destination: Any) -> None:
        """Schedule the task, or note that the next attempt of one is published, before the message is sent."""
        known = self.instrumentation
        run = known.run_of(self.app, name, said)
        run._destination = headers.queue(destination)
        run.request = known.current_request()
        outer = current()
        if run.request is None and outer is not None:  # a step of a chain belongs to the request of the one before
            run.request = outer.request
        self.run = run
        self.is_next = attempts.is_next(self.app, said)
        if not self.is_next:
            pipe.count(known, pipe.PUBLISH, run)
        known.teller.publish(run)
        if run._destination is not None and known.watch is not None:
            known.watch.note(destination)
        if said.get("eta"):
            redelivery.warn_of_countdown(self.app, known, run.name, said["eta"])

    def sent(self) -> None:
        """End the publishing: the message is with the broker."""
        if self.run is not None:
            if self.is_next:
                attempts.has_next(self.app, self.run)
            self.instrumentation.teller.sent(self.run)
            self._over(self.run)

    def failed(self, exc: BaseException, asked: Mapping[str, Any]) -> None:
        """End what never reached the broker. Before any signal, too: a dead result backend fails that early.

        ``asked``: the arguments of the call.
        """
        known = self.instrumentation
        if self.run is None:
            self.open(self.name, {**asked, "id": asked.get("task_id")}, None)
        run = self.run
        if run is not None:
            if not self.is_next:
                pipe.count(known, pipe.FAIL, run, exc=exc)
            run.outcome = run.reason = None
            known.teller.publish_failed(run, exc)
            self._over(run)

    def _over(self, run: TaskRun) -> None:
        run._publish_time = perf_counter() - self.began
        pipe.count(self.instrumentation, pipe.PUBLISHED, run)


def sending(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return a ``Celery.send_task`` that accounts for what is published."""

    @functools.wraps(original)
    def send_task(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        known = find(self)
        if known is None or not is_on() or inside_observer():
            return original(self, *args, **kwargs)
        known.failsafe("a publish", interop.come_last, signals.before_task_publish, before_publish)
        publication = Publication(known, self, args[0] if args else kwargs.get("name"))
        token = _publishing.set(publication)
        try:
            result = original(self, *args, **kwargs)
        except BaseException as exc:
            known.failsafe("a publish that failed", publication.failed, exc, kwargs)
            raise
        else:
            known.failsafe("a publish", publication.sent)
            return result
        finally:
            _publishing.reset(token)
            if otel.get_current() is not publication.around:  # contrib leaves its span open if the send fails
                otel.attach(publication.around)

    return send_task


def before_publish(sender: Any = None, headers: Any = None, body: Any = None, **more: Any) -> None:
    """Receive ``before_task_publish``: schedule the task, and give its message what it has to carry."""
    publication = _publishing.get()
    if publication is not None and publication.run is None and isinstance(headers, dict):
        said = body if isinstance(body, dict) else headers  # with task_protocol = 1, the body says what it is
        publication.instrumentation.failsafe("a publish", _open, publication, sender, said, headers, more)


def _queue(more: dict[str, Any]) -> Any:
    """Return where a message goes: the queue that is declared with it, or how it is routed."""
    declared = more.get("declare")
    queue = getattr(declared[0], "name", None) if isinstance(declared, list | tuple) and declared else None
    return queue or more.get("routing_key") or more.get("exchange")


def _open(
    publication: Publication, name: Any, said: dict[str, Any], carrier: dict[str, Any], more: dict[str, Any]
) -> None:
    publication.open(name, said, _queue(more))
    carrier[headers.AT] = time()
    origin = headers.origin(publication.run.request if publication.run is not None else None)
    if origin:
        carrier[headers.FROM] = origin
    if publication.instrumentation.settings.traces:
        inject(carrier)
