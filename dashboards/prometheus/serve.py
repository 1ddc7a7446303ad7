"""Prometheus with our rules, against a shop that is open: ``make prometheus``, while ``make demo`` is serving."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from .. import counting, names, promql, recording
from .server import Prometheus, configuration

EXAMPLES = {
    "what became of the tasks": promql.total(names.ENDED, names.TASK, names.OUTCOME),
    "tasks that never ran or were lost": (
        f"{promql.series(counting.ENDS, promql.one_of(names.OUTCOME, *names.UNDONE))} > 0"
    ),
    "failure ratio": recording.FAILED_RATIO,
    "p95 of the wait": recording.WAIT_P95,
    "does the account add up": recording.DIFFERENCE,
}
_INTERVAL = "5s"


def links(prometheus: Prometheus) -> dict[str, str]:
    """Return addresses to click on; Debian has the older user interface, at another path."""
    url = prometheus.url + ("/classic" if prometheus.has("/classic/alerts") else "")
    graphs = {
        title: f"{url}/graph?" + urlencode({"g0.expr": expression, "g0.tab": 0, "g0.range_input": "15m"})
        for title, expression in EXAMPLES.items()
    }
    return {"alerts": f"{url}/alerts", "rules": f"{url}/rules", "targets": f"{url}/targets", **graphs}


def _is_open(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.prometheus.serve", description="Prometheus on loopback, with Afterword's rules."
    )
    parser.add_argument("--target", default="127.0.0.1:8000", help="host:port to scrape (default: %(default)s)")
    parser.add_argument("--job", default="shop", help="the name of the job (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9090, help="where to serve (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=os.environ.get("DEMO_SECONDS") or None,
        help="end after so long (default: DEMO_SECONDS, else at Ctrl-C)",
    )
    arguments = parser.parse_args()
    host, _, port = arguments.target.rpartition(":")
    if not host or not port.isdigit():
        parser.error(f"--target {arguments.target}: host:port is needed")
    return arguments


def _serve(arguments: argparse.Namespace, directory: Path) -> None:
    config = configuration({arguments.job: [arguments.target]}, interval=_INTERVAL)
    with Prometheus(directory, config, arguments.port) as prometheus:
        print(f"Prometheus is at {prometheus.url}; it scrapes {arguments.target} every {_INTERVAL}.")
        if not prometheus.url.endswith(f":{arguments.port}"):
            print(f"Port {arguments.port} is taken, so it is another one.")
        if not _is_open(arguments.target):
            print(f"Nobody serves on {arguments.target} yet: run `make demo` in another terminal.")
        for title, address in links(prometheus).items():
            print(f"\n  {title}\n  {address}")
        until = "Ctrl-C to stop" if arguments.seconds is None else f"for {arguments.seconds:.0f} s"
        print(f"\nServing — {until}", flush=True)
        if not prometheus.wait(arguments.seconds):
            raise RuntimeError(f"Prometheus has ended by itself:\n{prometheus.log.read_text(errors='replace')}")


def main() -> int:
    """Serve until Ctrl-C; the data goes with the process."""
    arguments = _arguments()
    if shutil.which("prometheus") is None:
        print("Prometheus is missing: apt-get install prometheus", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="afterword-prometheus-") as directory:
            _serve(arguments, Path(directory))
    except KeyboardInterrupt:
        print("\nPrometheus is stopped.")
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
