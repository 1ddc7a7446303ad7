"""Makes the site: ``python -m docs.site``, by ``make docs``, writes it to .build/docs/site.

The pages stand where they belong, here and beside what they tell of. The site wants one folder, so they are copied
to one, each link made to lead to the copy. The front page is the README.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.links import ROOT, rewrite

HERE = Path("docs")
CONFIG = ROOT / HERE / "zensical.toml"
BUILD = ROOT / ".build" / "docs"
STYLE = "site.css"
PICTURES = {".png", ".svg"}


def pages() -> dict[Path, Path]:
    """Return the pages of the navigation, in its order: the file of each, from the root, and its place there."""
    nav = tomllib.loads(CONFIG.read_text())["project"]["nav"]
    return {_source(place): place for place in map(Path, _leaves(nav))}


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav:
        for below in entry.values():
            yield from _leaves(below)


def _source(place: Path) -> Path:
    if place == Path("index.md"):
        return Path("README.md")
    return HERE / place if (ROOT / HERE / place).exists() else place


def copy_pages(folder: Path) -> None:
    """Copy the pages, and the pictures that they show, into a folder, with links that hold there.

    A link to a file of the source, which the site does not have, is only its words there.
    """
    places = pages()

    def locate(file: Path) -> Path | None:
        if file in places:
            return places[file]
        if file.suffix in PICTURES:
            return file.relative_to(HERE) if file.is_relative_to(HERE) else file
        return None

    for page, place in places.items():

        def address(file: Path, place: Path = place) -> str | None:
            found = locate(file)
            if found is None:
                return None
            if file.suffix in PICTURES:
                (folder / found).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, folder / found)
            return os.path.relpath(found, place.parent)

        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(rewrite((ROOT / page).read_text(), page, address))


def main() -> int:
    """Build the site anew; return zensical's status, which is not 0 after any warning."""
    shutil.rmtree(BUILD, ignore_errors=True)
    copy_pages(BUILD / "pages")
    shutil.copyfile(CONFIG, BUILD / CONFIG.name)
    shutil.copyfile(CONFIG.with_name(STYLE), BUILD / "pages" / STYLE)
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run(  # noqa: S603  our own
        [zensical, "build", "--strict", "--clean"], cwd=BUILD, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
