"""A Prometheus process of our own, on loopback, with its data in a directory of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from examples.demo.process import free_port

HERE = Path(__file__).parent
RULES = (HERE / "recording.yml", HERE / "alerts.yml")
"""The committed rules."""
OPTIONAL_RULES = (HERE / "optional.yml",)
"""Those that are off by default."""

_HOST = "127.0.0.1"
_PATIENCE = 30.0
_open = build_opener(ProxyHandler({})).open  # loopback is never behind a proxy


def configuration(
    targets: Mapping[str, Sequence[str]],
    rules: Sequence[Path] = RULES,
    *,
    interval: str = "5s",
    scrape: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Return a configuration that scrapes the targets of each job; JSON, which is YAML.

    ``scrape`` adds settings to a job's scrape configuration.
    """
    jobs = [
        {"job_name": job, "static_configs": [{"targets": list(addresses)}], **(scrape or {}).get(job, {})}
        for job, addresses in targets.items()
    ]
    every = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    return json.dumps(
        {"global": every, "rule_files": [str(path) for path in rules], "scrape_configs": jobs}, indent=2
    )


class Prometheus:
    """The process, from entering the context to leaving it."""

    def __init__(self, directory: Path, config: str, port: int = 0) -> None:
        self.url = f"http://{_HOST}:{(port := free_port(port))}"
        self.config = directory / "prometheus.yml"
        self.config.write_text(config, encoding="utf-8")
        self.log = directory / "prometheus.log"
        self._command = [
            shutil.which("prometheus") or "prometheus",
            f"--config.file={self.config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={_HOST}:{port}",
            "--enable-feature=exemplar-storage",
        ]

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  a fixed command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started us
            )
        try:
            self._await_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()

    def api(self, path: str, **parameters: object) -> Any:
        """Return the data of an answer of the HTTP API; raises ``ValueError`` with what it has against a query."""
        try:
            with _open(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=_PATIENCE) as answer:
                return json.load(answer)["data"]
        except HTTPError as refusal:
            with refusal:
                raise ValueError(f"{parameters}: {json.load(refusal).get('error')}") from None

    def query(self, expression: str, **parameters: object) -> list[dict[str, Any]]:
        """Return the elements of an instant vector."""
        result: list[dict[str, Any]] = self.api("query", query=expression, **parameters)["result"]
        return result

    def has(self, page: str) -> bool:
        """Tell whether the server has this page."""
        try:
            with _open(f"{self.url}{page}", timeout=_PATIENCE) as answer:
                return bool(answer.status == 200)
        except HTTPError as refusal:
            refusal.close()
            return False

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, or until the process ends by itself; tell whether it still runs."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                with _open(f"{self.url}/-/ready", timeout=1):
                    return
            except (URLError, OSError):
                if not self.wait(0.05):
                    break
        last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
        raise RuntimeError(f"Prometheus did not start; the end of its log:\n{last_lines}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:  # also where a second Ctrl-C cuts the wait short
            self._process.kill()
            self._process.wait()
