"""Links of the pages lead to a file and a heading that exist; commands of the pages are make's."""

import re
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "dashboards/*.md", "examples/**/*.md", "tests/**/*.md")
    for page in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.M)
TARGET = re.compile(r"^([a-z-]+):", re.M)


def prose_of(page: Path) -> str:
    """Return a page without its blocks of code."""
    return BLOCK.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_somewhere(page):
    """A relative link names a file, and after the number sign one of its headings."""
    here = ROOT / page
    broken = []
    for link in LINK.findall(prose_of(here).replace("](\n", "](")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        there = (here.parent / name).resolve() if name else here
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_each_make_command_exists(page):
    """What a page tells the reader to make is a target of the Makefile."""
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    told = re.findall(r"(?:^|`)make ([a-z][a-z-]+)", (ROOT / page).read_text(), re.M)
    assert set(told) - targets == set()
