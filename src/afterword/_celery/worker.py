"""The worker's signals: what its main process and its children set up, and what no ``Request`` is made for."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from celery import current_app, signals
from celery.worker import state

from .._common.faults import contained
from .._common.model import Outcome, Reason
from . import attempts, headers, interop, judgement, pipe, publishing, queues, requests, tellers
from .instrumentation import CeleryInstrumentation, adopt, find
from .unstarted import skip_rest


def in_order(**more: Any) -> None:
    """Put our receivers where contrib's spans are open: it may have been installed after us."""
    interop.come_last(signals.before_task_publish, publishing.before_publish)
    interop.come_last(signals.task_prerun, attempts.prerun)
    interop.come_first(signals.task_postrun, attempts.postrun)


def before_worker(options: Any = None, **more: Any) -> None:
    """Receive ``celeryd_init``: beat inside a worker (``-B``) is a child of any pool, forked before the others."""
    if isinstance(options, dict) and options.get("beat"):
        pipe.open_for_children()


def in_beat(**more: Any) -> None:
    """Receive ``beat_init``. Inside a worker, beat has closed all that it inherited before."""
    pipe.reopen_in_child()


def child_began(**more: Any) -> None:
    """Receive ``worker_process_init``, in a child of the prefork pool."""
    in_order()
    if os.environ.get("FORKED_BY_MULTIPROCESSING"):  # it was spawned: nothing is inherited
        adopt(current_app._get_current_object())
        queues.become_worker()


def before_child(**more: Any) -> None:
    """Receive ``worker_before_create_process``, which the prefork pool alone sends."""
    pipe.open_for_children()


def terminating(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return a ``terminate`` of a worker that ends what it cuts off: of that, billiard may tell nobody."""

    @functools.wraps(original)
    def terminate(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        known = find(getattr(self, "app", None))
        if known is None or not is_on():
            return original(self, *args, **kwargs)
        running = known.failsafe("what a worker runs at its end", _observed_requests) or ()
        try:
            return original(self, *args, **kwargs)
        finally:
            for request in running:
                known.failsafe("the end of a task", requests.cancelled, request)

    return terminate


def _observed_requests() -> list[Any]:
    """Return the requests of this worker that run and that are accounted for."""
    return [request for request in list(state.active_requests) if hasattr(request, "afterword")]


def received(sender: Any = None, request: Any = None, **more: Any) -> None:
    """Receive ``task_received``."""
    known = find(getattr(sender, "app", None))
    if known is not None and hasattr(request, "afterword"):
        known.failsafe("a message", requests.received, request)


def unknown(sender: Any = None, message: Any = None, name: Any = None, id: Any = None, **more: Any) -> None:
    """Receive ``task_unknown``: no task of this name is registered here."""
    known = find(getattr(sender, "app", None))
    if known is not None:
        end = judgement.End(Outcome.ABANDONED, Reason.UNREGISTERED, judgement.UNREGISTERED)
        known.failsafe("an unknown task", _unreadable, known, sender, message, name, end)


def rejected(sender: Any = None, message: Any = None, **more: Any) -> None:
    """Receive ``task_rejected``: a message that cannot be read, or is none of a task."""
    known = find(getattr(sender, "app", None))
    if known is not None:
        known.failsafe("an unreadable message", _invalid, known, sender, message)


def undecodable(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return an ``on_decode_error`` of a worker that counts the message as unreadable: no signal tells of it."""

    @functools.wraps(original)
    def on_decode_error(self: Any, message: Any, /, *args: Any, **kwargs: Any) -> Any:
        known = find(getattr(self, "app", None))
        if known is not None and is_on():
            known.failsafe("an unreadable message", _invalid, known, self, message)
        return original(self, message, *args, **kwargs)

    return on_decode_error


def _invalid(known: CeleryInstrumentation, consumer: Any, message: Any) -> None:
    said = getattr(message, "headers", None)
    if isinstance(said, dict) and said.get("task") and said.get("id"):  # else it is none of a task
        end = judgement.End(Outcome.ABANDONED, Reason.INVALID_MESSAGE, judgement.INVALID)
        _unreadable(known, consumer, message, said["task"], end)


def _unreadable(known: CeleryInstrumentation, consumer: Any, message: Any, name: Any, end: judgement.End) -> None:
    said = message.headers if isinstance(message.headers, dict) else {}
    run = known.run_of(consumer.app, name, said)
    run._worker = getattr(consumer, "hostname", None)
    run._destination = headers.queue((message.delivery_info or {}).get("routing_key"))
    tellers.continue_trace(run, said)
    outcome, reason, detail, _ = end
    if outcome is not None and reason is not None:
        known.books.close_unreceived(run, outcome, reason, detail or "")
        known.teller.tell_end(run)
    payload = None
    with contained():  # it may be what cannot be read
        payload = message.payload
    if isinstance(payload, list | tuple) and len(payload) == 3:
        skip_rest(known, consumer.app, run, payload[2])
