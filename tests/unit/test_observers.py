"""The contract with observers, also with those that raise."""

import logging
import threading
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, HTTPException
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from afterword import Outcome, RequestInfo, TaskObserver, TaskRun, current
from afterword._ledger import runs as ledger
from afterword._ledger.deferred import drain
from afterword._ledger.instrumentation import unwatch, watch
from afterword._ledger.journal.journal import Journal
from afterword._ledger.journal.queue_observers import QueueBegun
from afterword._ledger.journal.retention import Limits
from afterword._ledger.runs import listeners_of
from tests.support.accounts import Recorder
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.stage import Odd, named
from tests.support.story import cancelled, dropped, failed, request_error, succeeded

TRANSITIONS = ("scheduled", "started", "ended")


class Notes(TaskObserver):
    """Notes what it is told, with what a run looks like at that moment."""

    def __init__(self) -> None:
        self.told = []

    def scheduled(self, run) -> None:
        self.told.append(("scheduled", run.started, run.outcome))

    def started(self, run) -> None:
        self.told.append(("started", run.started, run.outcome))

    def ended(self, run) -> None:
        self.told.append(("ended", run.started, run.outcome, type(run.exception)))

    def request_failed(self, info, exc) -> None:
        self.told.append(("request_failed", info.status, type(exc)))


class Faulty(TaskObserver):
    """Raises when it is told of one kind of transition."""

    def __init__(self, transition: str, error: type[BaseException] = RuntimeError) -> None:
        self.transition = transition
        self.error = error

    def _told(self, transition: str) -> None:
        if transition == self.transition:
            raise self.error(f"faulty {transition}")

    def scheduled(self, run) -> None:
        self._told("scheduled")

    def started(self, run) -> None:
        self._told("started")

    def ended(self, run) -> None:
        self._told("ended")

    def request_failed(self, info, exc) -> None:
        self._told("request_failed")


class FaultyTwice(Faulty):
    """Raises even when it is told of its own fault."""

    def observer_failed(self, observer: str) -> None:
        raise self.error("twice")


def patched_faulty(transition: str) -> TaskObserver:
    """Make an observer whose method has been replaced by a plain function, as test doubles do."""

    def fail(*subjects) -> None:
        raise RuntimeError(f"faulty {transition}")

    observer = TaskObserver()
    setattr(observer, transition, fail)
    return observer


class Schedules(TaskObserver):
    """Makes tasks of its own when it is told of something."""

    def __init__(self, task) -> None:
        self.task = task
        self.batches = []

    def ended(self, run) -> None:
        batch = BackgroundTasks()
        batch.add_task(self.task)
        self.batches.append((batch, BackgroundTasks([BackgroundTask(self.task)])))


def faults(caplog) -> list[logging.LogRecord]:
    """Return what was logged about faults of observers."""
    return [record for record in caplog.records if record.name == "afterword" and record.levelno == logging.ERROR]


def test_an_observer_is_told_of_every_transition(stage: InProcessStage):
    """Transitions come in order, each with the run as it is then."""
    notes = Notes()
    ask(stage.app_with(stage.fails("mail"), observers=[notes]))
    assert notes.told == [
        ("scheduled", False, None),
        ("started", True, None),
        ("ended", True, Outcome.FAILED, ValueError),
    ]


def test_an_observer_is_told_of_failed_requests(stage: InProcessStage):
    """A failed request is told once, with its status and the exception."""

    async def endpoint() -> None:
        raise KeyError("boom")

    notes = Notes()
    ask(stage.app(endpoint, observers=[notes]))
    assert notes.told == [("request_failed", 500, KeyError)]


def test_an_observer_is_told_what_dropped_a_task(stage: InProcessStage):
    """The run of a task that a failed request dropped has that exception while observers are told of its end."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise KeyError("boom")

    notes = Notes()
    ask(stage.app(endpoint, observers=[notes]))
    assert ("ended", False, Outcome.DROPPED, KeyError) in notes.told


def test_the_base_class_may_be_used_as_it_is(stage: InProcessStage):
    """An observer that overrides nothing hears nothing and raises nothing."""
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), observers=[TaskObserver()]))
    assert stage.observer_errors("TaskObserver") is None


FAULTS = [RuntimeError, CancelledError, GeneratorExit, Odd]
EXITS = [KeyboardInterrupt, SystemExit]


class Homonym(Notes):
    """Has a method of its own that is named as one of our observers' is."""

    def published(self, run) -> None:
        raise AssertionError


def test_only_what_overrides_a_declared_method_listens():
    """A method counts if its class overrides that of the class that declares it, and not by its name alone."""
    inherits, homonym, begun = TaskObserver(), Homonym(), QueueBegun(Journal("unused", Limits()))
    patched = patched_faulty("ended")
    assert listeners_of([inherits, homonym, begun, patched], "ended") == (homonym.ended, patched.ended)
    assert listeners_of([inherits, homonym, begun], "published") == ()
    assert listeners_of([inherits, homonym, begun], "acknowledged") == (begun.acknowledged,)
    assert listeners_of([inherits, homonym, begun], "error_answered") == ()


def test_an_observer_is_told_of_an_error_that_was_answered(stage: InProcessStage):
    """An exception that a handler answers with a 2xx is no failed request: ``error_answered`` says so, once."""
    told = []

    class Answered(Notes):
        def error_answered(self, info: RequestInfo, exc: BaseException) -> None:
            told.append((info.status, info.dropped, type(exc)))

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise LookupError("boom")

    answered = Answered()
    app = stage.app(endpoint, observers=[answered])
    app.add_exception_handler(LookupError, lambda request, exc: JSONResponse({}, 202))
    ask(app)
    assert told == [(202, True, LookupError)]
    assert "request_failed" not in [what for what, *_ in answered.told]


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("kind", [Faulty, FaultyTwice])
@pytest.mark.faults
def test_a_faulty_observer_disturbs_nobody(stage: InProcessStage, caplog, transition, kind, error):
    """Whatever it raises, the task runs, the others are told, every fault is counted, and the first is logged."""
    later = Recorder()
    app = stage.app_with(stage.works("mail"), observers=[kind(transition, error), later])
    for _ in range(3):
        assert ask(app).text == '{"answer":"yes"}'
    assert stage.did == ["mail"] * 3
    stage.assert_story(*[succeeded("mail")] * 3)
    assert len(later.ended_runs) == 3
    assert stage.observer_errors(kind.__name__) == 3
    [record] = faults(caplog)
    assert f"{kind.__name__}.{transition}" in record.getMessage()
    assert f"faulty {transition}" in str(record.exc_info[1])


class Leaves(Faulty):
    """Has left by the time it raises: `unwatch` in another thread, while this one is told."""

    def _told(self, transition: str) -> None:
        unwatch(self)
        super()._told(transition)


class Double:
    """A test double: neither a method nor a function."""

    def __init__(self, act: Callable[[TaskRun], None]) -> None:
        self.act = act

    def __call__(self, run: TaskRun) -> None:
        self.act(run)


@pytest.mark.parametrize(("double", "names"), [(False, "Leaves.scheduled"), (True, "Double.call")])
@pytest.mark.faults
def test_an_observer_that_leaves_while_it_is_told(stage: InProcessStage, caplog, double, names):
    """The fault of an observer that is removed in the meantime is still counted and logged under its own name."""
    leaves = Leaves("scheduled")
    if double:
        leaves.scheduled = Double(leaves.scheduled)
    app = stage.app_with(stage.works("mail"))
    watch(leaves)
    ask(app)
    stage.assert_story(succeeded("mail"))
    assert stage.observer_errors(names.partition(".")[0]) == 1
    [record] = faults(caplog)
    assert f" {names} failed" in record.getMessage()


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.faults
def test_a_faulty_observer_of_a_task_that_is_torn_down(stage: InProcessStage, caplog, error):
    """What an observer raises while a task is destroyed is counted and logged under its name, but later."""
    counted = []

    class Broken(TaskObserver):
        def tearing_down(self, run: TaskRun) -> None:
            raise error("faulty tearing_down")

    class Counts(TaskObserver):
        def tearing_down(self, run: TaskRun) -> None:
            counted.append(stage.observer_errors("Broken"))

    @named("mail")
    async def mail() -> None:
        raise GeneratorExit

    async def endpoint() -> None:
        with suppress(GeneratorExit):
            await BackgroundTask(mail)()

    app = stage.app(endpoint, observers=[Broken(), Counts()])
    for _ in range(2):
        ask(app)
        drain()
    assert counted == [None, 1]
    stage.assert_story(*[cancelled("mail")] * 2)
    assert stage.observer_errors("Broken") == 2
    [record] = faults(caplog)
    assert " Broken.tearing_down failed" in record.getMessage()
    assert str(record.exc_info[1]) == "faulty tearing_down"


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.faults
def test_a_faulty_observer_need_not_have_methods(stage: InProcessStage, caplog, transition):
    """An observer's method may be any callable, such as a test double's; its fault is still only its own."""
    ask(stage.app_with(stage.works("mail"), observers=[patched_faulty(transition)]))
    assert stage.did == ["mail"]
    stage.assert_story(succeeded("mail"))
    assert stage.observer_errors("TaskObserver") == 1
    assert len(faults(caplog)) == 1


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.faults
def test_a_faulty_observer_of_failed_requests(stage: InProcessStage, caplog, error):
    """The error response is sent and reported although an observer raises when it is told of it."""

    async def endpoint() -> None:
        raise KeyError("boom")

    app = stage.app(endpoint, observers=[Faulty("request_failed", error)])
    assert ask(app).status == 500
    stage.assert_story(request_error(500, "KeyError"))
    assert stage.observer_errors("Faulty") == 1
    assert len(faults(caplog)) == 1


def test_tasks_of_an_observer_are_not_accounted(stage: InProcessStage):
    """What an observer schedules is its own business."""
    observer = Schedules(stage.works("chore"))
    ask(stage.app_with(stage.works("mail"), stage.works("report"), observers=[observer]))
    assert len(observer.batches) == 2
    stage.assert_story(succeeded("mail"), succeeded("report"))


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.faults
def test_a_task_that_fails_while_an_observer_is_faulty(stage: InProcessStage, error):
    """The user's exception comes out unchanged, not the observer's."""
    answer = ask(stage.app_with(stage.fails("mail"), observers=[Faulty("ended", error)]))
    assert type(answer.error) is ValueError
    assert answer.error.__cause__ is answer.error.__context__ is None
    stage.assert_story(failed("mail"))


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.faults
def test_a_faulty_observer_of_a_task_that_never_runs(stage: InProcessStage, error):
    """A dropped task is told to everybody else although an observer raises, and the answer is the same."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise KeyError("boom")

    answer = ask(stage.app(endpoint, observers=[Faulty("ended", error)]))
    assert (answer.status, type(answer.error)) == (500, KeyError)
    stage.assert_story(dropped("mail"), request_error(500, "KeyError"))


def test_an_observer_that_hears_of_a_run_inside_another_is_still_at_work(stage: InProcessStage):
    """A task that an observer makes is not accounted for, also when it has just been told of another run's end."""
    kept = []

    class LetsGo(TaskObserver):
        def ended(self, run) -> None:
            if kept:
                kept.clear()  # the task's death is told in the drain
                drain()
                BackgroundTask(stage.works("chore"))

    async def endpoint(background: BackgroundTasks) -> None:
        kept.append(BackgroundTask(stage.works("audit")))
        background.add_task(stage.works("mail"))

    ask(stage.app(endpoint, observers=[LetsGo()]))
    drain()
    assert sorted(stage.outcomes) == [("audit", "abandoned"), ("mail", "succeeded")]


def test_an_observer_at_work_hides_no_task_of_another_thread(stage: InProcessStage):
    """While one thread is inside an observer, the tasks that another thread schedules are accounted for."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(TaskObserver):
        def started(self, run) -> None:
            if not entered.is_set():
                entered.set()
                go_on.wait(10)

    app = stage.app_with(stage.works("mail"), observers=[Slow()])
    first = threading.Thread(target=ask, args=(app,))
    first.start()
    assert entered.wait(10)
    ask(app)
    go_on.set()
    first.join(10)
    stage.assert_story(succeeded("mail"), succeeded("mail"))


@pytest.mark.faults
def test_a_faulty_observer_in_a_worker_thread(stage: InProcessStage):
    """A `def` endpoint schedules in a thread; what an observer raises there reaches nobody either."""

    def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    answer = ask(stage.app(endpoint, observers=[Faulty("scheduled", CancelledError)]))
    assert (answer.status, answer.error) == (200, None)
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("error", EXITS)
@pytest.mark.parametrize("transition", TRANSITIONS)
def test_an_exit_passes(stage: InProcessStage, transition, error):
    """What ends the process is not held back; should the process live on, the account is still true."""
    observer, inside = Faulty(transition, error), []

    class Looks(TaskObserver):
        def ended(self, run) -> None:
            inside.append(current())

    app = stage.app_with(stage.works("mail"), observers=[observer, Looks()], metrics_path=None)
    with pytest.raises(error):
        ask(app)
    assert current() is None
    observer.transition = None
    assert ask(app).status == 200
    assert stage.did[-1:] == ["mail"]
    assert ledger.pending() == ledger.running() == []
    stage.accounts.prometheus.assert_law()
    if transition == "started":
        run, _ = stage.accounts.recorder.ended_runs
        assert run.error_type == error.__name__
        assert inside[0] is run  # also for what hears of such an end


@pytest.mark.parametrize("error", [OSError, CancelledError, Odd])
@pytest.mark.faults
def test_a_broken_log_handler_disturbs_nothing(stage: InProcessStage, error):
    """If even logging the fault raises, the task still runs."""

    class Broken(logging.Handler):
        def emit(self, record) -> None:
            raise error("disk full")

    logger, handler = logging.getLogger("afterword"), Broken()
    logger.addHandler(handler)
    try:
        ask(stage.app_with(stage.works("mail"), observers=[Faulty("started")]))
    finally:
        logger.removeHandler(handler)
    stage.assert_story(succeeded("mail"))
    assert stage.observer_errors("Faulty") == 1


class Whereabouts(TaskObserver):
    """Notes the thread of each call, among what the tasks themselves do."""

    def __init__(self, did: list) -> None:
        self.did = did
        self.threads: dict[str, set[int]] = {}

    def note(self, hook: str, run: TaskRun) -> None:
        self.did.append((hook, run.name.rpartition(".")[2]))
        self.threads.setdefault(hook, set()).add(threading.get_ident())

    def scheduled(self, run: TaskRun) -> None:
        self.note("scheduled", run)

    def started(self, run: TaskRun) -> None:
        self.note("started", run)

    def ended(self, run: TaskRun) -> None:
        self.note(str(run.outcome), run)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        self.did.append(("request_failed", str(info)))
        self.threads.setdefault("request_failed", set()).add(threading.get_ident())


def test_the_batch_waits_for_an_observer(stage: InProcessStage):
    """Each hook is called where its text says: the next task begins when the one before has been told of."""
    did = stage.did

    def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        background.add_task(stage.works_in_thread("thumbnail"))
        background.add_task(stage.fails("report"))
        background.add_task(stage.works("audit"))

    observer = Whereabouts(did)
    ask(
        stage.app(endpoint, observers=[observer], on_task_failure=[lambda run, exc: did.append("on_task_failure")])
    )
    assert did == [
        *(("scheduled", name) for name in ("mail", "thumbnail", "report", "audit")),
        ("started", "mail"),
        "mail",
        ("succeeded", "mail"),
        ("started", "thumbnail"),
        "thumbnail",
        ("succeeded", "thumbnail"),
        ("started", "report"),
        "report fails",
        ("failed", "report"),
        ("scheduled", "<lambda>"),
        ("started", "<lambda>"),
        "on_task_failure",
        ("succeeded", "<lambda>"),
        ("skipped", "audit"),
    ]
    [worker, loop] = observer.threads["scheduled"] - {threading.get_ident()}, observer.threads["started"]
    assert loop == {threading.get_ident()}
    assert len(worker) == 1


def test_a_failed_request_is_told_before_the_error_tasks(stage: InProcessStage):
    """A dropped task and its failed request are told on the event loop, and then `on_request_error` is called."""
    did = stage.did

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise HTTPException(409)

    observer = Whereabouts(did)
    told = [lambda request, exc: did.append("on_request_error")]
    ask(stage.app(endpoint, observers=[observer], on_request_error=told))
    assert did.index(("request_failed", "GET /")) < did.index("on_request_error")
    assert ("dropped", "mail") in did
    assert all(threads == {threading.get_ident()} for threads in observer.threads.values())
