"""Several threads at once: what one of them adds to does not break under another that goes through it."""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

import anyio.to_thread
import pytest
from anyio import CapacityLimiter
from fastapi import BackgroundTasks

from afterword import task
from afterword._common import task_names
from afterword._signals import worker_threads as threads
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.threads import repeating

ROUNDS = 100


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Let the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def beside(disturb: Callable[[], object], act: Callable[[], object], rounds: int = ROUNDS) -> list[Exception]:
    """Do something many times while other threads disturb it; return what it raised."""
    raised: list[Exception] = []
    with repeating(lambda _: disturb(), 2):
        for _ in range(rounds):
            try:
                act()
            except Exception as exc:
                raised.append(exc)
    return raised


@pytest.fixture
def another_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a function that is another event loop for a moment: its limiter is noted, and soon forgotten."""
    alive: deque[CapacityLimiter] = deque(maxlen=500)
    of_this_loop = anyio.to_thread.current_default_thread_limiter
    inside = threading.local()

    def limiter() -> CapacityLimiter:
        if not getattr(inside, "another", False):
            return of_this_loop()
        made = CapacityLimiter(40)
        alive.append(made)
        return made

    def note() -> None:
        inside.another = True
        threads.note_limiter()
        inside.another = False

    monkeypatch.setattr(anyio.to_thread, "current_default_thread_limiter", limiter)
    for _ in range(500):
        note()
    yield note
    alive.clear()


def test_threads_are_counted_while_event_loops_come_and_go(another_loop):
    """The use of the worker threads can be asked for while other threads begin and end event loops."""
    assert beside(another_loop, threads.worker_threads) == []


def test_a_scrape_while_event_loops_come_and_go(stage: InProcessStage, another_loop):
    """Every scrape is answered while other threads begin and end event loops."""
    app = stage.app_with(stage.works_in_thread("report"))
    ask(app)

    async def scrape() -> None:
        for _ in range(5):
            assert (await call(app, "/metrics")).status == 200

    assert beside(another_loop, lambda: asyncio.run(scrape()), rounds=8) == []


def test_limiters_of_all_living_loops_are_summed():
    """Each living event loop's worker threads are counted, those of a closed one are not."""

    async def one_more() -> float:
        before = threads.worker_threads().limit
        threads.note_limiter()
        limiter = anyio.to_thread.current_default_thread_limiter()
        return threads.worker_threads().limit - before - limiter.total_tokens

    assert asyncio.run(one_more()) == asyncio.run(one_more()) == 0


def test_tasks_are_declared_while_others_are_listed():
    """Modules with decorated tasks may be imported in one thread while another instruments an application."""
    made = iter(range(10_000_000))

    def declare() -> None:
        task(name=f"declared {next(made)}")(lambda: None)
        if len(task_names._declared) > 90:
            task_names._declared.clear()

    assert beside(declare, lambda: [task_names.declared() for _ in range(20)]) == []


def test_a_request_fails_while_its_threads_schedule(stage: InProcessStage):
    """An error is judged while threads of the same request schedule more tasks; each of them has an outcome."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        over = threading.Event()

        def schedule() -> None:
            while not over.is_set() and len(tasks.tasks) < 2000:
                tasks.add_task(stage.works("mail"))

        adding = threading.Thread(target=schedule)
        adding.start()
        try:
            await asyncio.sleep(0.001)
            raise KeyError("boom")
        finally:
            over.set()
            adding.join()

    app = stage.app(endpoint, traces=False, logs=False)
    for _ in range(10):
        assert ask(app).status == 500
    assert {outcome for _, outcome in stage.outcomes} <= {"dropped"}
    assert stage.observer_errors("afterword") is None
    stage.accounts.prometheus.assert_law()
