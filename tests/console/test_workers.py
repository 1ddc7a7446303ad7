"""Two workers, and one that is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.waiting import wait_until

from .browser import Visitor
from .serving import Site


def test_either_worker_shows_both_and_what_one_has_lost(browser: Browser, tmp_path: Path):
    """Either worker's page shows the runs of both; of a killed one it says what was lost, by name."""
    site = Site(tmp_path, workers=2)
    with site.serve():
        pids: set[int] = set()

        def both_hold() -> bool:
            pids.add(site.post("/reports"))
            return len(pids) == 2

        wait_until(both_hold)
        visitor = Visitor(browser, site.console)
        page = visitor.enter("#/now")
        for pid in pids:
            expect(page.locator(".process", has_text=f"Process {pid}")).to_contain_text("report.build")
        killed = pids.pop()
        os.kill(killed, signal.SIGKILL)
        page = visitor.go("#/")
        cause = page.locator(".cause", has_text="report.build")
        expect(cause).to_contain_text(f"process {killed} died while it ran")
        expect(cause).to_contain_text("lost")
        cause.get_by_role("link", name="example").click()
        expect(page.locator("h1")).to_contain_text("lost")
        visitor.context.close()
        assert [one for one in visitor.complaints if "Failed to load resource" not in one] == []
