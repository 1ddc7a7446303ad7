"""`afterword runs`, `causes`, `now` and `show`: what they answer from a journal's files."""

import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from afterword._cli import main as cli_main
from afterword._cli import runs
from afterword._common.model import Outcome, Reason, RequestInfo, TaskRun
from afterword._ledger.journal import layout
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.runs import Ledger
from tests.support.command_line import afterword
from tests.support.journals import (
    TRACE,
    Heard,
    Ids,
    attempt_of,
    ended,
    give_up,
    ledger_of,
    new_run,
    queue_ledger_of,
    scheduled,
    started,
    write_live,
)

HARMFUL = "\x1b]0;owned\x07\x9b31m\u202e[bold red]mark[/]\nnew line"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a wide terminal and no journal of its own."""
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("AFTERWORD_JOURNAL", raising=False)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Provide a journal."""
    journal = journal_at(str(tmp_path / "journal"))
    yield journal
    journal.close()


@pytest.fixture
def ledger(journal: Journal) -> Ledger:
    """Provide a ledger whose runs are in the journal, with spans."""
    return ledger_of(journal, traces=[Ids()])


def dropped(ledger: Ledger, run: TaskRun) -> TaskRun:
    """Schedule a run and drop it."""
    ledger.end_unstarted(scheduled(ledger, run), Outcome.DROPPED, Reason.REQUEST_FAILED, "answer first")
    return run


def raised(text: str = "no mail server") -> Exception:
    """Return an exception that was raised."""
    try:
        raise ConnectionRefusedError(text)
    except ConnectionRefusedError as exc:
        return exc


def die(journal: Journal, seen_at: float) -> None:
    """Leave a file of a process that died with what is in flight now."""
    directory = Path(journal.directory)
    [live] = directory.glob("*.live")
    write_live(directory, live.read_bytes()[layout.HEAD_SIZE :], alive=seen_at, pid=4711)


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_every_run_as_json_newest_first(journal: Journal, ledger: Ledger):
    """A program reads one object a line, with the keys of log lines and times in UTC."""
    first, last = ended(ledger), ended(ledger, new_run("shop.audit"), raised())
    answer = afterword("runs", journal.directory)
    assert (answer.code, answer.err) == (0, "")
    newest, oldest = answer.objects
    assert (newest["task_run"], oldest["task_run"]) == (last.id, first.id)
    assert (newest["task"], newest["outcome"], newest["reason"]) == ("shop.audit", "failed", "exception")
    assert (newest["error_type"], newest["error"]) == ("ConnectionRefusedError", "no mail server")
    assert (newest["http_method"], newest["http_route"]) == ("POST", "/orders/{number}")
    assert (newest["trace_id"], newest["span_id"]) == (TRACE, last.span_id)
    assert "ConnectionRefusedError: no mail server" in newest["traceback"]
    assert datetime.fromisoformat(newest["ended_at"]).timestamp() == pytest.approx(last.ended_at, abs=1e-5)
    assert newest["ended_at"].endswith("+00:00")
    assert "reason" not in oldest


def test_a_person_gets_a_table(journal: Journal, ledger: Ledger):
    """A terminal shows a line a run, with the beginning of its id."""
    run = ended(ledger, exc=raised())
    answer = afterword("runs", journal.directory, terminal=True)
    [line] = [line for line in answer.out.splitlines() if "mail" in line]
    assert line.split()[2:4] == ["failed", "mail"]
    assert run.id[:12] in line
    assert "ConnectionRefusedError: no mail server" in line


def test_what_is_asked_for_is_what_is_shown(journal: Journal, ledger: Ledger):
    """Each filter leaves out the others, and all of them hold at once."""
    mail = ended(ledger, new_run("shop.tasks.mail"))
    other = new_run("shop.tasks.audit", route="/other")
    failure, drop = ended(ledger, other, raised()), dropped(ledger, new_run("shop.other.mail"))

    def ids(*options: str) -> list[str]:
        return [found["task_run"] for found in afterword("runs", journal.directory, *options).objects]

    assert ids("--outcome", "failed") == [failure.id]
    assert ids("--outcome", "failed", "--outcome", "dropped") == [drop.id, failure.id]
    assert ids("--task", "shop.tasks.mail") == [mail.id]
    assert ids("--task", "mail") == [drop.id, mail.id]
    assert ids("--task", "ail") == []
    assert ids("--route", "/other") == [failure.id]
    assert ids("--trace", TRACE.upper()) == [drop.id, failure.id, mail.id]
    assert ids("--trace", "0" * 32) == []
    assert ids("--since", "1h") == [drop.id, failure.id, mail.id]
    assert ids("--since", "2999-01-01") == []
    assert ids("--task", "mail", "--outcome", "dropped") == [drop.id]
    assert ids("--limit", "2") == [drop.id, failure.id]


def test_a_table_says_that_there_are_more(journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Many runs are cut to the newest for a person, who is told so, and not for a program."""
    monkeypatch.setattr(runs, "_TABLE_LIMIT", 2)
    for _ in range(3):
        ended(ledger)
    assert "These are the newest 2; --limit 0 shows all." in afterword("runs", journal.directory, "--text").out
    assert "--limit" not in afterword("runs", journal.directory, "--text", "--limit", "0").out
    assert len(afterword("runs", journal.directory).objects) == 3


@pytest.mark.parametrize("when", ["", "soon", "10", "10x", "-5m", "2026-13-01", "9999999999999m", "0001-01-01"])
def test_a_time_that_cannot_be_read_is_refused(when: str, tmp_path: Path):
    """A wrong time is one line that names it, and no search."""
    answer = afterword("runs", tmp_path, f"--since={when}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith("afterword runs: error: argument --since: ")


# --- causes -----------------------------------------------------------------------------------------------------


def test_causes_are_counted_most_frequent_first(journal: Journal, ledger: Ledger):
    """Runs that did not succeed are grouped by what they have in common, with an example and advice."""
    ended(ledger)
    drop = dropped(ledger, new_run("shop.audit"))
    failures = [ended(ledger, exc=raised(text)) for text in ("one", "another")]
    often, once = afterword("causes", journal.directory).objects
    assert (often["count"], often["task"], often["outcome"]) == (2, "mail", "failed")
    assert (often["error_type"], often["example"]) == ("ConnectionRefusedError", failures[1].id)
    assert often["first_at"] < often["last_at"]
    assert f"afterword show {failures[1].id[:12]}" in often["detail"]
    assert (once["count"], once["task"], once["detail"]) == (1, "shop.audit", "answer first")
    assert (once["example"], once["first_at"]) == (drop.id, once["last_at"])
    shown = afterword("causes", journal.directory, terminal=True).out
    assert "2 × mail failed  exception: ConnectionRefusedError  in POST /orders/{number}" in shown
    assert shown.index("2 × mail") < shown.index("1 × shop.audit")
    assert "answer first" in shown


def test_a_lost_run_has_advice(journal: Journal, ledger: Ledger):
    """Of a run that was lost nobody wrote what to do, so the command says it."""
    run = started(ledger)
    die(journal, time.time())
    give_up(ledger, run)
    journal.join(Heard())
    journal.recover()
    [cause] = afterword("causes", journal.directory, "--outcome", "lost").objects
    assert cause["outcome"] == "lost"
    assert "process 4711 died while it ran" in cause["detail"]


# --- now --------------------------------------------------------------------------------------------------------


def test_what_is_in_flight_is_shown_by_process_oldest_first(journal: Journal, ledger: Ledger):
    """A living process's runs are pending or running; a dead one's are lost, and their clock stands."""
    runs = [started(ledger, new_run("shop.old")), scheduled(ledger, new_run("shop.new"))]
    die(journal, runs[0].scheduled_at + 5)
    answer = afterword("now", journal.directory)
    told = [(each["task"], each["state"], each["alive"], each["pid"]) for each in answer.objects]
    assert [each for each in told if each[2]] == [
        ("shop.old", "running", True, os.getpid()),
        ("shop.new", "pending", True, os.getpid()),
    ]
    assert [each for each in told if not each[2]] == [
        ("shop.old", "lost", False, 4711),
        ("shop.new", "lost", False, 4711),
    ]
    assert next(each["age_s"] for each in answer.objects if not each["alive"]) == 5.0
    shown = afterword("now", journal.directory, terminal=True).out
    assert "process 4711, dead, last seen" in shown
    assert f"process {os.getpid()}, alive: 2 in flight" in shown
    assert "lost (running)" in shown
    give_up(ledger, *runs)


# --- show -------------------------------------------------------------------------------------------------------


def test_show_tells_everything_about_a_run(journal: Journal, ledger: Ledger):
    """An id or its beginning is enough; the traceback is there, and the others of the request with their ends."""
    failure = ended(ledger, exc=raised())
    drop, waiting = dropped(ledger, new_run("shop.audit")), scheduled(ledger, new_run("shop.late"))
    answer = afterword("show", failure.id[:10], journal.directory, terminal=True)
    assert answer.code == 0
    for text in (
        failure.id,
        "POST /orders/{number}",
        "r-1",
        TRACE,
        "Traceback (most recent call last)",
        "no mail server",
    ):
        assert text in answer.out
    others = answer.out.partition("others of its request")[2]
    assert f"{drop.id[:12]}  shop.audit dropped  request_failed" in others
    assert f"{waiting.id[:12]}  shop.late pending" in others
    [told] = afterword("show", failure.id, journal.directory).objects
    assert told["task_run"] == failure.id
    assert [other["task_run"] for other in told["others"]] == [drop.id, waiting.id]
    [pending] = afterword("show", waiting.id.upper(), journal.directory).objects
    assert (pending["state"], "outcome" in pending) == ("pending", False)
    give_up(ledger, waiting)


def test_a_run_of_another_request_is_no_other(journal: Journal):
    """Without traces, the request id tells; without that, nothing does, and the command says so."""
    ledger = ledger_of(journal)
    one, same = ended(ledger, new_run("one")), ended(ledger, new_run("same"))
    ended(ledger, new_run("elsewhere", request_id="r-2"))
    alone = ended(ledger, new_run("alone", request_id=None))
    [told] = afterword("show", one.id, journal.directory).objects
    assert [other["task_run"] for other in told["others"]] == [same.id]
    assert "others" not in afterword("show", alone.id, journal.directory).objects[0]
    assert "not known" in afterword("show", alone.id, journal.directory, "--text").out


def test_an_id_must_be_of_one_run(journal: Journal, ledger: Ledger):
    """An id that nobody has, or a beginning that several have, is one line and exit code 1."""
    known = {ended(ledger).id for _ in range(40)}
    missing = afterword("show", "g" * 32, journal.directory)
    assert (missing.code, missing.out) == (1, "")
    assert "there is no run gggg" in missing.err
    first = next(digit for digit in "0123456789abcdef" if sum(run[0] == digit for run in known) > 1)
    several = afterword("show", first, journal.directory)
    assert (several.code, several.err.count("\n")) == (1, 1)
    assert f"more than one run begins with {first}" in several.err


# --- trouble ----------------------------------------------------------------------------------------------------

COMMANDS = [("runs",), ("causes",), ("now",), ("show", "abc")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_directory_must_be_named_and_be_there(command: tuple[str, ...], tmp_path: Path):
    """Without a directory, or with one that is missing or a file, there is one line and exit code 2."""
    file = tmp_path / "file"
    file.touch()
    for arguments in ((), (tmp_path / "missing",), (file,)):
        answer = afterword(*command, *arguments)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert answer.err.startswith("afterword: ")
    assert "AFTERWORD_JOURNAL" in afterword(*command).err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_empty_directory_is_no_error(command: tuple[str, ...], tmp_path: Path):
    """Where nothing was written yet, one line says so; only the run that was asked for is missed."""
    answer = afterword(*command, tmp_path)
    assert (answer.code, answer.out, answer.err.count("\n")) == (int(command[0] == "show"), "", 1)


def test_the_variable_names_the_directory(journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Where the application has its journal from the environment, the command has it from there, too."""
    run = ended(ledger)
    monkeypatch.setenv("AFTERWORD_JOURNAL", journal.directory)
    assert [found["task_run"] for found in afterword("runs").objects] == [run.id]


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_no_text_from_a_file_reaches_the_terminal_as_it_is(
    rich: bool, journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """Control characters are escaped, markup is text, and a name is one line, whichever way it is shown."""
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    name = f"shop.{HARMFUL}"
    run = TaskRun(name, name, RequestInfo(HARMFUL, HARMFUL, HARMFUL), 0, is_async=True)
    ended(ledger, run, raised(HARMFUL))
    waiting = scheduled(ledger, TaskRun(name, name, RequestInfo("GET", HARMFUL, "r"), 0, is_async=True))
    for command in (("runs",), ("causes",), ("now",), ("show", run.id)):
        for options in ((), ("--json",)):
            answer = afterword(*command, *(journal.directory, *options), terminal=True)
            assert answer.code == 0
            assert [character for character in answer.out if ord(character) < 32 and character != "\n"] == []
            assert not {"\x9b", "\u202e"} & set(answer.out)
            assert "[bold red]mark[/]" in answer.out
    give_up(ledger, waiting)


def test_without_rich_a_table_is_plain(journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """A terminal without rich gets the same columns, without lines."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    ended(ledger)
    heading, line = afterword("runs", journal.directory, terminal=True).out.splitlines()
    assert heading.split() == ["ended", "outcome", "task", "ran", "run", "request", "why"]
    assert line.split()[2:4] == ["succeeded", "mail"]


def test_readers_only_read(journal: Journal, ledger: Ledger):
    """No command changes a file, not even a dead process's, and none closes its account."""
    run = started(ledger)
    die(journal, time.time())
    ended(ledger, exc=raised())
    directory = Path(journal.directory)

    def files() -> dict[str, tuple[bytes, int]]:
        return {file.name: (file.read_bytes()[56 + 8 :], file.stat().st_size) for file in directory.iterdir()}

    before = files()
    for command in (("runs",), ("causes",), ("now",), ("show", run.id)):
        assert afterword(*command, directory).code == 0
    assert files() == before
    give_up(ledger, run)


@pytest.mark.parametrize(("trouble", "code"), [(BrokenPipeError, 141), (KeyboardInterrupt, 130)])
def test_an_answer_that_is_cut_short_is_no_traceback(
    trouble: type[BaseException], code: int, journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """A reader that has gone and Ctrl-C end a command with the code that shells know."""

    def write(self: object, text: str) -> None:
        raise trouble

    ended(ledger)
    monkeypatch.setattr("afterword._cli.output.Output._write", write)
    answer = afterword("runs", journal.directory)
    assert (answer.code, "Traceback" in answer.err) == (code, False)


def test_following_tells_what_there_was_and_then_what_ends(
    journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """`--follow` begins with the last runs, and then tells each that ends, once, in the order of the ends."""
    ended(ledger, new_run("left out"))
    ended(ledger, new_run("before"))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            raise KeyboardInterrupt
        if len(naps) < 3:
            for number in (1, 2):
                ended(ledger, new_run(f"new {len(naps)}.{number}"))

    monkeypatch.setattr(runs.time, "sleep", nap)
    answer = afterword("runs", journal.directory, "--follow", "--limit", "1")
    assert answer.code == cli_main.INTERRUPTED
    assert [told["task"] for told in answer.objects] == ["before", "new 1.1", "new 1.2", "new 2.1", "new 2.2"]


def test_help_and_version_are_there():
    """Each command explains itself."""
    assert "DIR" in afterword("runs", "--help").out
    assert afterword("--version").out.startswith("afterword ")
    assert all(command in afterword("--help").out for command in ("runs", "causes", "now", "show", "account"))
    assert afterword().code == 2


# --- of Celery's ------------------------------------------------------------------------------------------------


def tried_twice(journal: Journal) -> str:
    """Let a task of Celery's be returned once, and succeed then; return its id."""
    books, first = queue_ledger_of(journal), attempt_of()
    last = attempt_of(run_id=first.id, attempt=2)
    books.begin(first)
    books.give_back(first, Reason.RETRY, "it will be tried again", raised())
    books.begin(last)
    books.close(last, Outcome.SUCCEEDED)
    return first.id


def test_attempts_are_shown(journal: Journal):
    """`show` tells of a task of Celery's on which worker it ran, and each attempt with its reason and time."""
    run_id = tried_twice(journal)
    [told] = afterword("show", run_id, journal.directory).objects
    assert (told["engine"], told["attempt"], told["worker"], told["queue"]) == (
        "celery",
        2,
        "celery@shop-1",
        "heavy",
    )
    [attempt] = told["attempts"]
    assert (attempt["attempt"], attempt["outcome"], attempt["reason"]) == (1, "returned", "retry")
    assert attempt["error_type"] == "ConnectionRefusedError"
    assert datetime.fromisoformat(attempt["ended_at"]).tzinfo is not None
    text = afterword("show", run_id[:8], journal.directory, terminal=True).out
    line = text.splitlines()[text.splitlines().index("  other attempts") + 1]
    assert "attempt 1  returned  retry: ConnectionRefusedError  on celery@shop-1" in line
    assert "  worker        celery@shop-1" in text


def test_the_engine_is_a_column_where_there_are_two(journal: Journal, ledger: Ledger):
    """The table of runs has the engine only where not all are Starlette's; attempts are listed when asked for."""
    ended(ledger)
    assert "engine" not in afterword("runs", journal.directory, terminal=True).out
    run_id = tried_twice(journal)
    lines = afterword("runs", journal.directory, terminal=True).out.splitlines()
    assert [line.split()[-2:] for line in lines if "statement" in line] == [["celery", "celery@shop-1"]]
    [attempt] = afterword("runs", journal.directory, "--outcome", "returned").objects
    assert (attempt["task_run"], attempt["attempt"]) == (run_id, 1)
    [cause] = afterword("causes", journal.directory).objects
    assert (cause["outcome"], cause["reason"], cause["engine"]) == ("returned", "retry", "celery")


def test_now_names_the_worker(journal: Journal):
    """What a worker of Celery's runs is in flight under the worker's name."""
    books, run = queue_ledger_of(journal), attempt_of(late=True)
    books.begin(run)
    answer = afterword("now", journal.directory, terminal=True).out
    assert f"process {os.getpid()} (celery@shop-1), alive: 1 in flight" in answer
    [told] = afterword("now", journal.directory).objects
    assert (told["task_run"], told["engine"], told["worker"]) == (run.id, "celery", "celery@shop-1")
    books.close(run, Outcome.SUCCEEDED)
