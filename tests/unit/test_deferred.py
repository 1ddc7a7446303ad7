"""What a destructor leaves to be done: by whom it is done, and when."""

import gc
import logging
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from afterword._common.own_thread import Upkeep
from afterword._ledger import deferred
from afterword._signals.multiprocess.numbers import Book
from afterword._signals.process_gauges import GaugeWriter
from afterword._starlette.state import current_request
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import succeeded
from tests.support.waiting import wait_until

NAME = "afterword-sweeper"


@pytest.fixture
def sweeper(monkeypatch: pytest.MonkeyPatch) -> deferred._Sweeper:
    """Provide a thread of this test's own that does what was deferred, without delay."""
    monkeypatch.setattr(deferred, "_SWEEP_SECONDS", 0.0)
    mine = deferred._Sweeper()
    mine.start()
    return mine


def sweepers() -> list[threading.Thread]:
    """Return the threads that do what was deferred."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_one_thread_for_all_tasks(stage: InProcessStage):
    """However many tasks there are, one thread looks for lost ones. It has a name, and holds up no exit."""
    app = stage.app_with(stage.works("mail"), stage.works("audit"))
    ask(app)
    before = sweepers()
    ask(app)
    assert sweepers() == before
    assert before
    assert all(thread.daemon for thread in before)


def test_a_sweeper_starts_once(sweeper: deferred._Sweeper):
    """Whoever starts it again has started nothing."""
    before = sweepers()
    sweeper.start()
    assert sweepers() == before


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the system refuse one thread and grant the others; return the names of those it was asked for."""
    asked: list[str] = []

    def start(thread: threading.Thread) -> None:
        asked.append(thread.name)
        if len(asked) == 1:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return asked


def test_a_run_does_not_need_the_thread(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch, scarce: list[str]):
    """Where the system refuses the thread, the run is accounted for all the same, and the next one asks again."""
    monkeypatch.setattr(deferred.sweeper, "started", False)
    app = stage.app_with(stage.works("mail"))
    ask(app)
    ask(app)
    stage.assert_story(succeeded("mail"), succeeded("mail"))
    assert scarce == [NAME] * 2


def test_the_upkeep_asks_again_for_its_thread(scarce: list[str], caplog: pytest.LogCaptureFixture):
    """Where the system refuses the thread, one warning says so, the next run asks again, and it can be stopped."""
    upkeep = Upkeep("afterword-upkeep", list)
    upkeep.start()
    upkeep.stop()
    for _ in range(3):
        upkeep.start()
    assert scarce == ["afterword-upkeep"] * 2
    [warning] = caplog.records
    assert "the system has no thread for afterword-upkeep now" in warning.getMessage()


def test_the_gauges_ask_again_for_their_thread(tmp_path: Path, scarce: list[str]):
    """A run is counted by several processes, too, where the thread that writes their gauges is refused."""
    book = Book(str(tmp_path))
    book.open()
    gauges = GaugeWriter(book, list)
    for _ in range(3):
        gauges.start()
    for file in book._files.values():
        file.close()
    assert scarce == ["afterword-gauges"] * 2


def test_what_is_deferred_is_done(sweeper: deferred._Sweeper):
    """What a destructor leaves is done although nothing else happens, also when something came before."""
    for number in range(3):
        done: list[int] = []
        deferred.defer(done.append, number)
        wait_until(lambda: done)  # noqa: B023


@pytest.mark.faults
def test_an_exit_in_what_was_deferred_is_logged(sweeper: deferred._Sweeper, caplog):
    """An exit that comes out of deferred work ends no thread; it is logged as what it was."""

    def leave() -> None:
        raise SystemExit("out of a destructor")

    deferred.defer(leave)
    wait_until(lambda: caplog.records)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("afterword", logging.ERROR)
    assert record.exc_info
    assert isinstance(record.exc_info[1], SystemExit)


# --- forks ------------------------------------------------------------------------------------------------------

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def in_child(holds: Callable[[], object]) -> bool:
    """Return whether something holds in a forked child of this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads, which is the subject
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if holds() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Destroyed:
    """Something of the user's that does something when it is destroyed."""

    count = 0

    def __del__(self) -> None:
        Destroyed.count += 1


@forking
def test_a_child_leaves_deferred_work_to_its_parent():
    """What was deferred before a fork is done once, by the parent, and nothing of it is destroyed in the child."""
    done: list[str] = []

    def left_alone() -> bool:
        deferred.drain()
        gc.collect()
        return done == [] and Destroyed.count == 0

    deferred.drain()
    deferred.defer(lambda _: done.append("mail"), Destroyed())
    assert in_child(left_alone)
    deferred.drain()
    assert done == ["mail"]


@forking
def test_a_child_starts_a_thread_of_its_own(stage: InProcessStage):
    """A child has no thread of its parent's, and its own first task starts one."""
    app = stage.app_with(stage.works("mail"))
    ask(app)

    def has_one() -> bool:
        none_yet = not sweepers()
        ask(app)
        return none_yet and len(sweepers()) == 1

    assert in_child(has_one)


@forking
def test_a_child_leaves_the_requests_around_it_to_its_parent(stage: InProcessStage):
    """Of a mounted application neither the request nor the one around it is reported by a child as well."""
    left: list[bool] = []

    def are_left() -> bool:
        request = current_request()
        return request is not None and request.parent is not None and request.forked and request.parent.forked

    async def endpoint() -> None:
        left.append(in_child(are_left))

    outer = stage.fastapi()
    outer.mount("/", stage.app(endpoint))
    ask(stage.instrument(outer))
    assert left == [True]
