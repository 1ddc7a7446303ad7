"""The worker's main process: what Celery's ``Request`` hears of becomes a transition, once for each delivery.

Celery calls the methods of ``Request`` for everything: that a task is accepted, that it has ended, that its child
was killed, that it was revoked. Signals tell only some of it, and some of that in processes that die.
"""

from __future__ import annotations

import weakref
from time import time
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker import state

from .._common.model import Outcome, Reason, TaskRun
from .._ledger.deferred import defer, drain
from . import attempts, headers, judgement, pools, redelivery, tellers
from .instrumentation import CeleryInstrumentation, find
from .judgement import End
from .unstarted import skip_rest


class Delivery:
    """One message that this worker has received, and what is known of the attempt."""

    __slots__ = ("gave_back", "known", "received_at", "retried", "run", "stored", "taken")

    def __init__(self, known: CeleryInstrumentation, request: Any) -> None:
        self.known = known
        self.run: TaskRun = run_of(known, request)
        self.gave_back: bool | None = None
        """Whether its message was rejected, and is in the queue again; ``None`` if it was not."""
        self.stored = False
        """Whether its success was found in the result backend, though its child was lost."""
        self.retried = False
        """Whether Celery has published it anew, as its child was lost."""
        self.taken = False
        """Whether the broker has given its message to another worker meanwhile."""
        self.received_at = time()


def run_of(known: CeleryInstrumentation, request: Any) -> TaskRun:
    """Return the run that a request is an attempt of."""
    run = known.run_of(request.app, request.type, request.request_dict)
    run._destination = headers.queue((request.delivery_info or {}).get("routing_key"))
    run._worker = getattr(request, "hostname", None)
    tellers.continue_trace(run, request.request_dict)
    return run


def observed(base: type, known: CeleryInstrumentation) -> type:
    """Return a class of requests whose deliveries are accounted for."""
    safely = known.failsafe

    class Request(base):  # type: ignore[misc]
        afterword: Delivery | None = None

        def on_accepted(self, pid: Any, time_accepted: Any) -> Any:
            safely("the beginning of a task", _begin, self)
            return super().on_accepted(pid, time_accepted)

        def execute_using_pool(self, pool: Any, **kwargs: Any) -> Any:
            try:
                result = super().execute_using_pool(pool, **kwargs)
            except Exception as exc:
                safely("the end of a task", _unheard, self, exc)
                raise
            safely("a task's thread", pools.on_error, result, lambda exc: safely("an end", _unheard, self, exc))
            return result

        def on_success(self, failed__retval__runtime: Any, **kwargs: Any) -> Any:
            told = failed__retval__runtime  # of what calls sys.exit in a thread, something that Celery cannot read
            failed, value, runtime = told if isinstance(told, tuple) else (True, None, None)
            is_success = not failed and failed is not False  # gevent says False of a task that was terminated
            if is_success:
                safely("asking the broker", redelivery.look, self)
            try:
                return super().on_success(failed__retval__runtime, **kwargs)
            finally:
                if is_success:
                    safely("the end of a task", _succeeded, self, value, runtime)

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            exc = judgement.unwrapped(getattr(exc_info, "exception", None))
            safely("asking the broker", redelivery.look, self)
            try:
                return super().on_failure(exc_info, *args, **kwargs)
            finally:
                safely("the traceback of a task", tellers.give_places, exc, exc_info)
                safely("the end of a task", _failed, self, exc)

        def on_timeout(self, soft: Any, timeout: Any) -> Any:
            try:
                return super().on_timeout(soft, timeout)
            finally:
                if not soft:
                    safely("the end of a task", _timed_out, self, timeout)

        def _announce_revoked(self, reason: Any, terminated: Any, signum: Any, expired: Any) -> Any:
            try:
                return super()._announce_revoked(reason, terminated, signum, expired)
            finally:
                safely("the end of a task", _revoked, self, bool(terminated), bool(expired))

        def _announce_cancelled(self, *args: Any, **kwargs: Any) -> Any:  # what it takes depends on the version
            try:
                return super()._announce_cancelled(*args, **kwargs)
            finally:
                safely("the end of a task", cancelled, self)

        def reject(self, requeue: bool = False) -> Any:
            was_acknowledged = self.acknowledged
            try:
                return super().reject(requeue=requeue)
            finally:
                if not was_acknowledged:
                    safely("a rejected message", _rejected, self, bool(requeue))

        def _success_was_stored(self) -> Any:  # Celery 5.7
            found = super()._success_was_stored()
            if found and self.afterword is not None:
                self.afterword.stored = True
            return found

        def _retry_worker_lost(self, *args: Any, **kwargs: Any) -> Any:  # Celery 5.7
            with attempts.trying_again(self._context):
                done = super()._retry_worker_lost(*args, **kwargs)
            if done and self.afterword is not None:
                self.afterword.retried = True
            return done

    Request.__name__, Request.__qualname__ = base.__name__, base.__qualname__
    Request.__module__ = base.__module__
    return Request


def _delivery(request: Any) -> Delivery | None:
    """Return the delivery of a request, which is new if Celery had reason to end it before it was received."""
    if request.afterword is None:
        known = find(request.app)
        if known is None:
            return None
        request.afterword = Delivery(known, request)
    delivery: Delivery = request.afterword
    return delivery


def received(request: Any) -> None:
    """Hold what a worker has received."""
    delivery = _delivery(request)
    if delivery is not None and not delivery.run._held and delivery.run.started_at is None:
        if request.task.acks_late:
            limit = redelivery.visibility_timeout(getattr(request.message, "channel", None))
            if limit is not None:
                request.request_dict[attempts.RECEIVED] = delivery.received_at, limit
        delivery.known.books.receive(delivery.run)
        _watch(request, delivery)


_watched: dict[TaskRun, weakref.ref[Any]] = {}
"""The requests of what is held: one that is forgotten is the broker's again, as after a lost connection."""


def _watch(request: Any, delivery: Delivery) -> None:
    run, books = delivery.run, delivery.known.books

    def forgotten(_: Any) -> None:
        if _watched.pop(run, None) is not None:
            defer(books.let_go, run)

    _watched[run] = weakref.ref(request, forgotten)
    drain()


def _begin(request: Any) -> None:
    delivery = _delivery(request)
    if delivery is None:
        return
    run = delivery.run
    is_first = run.attempt == 1 and not (request.delivery_info or {}).get("redelivered")
    if is_first and run.scheduled_at:
        due = max(run.scheduled_at, request.eta.timestamp() if request.eta is not None else 0.0)
        wait = time() - due
        run._is_skewed = wait < 0.0  # by another host's clock
        run.wait = max(0.0, wait)
    _watched.pop(run, None)
    run._comes_again = bool(request.task.acks_late)
    if not run._comes_again and delivery.known.books.hears_acknowledgements:
        delivery.known.failsafe("an acknowledgement", redelivery.note_acknowledgement, request)
    delivery.known.books.begin(run)


def _succeeded(request: Any, value: Any, runtime: Any) -> None:
    if runtime is not None:
        _ended(request, judgement.returned_value(value))
        return
    # the function was not called, and nobody has told so: Celery had nothing to do, or nothing that it could call
    end = judgement.SUCCEEDED
    if not (request.app.conf.worker_deduplicate_successful_tasks and request.delivery_info.get("redelivered")):
        end = judgement.raised(InvalidTaskError(judgement.INVALID), request.task)
    _ended(request, end, told=False)


def _ended(request: Any, end: End, *, told: bool = True) -> None:
    """End an attempt. ``told``: the process that ran it has told its span and its line."""
    delivery = _delivery(request)
    if delivery is None:
        return
    known, run = delivery.known, delivery.run
    if delivery.taken:
        end = judgement.given_back(Reason.TAKEN_AWAY, judgement.TAKEN_AWAY)
    outcome, reason, detail, exc = end
    _watched.pop(run, None)
    if outcome is None:
        is_first = known.books.give_back(run, reason or Reason.REQUEUED, detail or "", exc)
    elif run._held or run.started_at is not None:
        is_first = known.books.close(run, outcome, reason, detail, exc)
    elif run.outcome is None:
        known.books.close_unreceived(run, outcome, reason or Reason.UNKNOWN, detail or "")
        is_first = True
    else:
        return
    if not is_first:
        return
    if not told:
        run.exception = exc
        known.teller.tell_end(run)
        run.exception = None
    if outcome is not None and (outcome is not Outcome.SUCCEEDED or reason is Reason.IGNORED):
        skip_rest(known, request.app, run, request._payload[2])
    if outcome is Outcome.FAILED:
        tellers.call_back(known, run, exc)


def _failed(request: Any, exc: Any) -> None:
    delivery = _delivery(request)
    if delivery is None:
        return
    if delivery.stored:
        _ended(request, judgement.SUCCEEDED)
        return
    lost = isinstance(exc, judgement.LOST)
    if lost and (request._already_revoked or getattr(request, "_already_cancelled", False)):
        return
    if lost and state.should_terminate:  # before Celery 5.5 nothing else tells of a cold shutdown
        cancelled(request)
        return
    end = judgement.raised(exc, request.task, requeued=delivery.gave_back is True)
    if delivery.retried:
        end = judgement.given_back(Reason.WORKER_LOST, f"{judgement.WORKER_LOST_ONCE}; {judgement.RETRIED}", exc)
    is_told = not lost and (exc is None or isinstance(exc, Exception))  # what is no Exception ends a process
    _ended(request, end, told=is_told and end.reason not in (Reason.WORKER_LOST, Reason.TIME_LIMIT))


def _unheard(request: Any, exc: BaseException) -> None:
    """End an attempt whose exception left the pool's thread: Celery itself does not hear of it."""
    delivery = request.afterword
    if delivery is not None and delivery.run.started_at is not None:
        _failed(request, exc.__context__ if isinstance(exc.__context__, judgement.LOST) else exc)


def _timed_out(request: Any, timeout: Any) -> None:
    if not state.should_terminate:
        delivery = _delivery(request)
        requeued = delivery is not None and delivery.gave_back is True
        end = judgement.timed_out(timeout, request.task, requeued=requeued)
        _ended(request, end, told=False)


def _revoked(request: Any, terminated: bool, expired: bool) -> None:
    if terminated:
        _ended(request, End(Outcome.CANCELLED, Reason.REVOKED, judgement.REVOKED), told=False)
    elif expired:
        _ended(request, End(Outcome.DROPPED, Reason.EXPIRED, judgement.EXPIRED), told=False)
    else:
        _ended(request, End(Outcome.DROPPED, Reason.REVOKED, judgement.REVOKED_BEFORE), told=False)


def cancelled(request: Any) -> None:
    """End what Celery cancels: at a cold shutdown, or late acknowledged when the connection is lost."""
    if not request.task.acks_late:
        end = End(Outcome.CANCELLED, Reason.WORKER_SHUTDOWN, judgement.SHUTDOWN)
    elif redelivery.connection_is_lost():  # and the message with it
        end = judgement.given_back(Reason.REQUEUED, judgement.REQUEUED)
    else:
        end = judgement.given_back(Reason.WORKER_SHUTDOWN, judgement.SHUTDOWN_LATE)
    _ended(request, end, told=False)


def _rejected(request: Any, requeue: bool) -> None:
    delivery = _delivery(request)
    if delivery is None:
        return
    delivery.gave_back = requeue
    if delivery.run.started_at is None:  # a countdown that nobody can read
        if requeue:
            delivery.known.books.let_go(delivery.run)
        else:
            _ended(request, End(Outcome.ABANDONED, Reason.INVALID_MESSAGE, judgement.INVALID), told=False)
