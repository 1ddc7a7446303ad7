"""The examples to copy: each runs as it stands."""

import os
import subprocess
import sys

from tests.otlp.receiver import receiving
from tests.readme.test_readme import quick_start
from tests.support import ROOT


def run(*command: str, **environment: str) -> str:
    """Run Python on something in the repository; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_smallest_is_the_quick_start():
    """The smallest example is the README's first block, in twenty lines."""
    text = (ROOT / "examples" / "minimal.py").read_text()
    docstring, _, code = text.partition("\n\n")
    assert docstring.startswith('"""')
    assert code == quick_start()
    assert len(text.splitlines()) <= 20


def test_the_example_of_a_users_tests():
    """The example of a user's tests passes, with the rule for its suite."""
    plugin = ("-p", "no:afterword", "-p", "_afterword_pytest")  # by its module, whatever the entry points say
    assert "2 passed" in run("pytest", *plugin, "-p", "no:cacheprovider", "examples/tests").splitlines()[-1]


def test_the_example_of_otlp():
    """A dropped task of the example arrives at a receiver: its span, and its log record in the same trace."""
    with receiving("http/protobuf") as receiver:
        run("tests.readme.run_block", "examples/otlp.py", "POST", "/orders/13", **receiver.environment)
        [span] = receiver.runs()
        [record] = [record for record in receiver.records() if record.event == "background_task.dropped"]
    assert span.attributes["background_task.outcome"] == "dropped"
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
