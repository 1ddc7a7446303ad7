"""Draws dashboards of kept answers in Debian's Chromium, with what ``page/package.json`` names from npm."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Route, sync_playwright

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("page")
BUILD = ROOT / ".build" / "pictures"
SCALE = 1.5
_MODULES = BUILD / "node_modules"
_BUNDLE = BUILD / "bundle"
_CHROMIUM = "/usr/bin/chromium"
_ORIGIN = "http://pictures.invalid/"
_HTML = (
    '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="bundle/page.css"><div id="root"></div>'
    f'<script>window.__grafana_public_path__ = "{_ORIGIN}public/"</script><script src="bundle/page.js"></script>'
)
_FONTS = {
    "Inter-Regular": "inter/files/inter-latin-400-normal.woff2",
    "Inter-Medium": "inter/files/inter-latin-500-normal.woff2",
    "roboto": "roboto-mono/files/roboto-mono-latin-400-normal.woff2",
}
_PATIENCE = 180_000.0


def _run(*command: str) -> None:
    """Run a command where npm's packages are; what it complains of becomes the failure."""
    environment = os.environ | {"NODE_PATH": str(_MODULES)}
    done = subprocess.run(command, cwd=BUILD, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")


def install() -> None:
    """Install the packages, unless they are there: half a minute or two, and two thirds of a gigabyte."""
    wanted, there = PAGE / "package.json", BUILD / "installed.json"
    if there.exists() and there.read_text() == wanted.read_text():
        return
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is missing: apt-get install npm")
    BUILD.mkdir(parents=True, exist_ok=True)
    shutil.copy(wanted, BUILD / "package.json")
    _run("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    shutil.copy(wanted, there)


def check_types() -> None:
    """Let TypeScript check the page."""
    _run("node", "node_modules/typescript/bin/tsc", "--project", str(PAGE / "tsconfig.json"))


def bundle() -> None:
    """Make one script of the page and of Grafana's components.

    Of their CommonJS: as modules, they import other CommonJS by default, and get an object.
    """
    same = [
        f"--alias:@grafana/{name}={_MODULES / '@grafana' / name / 'dist/cjs/index.cjs'}"
        for name in ("ui", "data", "schema")
    ]
    _run(
        "node_modules/.bin/esbuild",
        str(PAGE / "page.tsx"),
        "--bundle",
        f"--outdir={_BUNDLE}",
        "--jsx=automatic",
        "--minify",
        "--log-level=error",
        "--loader:.ttf=empty",
        '--define:process.env.NODE_ENV="production"',
        "--define:global=window",
        *same,
    )


def _file(path: str) -> Path | None:
    """Return what is served at a path: the bundle, and Grafana's icons and fonts."""
    if path.startswith("bundle/"):
        return BUILD / path
    if path.startswith("public/img/"):
        return _MODULES / "@grafana/ui/dist" / path
    for name, file in _FONTS.items():
        if path.startswith("public/fonts/") and name in path:
            return _MODULES / "@fontsource" / file
    return None


def _serve(route: Route) -> None:
    path = route.request.url.removeprefix(_ORIGIN).partition("?")[0]
    file = _file(path)
    if not path:
        route.fulfill(body=_HTML, content_type="text/html")
    elif file is not None and file.is_file():
        route.fulfill(path=file)
    else:
        route.fulfill(status=404)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def draw(browser: Browser, wanted: Mapping[str, Any], scale: float = SCALE) -> bytes:
    """Return the picture of a dashboard, as ``page/answers.ts`` describes what is wanted of it."""
    complaints: list[str] = []
    context = browser.new_context(
        viewport={"width": wanted["width"], "height": 900}, device_scale_factor=scale, timezone_id="UTC"
    )
    context.set_default_timeout(_PATIENCE)
    page = context.new_page()
    page.clock.set_fixed_time(wanted["answers"]["to"] / 1000)
    page.on("pageerror", lambda error: complaints.append(error.stack or str(error)))
    page.route("**/*", _serve)
    page.goto(_ORIGIN)
    page.evaluate("(wanted) => draw(JSON.parse(wanted))", json.dumps(wanted))
    dashboard = page.locator("#dashboard")
    dashboard.wait_for()
    box = dashboard.bounding_box()
    page.set_viewport_size({"width": wanted["width"], "height": int(box["height"]) if box else 900})
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    picture = dashboard.screenshot(animations="disabled")
    context.close()
    if complaints:
        raise RuntimeError("\n".join(complaints))
    return picture
