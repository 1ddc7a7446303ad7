"""What can be known of the server from inside: where it listens, and whether it is about to end.

ASGI tells an application of the end only when every answer is complete, so a stream that waits for that would hold
up uvicorn for ever. uvicorn's own server object knows at once; it handles the signal that ends it.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from .._common.faults import contained

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  only compared with


def _server() -> Any:
    """Return uvicorn's server, also under gunicorn; ``None`` for any other, and for one in a thread."""
    handler = signal.getsignal(signal.SIGTERM)
    server = getattr(handler, "__self__", None)
    return server if isinstance(getattr(server, "should_exit", None), bool) else None


def is_ending() -> bool:
    """Return whether the server waits for its answers to end."""
    return getattr(_server(), "should_exit", False) is True


def address() -> str:
    """Return where the server listens, as ``http://127.0.0.1:8000``; empty if that is not known."""
    with contained():
        config = getattr(_server(), "config", None)
        # gunicorn has opened the socket, and its workers' uvicorn knows nothing of it
        if config is None or config.uds or config.fd is not None or "gunicorn.arbiter" in sys.modules:
            return ""
        host = "127.0.0.1" if config.host in _EVERYWHERE else config.host
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if config.ssl_certfile or config.ssl_keyfile else 'http'}://{host}:{config.port}"
    return ""
