"""What the page on tests shows of a test that fails is what pytest says."""

import re
import subprocess
import sys
from pathlib import Path

from tests.readme.test_readme import blocks
from tests.support import ROOT

PAGE = "docs/testing.md"


def test_a_failing_test_says_what_the_page_shows(tmp_path: Path):
    """A test of the first block that asserts that all succeeded fails with the text below that block."""
    code = next(block.code for block in blocks() if block.page == PAGE)
    failing = 'def test_all(account):\n    client.post("/orders/13")\n    account.assert_all_succeeded()\n'
    (tmp_path / "test_shop.py").write_text(f"{code}\n\n{failing}")
    plugin = ("-p", "no:afterword", "-p", "_afterword_pytest", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *plugin, "--rootdir", str(tmp_path), "-k", "test_all", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    [shown] = re.findall(r"^```\n(>  .*?)```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL)
    assert done.returncode == 1, done.stdout + done.stderr
    assert _words(shown) in _words(done.stdout)


def _words(text: str) -> str:
    """Return a text without the marks at its lines' beginnings, and however its lines are broken."""
    return " ".join(re.sub(r"^[>E] ", "", text, flags=re.MULTILINE).replace("\nE\n", " ").split())
