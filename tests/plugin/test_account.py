"""What a test can ask of its account, and what it is told."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fastapi import BackgroundTasks, HTTPException, Response
from starlette.background import BackgroundTask

import afterword
from afterword import Outcome, testing
from afterword._common import cardinality as bounds
from afterword.testing import AmbiguousTask, Count, UnknownTask
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named

Task = Callable[..., Any]
OUTCOMES = tuple(str(outcome) for outcome in Outcome)


def app_with(stage: InProcessStage, *tasks: Task) -> Any:
    """Make an application that has never heard of us, whose one endpoint schedules these tasks."""
    app = stage.fastapi()

    @app.get("/orders/{number}")
    async def order(number: int, background: BackgroundTasks) -> None:
        for task in tasks:
            background.add_task(task)
        if number == 404:
            raise HTTPException(404, "no such order")

    return app


def test_every_outcome_is_counted(stage: InProcessStage, opened: testing.Account):
    """Each outcome has a number of its own, for one task and for all, and scheduled is the sum of all."""
    app = app_with(stage, stage.works("mail"), stage.fails("ship"), stage.works("audit"))
    ask(app, "/orders/1")
    ask(app, "/orders/404")
    ask(app_with(stage, lambda: BackgroundTasks().add_task(stage.works("mail"))), "/orders/1")
    told = {name: [getattr(opened[name], kind) for kind in ("scheduled", "started", *OUTCOMES)] for name in opened}
    assert told.pop(next(name for name in told if "lambda" in name)) == [1, 1, 1, 0, 0, 0, 0, 0]
    assert told == {
        "shop.mail": [3, 1, 1, 0, 0, 0, 1, 1],
        "shop.ship": [2, 1, 0, 1, 0, 0, 1, 0],
        "shop.audit": [2, 0, 0, 0, 0, 1, 1, 0],
    }
    assert opened.scheduled == sum(getattr(opened, outcome) for outcome in OUTCOMES) == 8
    assert (opened.pending, opened.running) == (0, 0)


def test_a_cancelled_run_is_counted(stage: InProcessStage, opened: testing.Account):
    """A task that is cancelled while it runs is running before and cancelled after."""
    begun = asyncio.Event()

    @named("export")
    async def export() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def play() -> None:
        request = asyncio.create_task(call(app_with(stage, export), "/orders/1"))
        await begun.wait()
        assert (opened["export"].running, opened["export"].started) == (1, 1)
        assert not opened.wait(timeout=0)
        with pytest.raises(AssertionError, match=r"did not succeed within 0\.01 s, while the event loop of this"):
            opened.assert_all_succeeded(timeout=0.01)
        request.cancel()
        await asyncio.wait([request])

    asyncio.run(play())
    assert (opened["export"].running, opened["export"].cancelled) == (0, 1)
    opened.assert_all_ran()
    with pytest.raises(AssertionError, match="cancelled while it ran"):
        opened.assert_all_succeeded()


def test_runs_are_told_in_order(stage: InProcessStage, opened: testing.Account):
    """`runs` are all runs as they were scheduled; those of one task are its own."""
    app = app_with(stage, stage.works("mail"), stage.works("audit"))
    ask(app, "/orders/1")
    ask(app, "/orders/2")
    assert [run.name for run in opened.runs] == ["shop.mail", "shop.audit"] * 2
    assert [run.index for run in opened["audit"].runs] == [1, 1]
    assert all(run.request.route == "/orders/{number}" for run in opened.runs)
    assert list(opened) == ["shop.mail", "shop.audit"]


def test_ways_to_look_a_task_up(stage: InProcessStage, opened: testing.Account):
    """A task is found by its short name, a longer one, its full one, its function, and what wraps its function."""
    mail = stage.works("mail")
    ask(app_with(stage, partial(mail), test_ways_to_look_a_task_up), "/orders/1")
    for key in ("mail", "shop.mail", mail, partial(mail)):
        assert opened[key].succeeded == 1
        assert key in opened
    for key in ("test_account.test_ways_to_look_a_task_up", test_ways_to_look_a_task_up):
        assert opened[key].failed == 1


def test_a_given_name_and_the_functions_own(stage: InProcessStage, opened: testing.Account):
    """A task that `@task` names is found by that name, and still by its function's; two may share one name."""
    first, second = (afterword.task(name="send mail")(stage.works(name)) for name in ("mail", "letter"))
    ask(app_with(stage, first, second), "/orders/1")
    assert opened["send mail"].succeeded == 2
    assert [opened[key].succeeded for key in ("mail", "shop.letter", first, second)] == [1] * 4


def test_a_name_beyond_the_bound(stage: InProcessStage, opened: testing.Account, monkeypatch: pytest.MonkeyPatch):
    """A task that metrics call `other`, because there are so many names, goes by its function's."""
    monkeypatch.setattr(bounds.TASK_NAMES, "limit", 0)
    ask(app_with(stage, stage.works("mail"), stage.works("audit")), "/orders/1")
    assert [run.name for run in opened.runs] == ["other", "other"]
    assert opened["mail"].succeeded == opened["shop.audit"].succeeded == 1
    assert list(opened) == ["shop.mail", "shop.audit"]


def test_a_slip_of_the_pen_is_no_zero(stage: InProcessStage, opened: testing.Account):
    """A name that nothing was scheduled by raises, names what was scheduled, and guesses what was meant."""
    with pytest.raises(KeyError, match="nor any other"):
        opened["mail"]
    ask(app_with(stage, stage.works("mail"), stage.works("audit")), "/orders/1")
    with pytest.raises(UnknownTask) as caught:
        opened["maill"]
    told = str(caught.value)
    assert told.startswith("'maill' was not scheduled, only shop.mail, shop.audit; did you mean 'mail'? (if ")
    with pytest.raises(UnknownTask, match="only shop"):
        opened["ail"]  # no name ends in the middle of a word
    assert "maill" not in opened


def test_a_function_that_was_not_scheduled_has_zeros(stage: InProcessStage, opened: testing.Account):
    """That a task was not scheduled is said by its function, and counted from then on if it is."""
    mail = stage.works("mail")
    account = opened[mail]
    assert (account.scheduled, account.failed) == (0, 0)
    assert account.scheduled.story() == ["shop.mail was not scheduled, nor any other"]
    ask(app_with(stage, stage.works("audit")), "/orders/404")
    assert account.dropped.story()[0] == "shop.mail was not scheduled, only shop.audit"
    assert account.dropped.story()[1].startswith("failed request: GET /orders/{number}: 404")
    assert mail not in opened
    ask(app_with(stage, mail), "/orders/1")
    assert (account.scheduled, account.succeeded) == (1, 1)


def test_an_ambiguous_name_lists_the_candidates(stage: InProcessStage, opened: testing.Account):
    """A short name that several tasks share raises and names them all; the full name tells them apart."""
    theirs = stage.works("mail")
    theirs.__module__ = "bank"
    ask(app_with(stage, stage.works("mail"), theirs), "/orders/1")
    with pytest.raises(AmbiguousTask, match=r"^'mail' is ambiguous: bank\.mail, shop\.mail; look it up by"):
        opened["mail"]
    assert opened["bank.mail"].succeeded == opened["shop.mail"].succeeded == 1
    assert "mail" in opened


def test_what_is_neither_name_nor_function_is_refused(opened: testing.Account):
    """A task is looked up by a string or by something callable."""
    with pytest.raises(TypeError, match="by its name or by its function, not by 7"):
        opened[7]


def test_an_account_without_a_task_passes(opened: testing.Account):
    """Where nothing is scheduled all has run; what there must be is asked for by its number."""
    opened.assert_all_succeeded()
    opened.assert_all_ran()
    assert (repr(opened), str(opened)) == ("<account: 0 scheduled>", "no background task was scheduled")


def test_a_failed_task_has_run(stage: InProcessStage, opened: testing.Account):
    """A failed run has run: `assert_all_ran` passes it, `assert_all_succeeded` does not."""
    ask(app_with(stage, stage.fails("mail")), "/orders/1")
    opened.assert_all_ran()
    with pytest.raises(AssertionError, match="1 of 1 background task did not succeed"):
        opened.assert_all_succeeded()


def test_what_is_told_of_a_failure(stage: InProcessStage, opened: testing.Account):
    """The message tells of every run that went wrong what happened, why, and where, and sums up the others."""

    @named("ship")
    def ship() -> None:
        raise ConnectionRefusedError("no carrier")

    app = app_with(stage, stage.works("mail"), ship, stage.works("audit"))
    ask(app, "/orders/1")
    for _ in range(2):
        ask(app, "/orders/404")
    with pytest.raises(AssertionError) as caught:
        opened.assert_all_succeeded()
    heading, empty, *lines = str(caught.value).splitlines()
    assert (heading, empty) == ("8 of 9 background tasks did not succeed:", "")
    assert lines[:2] == ["shop.ship: failed, in GET /orders/{number}", "    it raised; see the traceback"]
    assert f'File "{__file__}"' in lines[2]
    assert lines[2].endswith(", in ship")  # the traceback begins with the task, not with what called it
    told = "\n".join(lines[3:])
    assert "    ConnectionRefusedError: no carrier\nshop.audit: skipped, in GET /orders/{number}\n" in told
    assert "shop.ship failed before it with ConnectionRefusedError; a batch stops at its first error" in told
    assert "2 x shop.mail: dropped, in GET /orders/{number}\n    the request raised fastapi" in told
    assert "decorate it with @task(run_on_request_error=True)\n    fastapi.exceptions.HTTPException: 404" in told
    assert lines[-2] == "shop.mail: 1 succeeded"
    assert lines[-1].startswith("2 x failed request: GET /orders/{number}: 404, fastapi.exceptions.HTTPException")


def test_a_long_story_is_cut(stage: InProcessStage, opened: testing.Account):
    """Hundreds of different failures are told up to twenty, and the rest by its number."""
    for n in range(41):
        ask(app_with(stage, stage.fails("mail", ValueError(f"order {n}"))), "/orders/1")
    with pytest.raises(AssertionError) as caught:
        opened.assert_all_succeeded()
    told = str(caught.value)
    assert told.count("it raised") == 20
    assert told.endswith("... and 21 more stories")


def test_a_pending_task_fails_the_test(stage: InProcessStage, opened: testing.Account):
    """A task that is in somebody's hands and was never called has neither succeeded nor run, as far as we know."""
    queue: list[BackgroundTask] = []
    app = stage.fastapi()

    @app.get("/")
    async def endpoint() -> None:
        queue.append(BackgroundTask(stage.works("mail")))

    ask(app)
    assert (opened["mail"].pending, opened["mail"].started) == (1, 0)
    for check, complaint in (
        (opened.assert_all_succeeded, "did not succeed"),
        (opened.assert_all_ran, "never ran"),
    ):
        with pytest.raises(AssertionError, match=f"1 of 1 background task {complaint} within 0 s:") as caught:
            check(timeout=0)
        assert "shop.mail: pending, in GET /\n    nothing has called it, and somebody still holds it" in str(
            caught.value
        )
    queue.clear()
    assert opened["mail"].abandoned == 1


def test_an_abandoned_task_in_a_cycle_is_found(stage: InProcessStage, opened: testing.Account):
    """An abandoned task that only the garbage collector can free is reported when the test asks, not later."""
    app = stage.fastapi()

    @app.get("/")
    async def endpoint() -> None:
        tasks = BackgroundTasks()
        tasks.add_task(stage.works("mail"))
        tasks.tasks[0].kwargs["myself"] = tasks

    ask(app)
    assert opened["mail"].abandoned == 1
    with pytest.raises(AssertionError, match="no response that was sent carried it"):
        opened.assert_all_ran()


def test_waiting_for_a_task_of_another_thread(stage: InProcessStage, opened: testing.Account):
    """`assert_all_succeeded` waits for what goes on after the client has its answer."""
    may_end, is_running = threading.Event(), threading.Event()

    @named("mail")
    def mail() -> None:
        is_running.set()
        may_end.wait(30)

    serving = threading.Thread(target=ask, args=(app_with(stage, mail), "/orders/1"))
    serving.start()
    try:
        assert is_running.wait(30)
        with pytest.raises(AssertionError, match=r"shop\.mail: running, in GET .*\n    it is still running"):
            opened.assert_all_succeeded(timeout=0)
        ending = threading.Timer(0.1, may_end.set)
        ending.start()
        opened.assert_all_succeeded(timeout=30)
    finally:
        may_end.set()
        serving.join(30)


def test_failed_requests_are_told(stage: InProcessStage, opened: testing.Account):
    """`request_errors` tells which request failed, how it was answered, and why; it keeps no exception."""
    app = app_with(stage)

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("boom")

    ask(app, "/orders/1")
    ask(app, "/orders/404")
    ask(app, "/broken")
    missing, crash = opened.request_errors
    assert (missing.method, missing.route, missing.status) == ("GET", "/orders/{number}", 404)
    assert (crash.error_type, crash.message, crash.status) == ("KeyError", "KeyError: 'boom'", 500)
    assert str(crash) == "GET /broken: 500, KeyError: 'boom'"


def test_an_error_that_cannot_be_told(stage: InProcessStage, opened: testing.Account):
    """An exception that raises when it is asked for its message disturbs neither the task nor the account."""

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no comment")

    ask(app_with(stage, stage.fails("mail", Silent())), "/orders/1")
    with pytest.raises(AssertionError, match="Silent: its text is not available"):
        opened.assert_all_succeeded()


def test_readable_in_a_debugger(stage: InProcessStage, opened: testing.Account):
    """The account and that of a task say what they are in one line; printed, the account tells the story."""
    ask(app_with(stage, stage.works("mail"), stage.fails("ship")), "/orders/1")
    assert repr(opened) == "<account: 2 scheduled, 1 succeeded, 1 failed>"
    assert repr(opened["mail"]) == "<shop.mail: 1 scheduled, 1 succeeded>"
    assert str(opened).splitlines()[0] == "shop.ship: failed, in GET /orders/{number}"


def test_a_number_is_a_number(stage: InProcessStage, opened: testing.Account):
    """What an account counts adds up, prints and compares as an `int`, and knows a story where it was counted."""
    ask(app_with(stage, stage.works("mail"), stage.works("audit")), "/orders/1")
    number = opened["mail"].succeeded
    assert (repr(number), str(number), number + opened["audit"].succeeded) == ("1", "1", 2)
    assert number.story() == ["shop.mail: 1 succeeded"]
    assert Count(3).story() == []


def test_an_account_can_be_read_afterwards_and_does_not_go_on(stage: InProcessStage):
    """What is scheduled after the context belongs to no account that has been closed."""
    app = app_with(stage, stage.works("mail"))
    with testing.account() as account:
        ask(app, "/orders/1")
    ask(app, "/orders/2")
    assert account["mail"].scheduled == 1
    account.assert_all_succeeded()


def test_a_run_of_before_belongs_to_somebody_else(stage: InProcessStage):
    """A task that was scheduled before the context and ends in it is not part of its account."""
    kept: list[Response] = []
    app = stage.fastapi()

    @app.get("/")
    async def endpoint() -> None:
        kept.append(Response(background=BackgroundTask(stage.works("mail"))))

    with testing.account() as before:
        ask(app)
    with testing.account() as account:
        asyncio.run(kept.pop().background())
        assert account.scheduled == 0
    assert before["mail"].succeeded == 1


def test_accounts_may_be_nested(stage: InProcessStage):
    """Each context has the account of its own time."""
    app = app_with(stage, stage.works("mail"))
    with testing.account() as outer:
        with testing.account() as inner:
            ask(app, "/orders/1")
        ask(app, "/orders/2")
    assert (inner["mail"].succeeded, outer["mail"].succeeded) == (1, 2)


def test_what_was_expected_is_accepted(stage: InProcessStage, opened: testing.Account):
    """A task that was expected to be dropped or to fail passes both assertions, by each way to name it."""
    mail, audit = stage.works("mail"), stage.fails("audit")
    app = app_with(stage, mail, audit)
    ask(app, "/orders/404")
    for check in (opened.assert_all_ran, opened.assert_all_succeeded):
        with pytest.raises(AssertionError, match="2 of 2 background tasks"):
            check()
    opened.expect({mail: "dropped"}, audit=Outcome.DROPPED)
    opened.assert_all_ran()
    opened.assert_all_succeeded()
    ask(app, "/orders/1")
    opened.assert_all_ran()
    with pytest.raises(AssertionError, match=r"^1 of 4 background tasks did not succeed:\n\nshop\.audit: failed"):
        opened.assert_all_succeeded()
    opened.expect({"shop.audit": "failed"})
    opened.assert_all_succeeded()


def test_nothing_but_what_was_expected_is_accepted(stage: InProcessStage, opened: testing.Account):
    """Another task, or another outcome of the same task, is told as without any expectation."""
    ask(app_with(stage, stage.works("mail"), stage.works("audit")), "/orders/404")
    opened.expect(mail="dropped")
    with pytest.raises(AssertionError, match=r"^1 of 2 background tasks never ran:\n\nshop\.audit: dropped"):
        opened.assert_all_ran()
    opened.expect(audit="abandoned")
    with pytest.raises(AssertionError) as caught:
        opened.assert_all_ran()
    assert str(caught.value).startswith(
        "expected to be abandoned: shop.audit: 1 scheduled, 1 dropped\n"
        "1 of 2 background tasks never ran:\n\nshop.audit: dropped"
    )


def test_what_was_expected_is_demanded(stage: InProcessStage, opened: testing.Account):
    """An expectation that no run meets fails the test, and says what happened in its place."""
    mail, other = stage.works("mail"), stage.works("other")
    opened.expect({mail: "dropped", other: "skipped"}, mial="failed")
    with pytest.raises(AssertionError) as caught:
        opened.assert_all_ran()
    assert str(caught.value).splitlines()[:3] == [
        "expected to be dropped: shop.mail was not scheduled, nor any other",
        "expected to be skipped: shop.other was not scheduled, nor any other",
        "expected to be failed: 'mial' was not scheduled, nor any other",
    ]
    ask(app_with(stage, mail), "/orders/1")
    with pytest.raises(AssertionError) as caught:
        opened.assert_all_succeeded()
    assert str(caught.value).splitlines() == [
        "expected to be dropped: shop.mail: 1 scheduled, 1 succeeded",
        "expected to be skipped: shop.other was not scheduled, only shop.mail",
        "expected to be failed: 'mial' was not scheduled, only shop.mail; did you mean 'mail'?",
        "",
        "shop.mail: 1 succeeded",
    ]


def test_what_can_be_expected(opened: testing.Account):
    """A slip in an outcome, or what can be no task, is found where it is written."""
    with pytest.raises(ValueError, match=r"an outcome is one of succeeded, failed, .*, not 'droped'"):
        opened.expect(mail="droped")
    with pytest.raises(ValueError, match=r"an outcome is one of .*, not 'pending'"):
        opened.expect(mail="pending")
    with pytest.raises(TypeError, match="by its name or by its function, not by 7"):
        opened.expect({7: "dropped"})
    opened.assert_all_ran()
