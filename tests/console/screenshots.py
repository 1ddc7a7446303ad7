"""Takes the pictures of the console for the documentation, of the shop while customers visit it.

``make screenshots``, or ``python -m tests.console.screenshots``; it takes some minutes. The shop is visited until
its process is killed, so that something is lost, and then again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image

from dashboards.pictures.png import few_colours
from examples.demo.mailserver import Mailroom, serve
from examples.demo.process import free_port
from examples.demo.traffic import Traffic
from examples.demo.visitors import plan
from tests.support import ROOT
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import wait_until

from .browser import Visitor, chromium
from .serving import PATH, TOKEN, TRACE_URL

DIRECTORY = ROOT / "docs" / "images"
_SIZE = {"width": 1280, "height": 800}
_SCALE = 1.5
_THREADS = 4
_FIRST_SECONDS, _SECONDS = 25.0, 130.0
_RATE = 9
_LATELY = "since=300"


@contextlib.contextmanager
def mail_server() -> Iterator[int]:
    """Run the shop's mail server in a thread; yield its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(serve(Mailroom()))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextlib.contextmanager
def shop(directory: Path, port: int, mail_port: int) -> Iterator[None]:
    """Serve the shop; at the end its process is killed, whatever it does."""
    environment = plain_environment() | {
        "AFTERWORD_CONSOLE": PATH.rstrip("/"),
        "AFTERWORD_CONSOLE_TOKEN": TOKEN,
        "AFTERWORD_JOURNAL": str(directory / "journal"),
        "AFTERWORD_TRACE_URL": TRACE_URL,
        "SHOP_DIRECTORY": str(directory),
        "SHOP_SMTP_PORT": str(mail_port),
        "SHOP_THREADS": str(_THREADS),
    }
    home = directory / "shop"  # tracebacks have its path, not that of whoever takes the pictures
    if not home.exists():
        home.symlink_to(ROOT)
    python = (
        home / Path(sys.executable).relative_to(ROOT)
        if Path(sys.executable).is_relative_to(ROOT)
        else sys.executable
    )
    command = [str(python), "-m", "uvicorn", "examples.shop.app:app", "--app-dir", str(home)]
    options = ["--port", str(port), "--no-access-log"]
    log = directory / "shop.log"
    with server_process(command + options, log, environment):
        wait_until(lambda: _is_open(port), why=log.read_text)
        yield


def _is_open(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success
    return False


def visits(port: int, seconds: float) -> None:
    """Send customers; at the end nobody waits for what is still being done for them."""
    asyncio.run(Traffic(f"http://127.0.0.1:{port}", plan()).run(seconds, _RATE))


def example(console: str, **wanted: str) -> str:
    """Return the newest run that is like this."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = httpx.get(f"{console}api/runs", params={"limit": "1", **wanted}, headers=headers, timeout=20).json()
    return str(answer["runs"][0]["task_run"])


def take(console: str) -> None:
    """Take the pictures."""
    run = example(console, outcome="failed", task="examples.shop.tasks.send_confirmation")
    fragments = {
        "causes": f"#/?{_LATELY}",
        "tasks": f"#/tasks?{_LATELY}",
        "timeline": f"#/timeline?{_LATELY}&route=/orders",
        "run": f"#/runs/{run}",
    }
    with chromium() as browser:
        visitor = Visitor(browser, console, viewport=_SIZE, device_scale_factor=_SCALE, color_scheme="light")
        visitor.enter()
        for name, fragment in fragments.items():
            page = visitor.go(fragment)
            visitor.live()
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            path = DIRECTORY / f"console-{name}.png"
            few_colours(picture).save(path, optimize=True)
            sys.stdout.write(f"{path.relative_to(ROOT)}, {path.stat().st_size / 1024:.0f} KiB\n")
        visitor.context.close()


def main() -> None:
    """Let the shop be visited, killed, and visited again; then look at it."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as folder, mail_server() as mail_port:
        directory, port = Path(folder), free_port()
        with shop(directory, port, mail_port):
            visits(port, _FIRST_SECONDS)
        with shop(directory, port, mail_port):
            visits(port, _SECONDS)
            take(f"http://127.0.0.1:{port}{PATH}")


if __name__ == "__main__":
    main()
