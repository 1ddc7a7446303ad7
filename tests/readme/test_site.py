"""The site is made of pages that are all there, and its copies of them link to each other."""

import re
from pathlib import Path

import pytest

from docs.links import rewrite, target
from docs.site import copy_pages, pages
from tests.support import ROOT

MADE = re.compile(r"\]\(([^()\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the folder that the site is built from."""
    folder = tmp_path_factory.mktemp("pages")
    copy_pages(folder)
    return folder


def test_every_page_is_in_the_navigation():
    """All of docs is in the site, besides the pages that stand beside what they tell of."""
    written = {page.relative_to(ROOT) for page in (ROOT / "docs").rglob("*.md")}
    assert written - set(pages()) == set()


def test_the_front_page_is_the_readme(site: Path):
    """The site begins with the README, and its links lead to the site's pages."""
    front = (site / "index.md").read_text()
    assert front.startswith("# Afterword\n")
    assert "](outcomes.md)" in front
    assert "](images/console-causes.png)" in front


def test_each_link_of_a_copy_holds(site: Path):
    """A link of a copied page leads to another copy, or to a picture beside it; there are many."""
    links = [(page, link) for page in site.rglob("*.md") for link in MADE.findall(page.read_text())]
    inside = [(page, link.partition("#")[0]) for page, link in links if not re.match(r"[a-z]+:|#", link)]
    assert len(inside) > 100
    assert [(page.name, link) for page, link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("[a](docs/b.md#c)", "[a](made/docs/b.md#c)"),
        ("[a](../b.md)", "[a](../b.md)"),
        ("[a](https://b.example)", "[a](https://b.example)"),
        ("[a](b.py)", "a"),
        ("[a](#b)", "[a](made/page.md#b)"),
        ('<img src="docs/b.png">', '<img src="made/docs/b.png">'),
        ("```\n[a](docs/b.md)\n```\n", "```\n[a](docs/b.md)\n```\n"),
    ],
    ids=["page", "outside", "address", "nowhere", "own", "picture", "code"],
)
def test_a_link_is_led_elsewhere(text: str, becomes: str):
    """Each kind of link is led to its file's place; what has no place keeps its words, and code stays."""
    assert rewrite(text, Path("page.md"), lambda f: None if f.suffix == ".py" else f"made/{f}") == becomes


def test_a_link_is_read_from_its_page():
    """A link is relative to the folder of its page."""
    assert target("../README.md#x", Path("docs/a.md")) == (Path("README.md"), "#x")


def test_the_readme_is_short():
    """The README has two hundred lines at most: the rest has pages of its own."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
