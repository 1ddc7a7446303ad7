"""What is released reads the same elsewhere: its links are absolute, and its metadata have the address."""

import re
import shutil
import tomllib
from pathlib import Path

from tests.support import ROOT
from tests.wheel.release import version_of, what_is_left, write_addresses

ADDRESS = "https://code.example/afterword"
LINK = re.compile(r"\]\(([^()\s]+)\)")


def test_the_readme_of_a_release_has_absolute_links(tmp_path: Path):
    """No link of the README is relative in what is built, a picture is raw, and the metadata have the address."""
    for name in ("README.md", "pyproject.toml", "src/afterword/_common/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    write_addresses(tmp_path, ADDRESS)
    links = LINK.findall((tmp_path / "README.md").read_text())
    assert len(links) == len(LINK.findall((ROOT / "README.md").read_text())) > 20
    assert [link for link in links if not link.startswith(f"{ADDRESS}/")] == []
    assert {link.split("/")[4] for link in links if link.endswith(".png")} == {"raw"}
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Repository"] == ADDRESS
    assert f"v{version_of(ROOT)}" in urls["Changelog"]


def test_a_release_without_an_address_says_so():
    """What is left to a person begins with the address, where it was not given, and never asks for it twice."""
    assert "REPOSITORY=" in what_is_left("1.0", None)[0]
    assert not [step for step in what_is_left("1.0", ADDRESS) if "REPOSITORY=" in step]
