"""Debian's Chromium as a visitor who notices whatever a page should not do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from .serving import TOKEN

VIEWS = ("#/", "#/tasks", "#/timeline", "#/runs", "#/now")
_CHROMIUM = "/usr/bin/chromium"
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_VIOLATIONS = "addEventListener('securitypolicyviolation', (one) => console.error('CSP', one.violatedDirective))"
PATIENCE = 20_000.0

expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_OPTIONS))
        yield browser
        browser.close()


class Visitor:
    """A page of the console in a browser of its own. What it complains of is kept."""

    def __init__(self, browser: Browser, console: str, **options: Any) -> None:
        self.console = console
        self.complaints: list[str] = []
        self.asked: list[str] = []
        """The paths and queries that the page has asked the server for."""
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.context.add_init_script(_VIOLATIONS)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, url: str) -> None:
        address = urlsplit(url)
        if not url.startswith(self.console):
            self.complaints.append(f"request: {url}")
        self.asked.append(address.path.rpartition("/")[2] + (f"?{address.query}" if address.query else ""))

    def enter(self, fragment: str = "#/") -> Page:
        """Come with the cookie that the token is traded for, and look at a view."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        cookies = httpx.get(f"{self.console}api/session", headers=headers, timeout=20).cookies
        self.context.add_cookies(
            [{"name": name, "value": value, "url": self.console} for name, value in cookies.items()]
        )
        return self.go(fragment)

    def forgive(self, status: str) -> None:
        """Forget that an answer had this status: the browser says so by itself, whatever a page does about it."""
        self.complaints = [one for one in self.complaints if f"responded with a status of {status}" not in one]

    def go(self, fragment: str) -> Page:
        """Look at a view."""
        self.page.goto(self.console + fragment)
        self.shown()
        return self.page

    def shown(self) -> None:
        """Wait until a view is there."""
        expect(self.page.locator("main:not([aria-busy]) h1")).to_be_visible()

    def live(self) -> None:
        """Wait until changes are heard of."""
        expect(self.page.locator(".connection")).to_have_text("live")

    def fragment(self) -> str:
        """Return the address of the view."""
        return str(self.page.evaluate("location.hash"))
