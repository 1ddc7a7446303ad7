"""Whether a delivery still has its message: Redis gives it to another worker when it waits too long for an answer.

Asked only of what is acknowledged late, and is a copy or was held for half of that time: an ordinary task costs no
round trip. RabbitMQ closes the channel instead.

What is acknowledged early is so a moment after it has begun, and the books are told when that is done. If its
worker is killed in between, whoever finds it asks Redis.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, Final

from .._common.log import once, warn
from .._common.model import SENDING, SENT, UNSENT, TaskRun
from .._ledger.queue import QueueLedger
from .instrumentation import CeleryInstrumentation

_PATIENCE_SECONDS: Final = 1.0
_USUAL_TIMEOUT: Final = 3600.0
"""How long Redis waits for an acknowledgement if nothing is said."""


def look(request: Any) -> None:
    """Ask the broker, where there is reason to, and note it in the delivery."""
    delivery = request.afterword
    if delivery is not None and request.task.acks_late and not request.acknowledged:
        channel: Any = getattr(request.message, "channel", None)
        limit = visibility_timeout(channel)
        if limit is not None and may_be_taken(delivery.received_at, limit, request.delivery_info):
            delivery.taken = not is_there(channel, request.message.delivery_tag)


def may_be_taken(received_at: float, limit: float, delivery_info: Any) -> bool:
    """Return whether there may be another copy: of what is one itself, or of what was held for half of the limit.

    Redis noted the message before it was received here. Of a copy, the first one may end, and be acknowledged,
    while this one has just been received.
    """
    return time() - received_at > limit / 2 or bool((delivery_info or {}).get("redelivered"))


def note_acknowledgement(request: Any) -> None:
    """Tell the books when the message of a task is acknowledged that is about to begin."""
    message, delivery = request.message, request.afterword
    run: TaskRun = delivery.run
    books: QueueLedger = delivery.known.books
    if request.acknowledged:
        return

    def ack(*args: Any, **kwargs: Any) -> None:
        vars(message).pop("ack", None)  # that of its class is in its place again
        books.acknowledge(run, SENDING)
        try:
            message.ack(*args, **kwargs)
        except BaseException:  # the broker delivers it again
            books.acknowledge(run, UNSENT)
            raise
        books.acknowledge(run, SENT)

    message.ack = ack
    run._acknowledgement = UNSENT
    limit = visibility_timeout(message.channel)
    if limit is not None:
        run._tag, run._visible_until = message.delivery_tag, delivery.received_at + limit


def still_has(app: weakref.ref[Any], tag: str, visible_until: float) -> bool | None:
    """Return whether Redis waits for the acknowledgement of a message of a dead worker; ``None`` if nobody knows.

    Later, another worker may have been given the message, and have acknowledged it.
    """
    publisher = app()
    if publisher is None or time() >= visible_until:
        return None
    with briefly_connected(publisher) as connection:
        channel = connection.default_channel
        return None if visibility_timeout(channel) is None else is_there(channel, tag)


def briefly_connected(app: Any) -> Any:
    """Return a connection to the broker that waits no longer than a second for anything; a context manager."""
    patience = {"socket_timeout": _PATIENCE_SECONDS, "socket_connect_timeout": _PATIENCE_SECONDS, "max_retries": 0}
    options = {**(app.conf.broker_transport_options or {}), **patience}
    return app.connection_for_write(connect_timeout=_PATIENCE_SECONDS, transport_options=options)


def is_there(channel: Any, tag: Any) -> bool:
    """Return whether Redis still waits for the acknowledgement of a message; asked before it is sent."""
    with channel.conn_or_acquire() as client:
        return bool(client.hexists(channel.unacked_key, tag))


def visibility_timeout(channel: Any) -> float | None:
    """Return how long Redis waits for an acknowledgement, in seconds; ``None`` for another broker."""
    if not hasattr(channel, "unacked_key") or not hasattr(channel, "conn_or_acquire"):
        return None
    limit = getattr(channel, "visibility_timeout", None)
    return float(limit) if isinstance(limit, int | float) else None


_connections_lost = 0


def losing_connection(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return an ``on_connection_error_after_connected`` of a worker that says so, while Celery cancels tasks."""

    @functools.wraps(original)
    def on_connection_error_after_connected(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        global _connections_lost
        _connections_lost += 1
        try:
            return original(self, *args, **kwargs)
        finally:
            _connections_lost -= 1

    return on_connection_error_after_connected


def connection_is_lost() -> bool:
    """Return whether a worker here has just lost its connection, and all messages that it had not acknowledged."""
    return _connections_lost > 0


def due(eta: Any) -> float:
    """Return when a message is due, in seconds since the epoch; 0 for one that is due at once."""
    try:
        at = datetime.fromisoformat(eta) if isinstance(eta, str) else None
        if at is None:
            return 0.0
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()  # as Celery reads it
    except (ValueError, OverflowError):
        return 0.0


def warn_of_countdown(app: Any, known: CeleryInstrumentation, name: str, eta: Any) -> None:
    """Warn once a task of a countdown that Redis does not wait for: every worker would run a copy."""
    if known.system(app) == "redis":
        limit = (app.conf.broker_transport_options or {}).get("visibility_timeout", _USUAL_TIMEOUT)
        if due(eta) - time() > limit and once.first("countdown", name):
            warn(
                "%s is published with a countdown longer than Redis waits for its acknowledgement (%s s), so it "
                "will run several times; raise visibility_timeout in broker_transport_options",
                name,
                limit,
            )
