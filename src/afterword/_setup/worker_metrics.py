"""``/metrics`` of a Celery worker, served by its main process, which counts for all its children; and of beat."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry

from .._celery.queues import is_worker
from .._common import semconv
from .._common.cardinality import TASK_NAMES
from .._common.faults import EXITS
from .._common.log import emit, log_fault, warn
from .._common.variables import read
from .._ledger.deferred import drain
from .._ledger.instrumentation import Instrumentation, get_instrumentation
from .exposition import render

_PORT: Final = "AFTERWORD_WORKER_METRICS_PORT"
_HOST: Final = "AFTERWORD_WORKER_METRICS_HOST"
_MOST_CONNECTIONS: Final = 20
_served: dict[int, tuple[int, ThreadingHTTPServer]] = {}
"""By port: the process that serves it, and its server."""


def serve_beat(sender: Any = None, **more: Any) -> None:
    """Receive ``beat_init``; the worker counts and serves what beat inside it (``-B``) publishes."""
    if not is_worker():
        serve(sender)


def serve(sender: Any = None, **more: Any) -> None:
    """Receive ``worker_ready``: start the series, and serve them if there is a port."""
    app = getattr(sender, "app", None)
    instrumentation = get_instrumentation(app) if hasattr(app, "__dict__") else None
    if instrumentation is not None and not instrumentation.closed:
        instrumentation.failsafe("the series of a worker", _prepare, app, instrumentation)
        if instrumentation.journal is not None:
            instrumentation.failsafe("the start of the journal", instrumentation.journal.start_up)
        port = instrumentation.settings.metrics_port
        if port is None:
            default: int | None = None
            port = read(_PORT, default, _port, "a port")
        if port is not None and instrumentation.settings.metrics and instrumentation.settings.registry is not None:
            _start(instrumentation, port)


def _prepare(app: Any, instrumentation: Instrumentation) -> None:
    """Start all outcomes of the worker's tasks at 0, so that a rate sees their first failure."""
    names = [name for name in list(app.tasks) if not name.startswith("celery.")]
    for name in names[: TASK_NAMES.limit // 2]:
        for observer in instrumentation.ledger.observers:
            prepare = getattr(observer, "prepare", None)
            if prepare is not None:
                prepare(TASK_NAMES.admit(name))


def _port(value: str) -> int:
    port = int(value)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _start(instrumentation: Instrumentation, port: int) -> None:
    known = _served.get(port)
    if known is not None and known[0] == os.getpid():
        return
    host = os.environ.get(_HOST, "").strip() or "0.0.0.0"  # noqa: S104  Prometheus is another machine
    try:
        server = _Server((host, port), _Handler)
    except OSError as fault:
        warn("the worker's metrics cannot be served at %s:%s, and the worker goes on: %s", host, port, fault)
        return
    server.instrumentation = instrumentation
    _served[port] = os.getpid(), server
    threading.Thread(target=_serve, args=(server,), name="afterword-metrics", daemon=True).start()
    emit("info", semconv.EVENT_METRICS, {semconv.KEY_PATH: f"http://{host}:{server.server_address[1]}/metrics"})


def _serve(server: ThreadingHTTPServer) -> None:
    try:
        server.serve_forever()
    except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
        log_fault("serving the worker's metrics failed", fault)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    instrumentation: Instrumentation

    def __init__(self, *args: Any) -> None:
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; hang up at once on whoever comes when too many are connected already."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a scraper that hangs up."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0  # whoever connects and says nothing does not keep a thread

    def do_GET(self) -> None:
        """Answer a scrape."""
        address = urlsplit(self.path)
        if address.path != "/metrics":
            self.send_error(404)
            return
        server: Any = self.server
        instrumentation: Instrumentation = server.instrumentation
        registry = instrumentation.settings.registry or CollectorRegistry()
        drain()
        try:
            body, headers = render(
                registry,
                instrumentation.journal,
                self.headers.get("accept", ""),
                self.headers.get("accept-encoding", ""),
                parse_qs(address.query).get("name[]", []),
            )
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001  a collector of the user's
            log_fault("rendering the worker's metrics failed", fault)
            self.send_error(500)
            return
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""
