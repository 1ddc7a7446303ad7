"""A real OTLP receiver on loopback, HTTP and gRPC, that decodes with the official protobufs; it can be unwell."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

from tests.otlp.received import Received

REQUESTS = {
    "/v1/traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


class Receiver(Received):
    """What has arrived, and how the receiver behaves."""

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self.protocol = protocol
        self.port = 0
        self.trouble: str | int | None = None
        """``None``: well; ``"hang"``; ``"close"``: hang up without an answer; an HTTP status to answer."""
        self.attempts = 0
        """How many exports were tried, whatever became of them."""
        self.encodings: set[str] = set()
        """Of HTTP requests; gRPC does not tell its handlers."""
        self.ending = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that send everything here, quickly."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
        }


def _http_handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.attempts += 1
            if receiver.trouble == "hang":
                receiver.ending.wait()
            if receiver.trouble in ("hang", "close"):
                self.close_connection = True
                return
            if receiver.trouble is not None:
                self._answer(int(receiver.trouble), b"")
                return
            encoding = self.headers.get("content-encoding", "")
            receiver.encodings.add(encoding)
            request_type, response_type = REQUESTS[self.path]
            request = request_type.FromString(gzip.decompress(body) if encoding == "gzip" else body)
            receiver.take(request)
            self._answer(200, response_type().SerializeToString())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Bear with senders that end in the middle of a request."""


@contextlib.contextmanager
def _http(receiver: Receiver) -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", 0), _http_handler(receiver))
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


_CODES = {429: grpc.StatusCode.RESOURCE_EXHAUSTED, 500: grpc.StatusCode.INTERNAL, 503: grpc.StatusCode.UNAVAILABLE}


def _servicer(receiver: Receiver, base: type, response_type: Any) -> Any:
    class Servicer(base):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            receiver.attempts += 1
            if receiver.trouble == "hang":
                receiver.ending.wait()
            if receiver.trouble in ("hang", "close"):
                context.abort(grpc.StatusCode.UNAVAILABLE, "unwell")
            if receiver.trouble is not None:
                context.abort(_CODES[int(receiver.trouble)], "unwell")
            receiver.take(request)
            return response_type()

    return Servicer()


@contextlib.contextmanager
def _grpc(receiver: Receiver) -> Iterator[Receiver]:
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        for service, name, response in (
            (traces_grpc, "TraceService", traces.ExportTraceServiceResponse),
            (metrics_grpc, "MetricsService", metrics.ExportMetricsServiceResponse),
            (logs_grpc, "LogsService", logs.ExportLogsServiceResponse),
        ):
            add = getattr(service, f"add_{name}Servicer_to_server")
            add(_servicer(receiver, getattr(service, f"{name}Servicer"), response), server)
        receiver.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield receiver
        finally:
            receiver.ending.set()
            server.stop(0).wait()


def receiving(protocol: str) -> contextlib.AbstractContextManager[Receiver]:
    """Run a receiver for ``http/protobuf`` or ``grpc``."""
    return (_grpc if protocol == "grpc" else _http)(Receiver(protocol))
