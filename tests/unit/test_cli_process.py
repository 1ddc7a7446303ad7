"""The command line as a process of its own: pipes that break, disks that are full, Ctrl-C."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterword._ledger.journal.journal import Journal, journal_at
from tests.support.interpreter import run_fresh
from tests.support.journals import ended, ledger_of, new_run
from tests.support.processes import plain_environment


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Provide a journal with some runs."""
    journal = journal_at(str(tmp_path / "journal"))
    ledger = ledger_of(journal)
    for number in range(300):
        ended(ledger, new_run(f"shop.mail_{number}"))
    yield journal
    journal.close()


@contextlib.contextmanager
def command(*arguments: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command as a terminal does, which lets Ctrl-C through; it is over when the test is."""

    def hear_ctrl_c() -> None:  # a test run in the background ignores it, and its children would, too
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "afterword", *arguments],
        env=plain_environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509  no thread of ours holds a lock here
        **{"stdout": subprocess.PIPE} | options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_module_and_a_pipe(journal: Journal):
    """`python -m afterword` answers a pipe with lines of JSON."""
    with command("runs", journal.directory) as process:
        out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["task"] for line in out.splitlines()] == [
        f"shop.mail_{n}" for n in range(299, -1, -1)
    ]


def test_a_reader_that_goes_is_no_error(journal: Journal):
    """`afterword runs | head` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    with command("runs", journal.directory, stdout=write) as process:
        os.close(write)
        _, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
def test_a_full_disk_is_one_line(journal: Journal):
    """Where the answer cannot be written, the system's reason is told."""
    with open("/dev/full", "w") as full, command("runs", journal.directory, stdout=full) as process:
        _, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (2, "afterword: No space left on device\n")


def test_following_ends_with_ctrl_c(journal: Journal):
    """`--follow` writes each line at once, and Ctrl-C ends it with one line and the code that shells know."""
    with command("runs", journal.directory, "--follow", "--limit", "1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["task"] == "shop.mail_299"
        ended(ledger_of(journal), new_run("shop.new"))
        assert json.loads(process.stdout.readline())["task"] == "shop.new"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (130, "afterword: interrupted\n")


def test_no_output_at_all_is_no_traceback(journal: Journal):
    """A command whose standard output is closed does its work for nobody."""
    closed = ["sh", "-c", 'exec "$0" -m afterword runs "$1" >&-', sys.executable, journal.directory]
    done = subprocess.run(closed, env=plain_environment(), capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_needs_no_framework():
    """To look at runs, a shell waits for neither FastAPI nor OpenTelemetry's SDK to be imported."""
    heavy = "{'fastapi', 'starlette', 'opentelemetry.sdk'}"
    printed, _ = run_fresh(f"import sys, afterword._cli.main; print({heavy} & {{*sys.modules}})")
    assert printed == "set()\n"
