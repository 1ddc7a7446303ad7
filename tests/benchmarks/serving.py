"""A request without tasks behind a real server: uvicorn on loopback, one connection.

As a program (``python -m tests.benchmarks.serving NAME``) it is the server.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

from tests.benchmarks.configurations import CONFIGURATIONS
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.processes import ROOT, environment_variables
from tests.benchmarks.rounds import Plan


def _serve(name: str) -> None:
    import uvicorn

    app = CONFIGURATIONS[name].make()

    @app.get("/clock")
    async def clock() -> int:
        return time.process_time_ns()

    # with its protocol: asyncio switches Nagle's algorithm off only where it sees that it is TCP
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", loop="asyncio", http="h11")
    uvicorn.Server(config).run([listener])


class Client:
    """One connection to a server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> bytes:
        """Send a request and return the body of the answer."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nhost: benchmark\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        [length] = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
        while len(body) < int(length.partition(b":")[2]):
            body += self._socket.recv(65536)
        return body

    def cost(self, path: str, times: int) -> dict[str, float]:
        """Return the microseconds of one request: the server's CPU time, and the client's waiting."""
        cpu, wall = json.loads(self.get("/clock")), time.perf_counter_ns()
        for _ in range(times):
            self.get(path)
        wall = time.perf_counter_ns() - wall
        return {"cpu": (json.loads(self.get("/clock")) - cpu) / times / 1000, "wall": wall / times / 1000}

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextlib.contextmanager
def _server(name: str) -> Iterator[Client]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.serving", name],
        cwd=ROOT,
        env=environment_variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server says nothing")
        port = int(process.stdout.readline())
        client = Client(port)
        yield client
        client.close()
    finally:
        process.kill()  # nothing is left to be finished
        process.wait()


def served(plan: Plan) -> dict[str, Figure]:
    """Return a request without tasks over a bare one, by the server's CPU time and by the client's clock."""
    rows: dict[str, list[float]] = defaultdict(list)
    times = 10 * plan.requests
    with _server("bare") as bare, _server("afterword") as observed:
        for number in range(plan.rounds + 1):
            base, ours = bare.cost("/async/0", times), observed.cost("/async/0", times)
            if number:
                for clock in ("cpu", "wall"):
                    rows[clock].append(ours[clock] / base[clock])
    return {clock: figure(values) for clock, values in rows.items()}


if __name__ == "__main__":
    _serve(sys.argv[1])
