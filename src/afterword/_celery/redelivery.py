"""Whether a delivery still has its message: Redis gives it to another worker when it waits too long for an answer.

Asked only of what is acknowledged late and was held longer than that, so an ordinary task costs no round trip.
RabbitMQ closes the channel instead.
"""

from __future__ import annotations

from time import time
from typing import Any


def look(request: Any) -> None:
    """Ask the broker, where there is reason to, and note it in the delivery."""
    delivery = request.afterword
    if delivery is not None and request.task.acks_late and not request.acknowledged:
        channel: Any = getattr(request.message, "channel", None)
        limit = visibility_timeout(channel)
        if limit is not None and time() - delivery.received_at > limit:
            tag = request.message.delivery_tag
            with channel.conn_or_acquire() as client:
                delivery.taken = not client.hexists(channel.unacked_key, tag)


def visibility_timeout(channel: Any) -> float | None:
    """Return how long Redis waits for an acknowledgement, in seconds; ``None`` for another broker."""
    if not hasattr(channel, "unacked_key") or not hasattr(channel, "conn_or_acquire"):
        return None
    limit = getattr(channel, "visibility_timeout", None)
    return float(limit) if isinstance(limit, int | float) else None
