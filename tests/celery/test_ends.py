"""How a task ends in a worker: each end counts once, and metrics, spans and lines of all processes agree on it."""

from __future__ import annotations

from tests.celery.conftest import shared_by
from tests.celery.stage import Stage
from tests.support.waiting import wait_until

shared = shared_by("prefork", "threads", "gevent", "solo")


def test_success(play: Stage):
    """A task that returns is scheduled where it is published, and succeeds once in the worker."""
    result = play.publish("works", 7)
    assert result.get(timeout=30) == 7
    play.settles("scheduled works", "started works", "ended works succeeded")
    play.tells(result.id, "succeeded")


def test_failure(play: Stage):
    """A task that raises has failed, with the exception's type in the span, the line and the metric."""
    result = play.publish("fails")
    play.settles("scheduled fails", "started fails", "ended fails failed")
    play.tells(result.id, "failed exception")
    [line] = play.lines(result.id)
    assert (line["error_type"], line["level"]) == ("ValueError", "error")
    assert 'background_task_failures_total{background_task_engine="celery"' in play.workers[0].scrape()


def test_an_expected_exception(play: Stage):
    """An exception that Celery is told to expect fails the task all the same."""
    result = play.publish("expected")
    play.settles("scheduled expected", "started expected", "ended expected failed")
    play.tells(result.id, "failed exception")


def test_retries(play: Stage):
    """A task that is retried is one task: attempts are returned, and only the last has an outcome."""
    result = play.publish("retries", 2)
    play.settles("scheduled retries", "3 started retries", "2 returned retries retry", "ended retries succeeded")
    play.tells(result.id, "retry", "retry", "succeeded")
    assert sorted(line["attempt"] for line in play.lines(result.id)) == [1, 2, 3]


def test_retries_that_are_used_up(play: Stage):
    """When no attempt is left, the task fails with its own exception."""
    result = play.publish("gives_up")
    play.settles("scheduled gives_up", "3 started gives_up", "2 returned gives_up retry", "ended gives_up failed")
    play.tells(result.id, "retry", "retry", "failed exception")


def test_ignored(play: Stage):
    """A task that raises Ignore has succeeded: ignored."""
    result = play.publish("ignores")
    play.settles("scheduled ignores", "started ignores", "ended ignores succeeded")
    play.tells(result.id, "succeeded ignored")


def test_rejected(play: Stage):
    """A task that rejects its message has failed: rejected."""
    result = play.publish("rejects")
    play.settles("scheduled rejects", "started rejects", "ended rejects failed")
    play.tells(result.id, "failed rejected")


def test_requeued(play: Stage):
    """A task that puts its message back is one task, whose first attempt is returned: requeued."""
    result = play.publish("requeues")
    play.settles(
        "scheduled requeues", "2 started requeues", "returned requeues requeued", "ended requeues succeeded"
    )
    play.tells(result.id, "requeued", "succeeded")


def test_replaced(play: Stage):
    """A task that replaces itself has succeeded; what replaces it is a run of its own."""
    result = play.publish("replaces")
    play.settles(
        *("scheduled replaces", "started replaces", "ended replaces succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
    )
    play.tells(result.id, "succeeded replaced", "succeeded")


def test_a_task_that_publishes(play: Stage):
    """A task that is published by a task is scheduled in the worker's account."""
    play.publish("publishes")
    play.settles(
        *("scheduled publishes", "started publishes", "ended publishes succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
    )


def test_a_coroutine_function(play: Stage):
    """Celery awaits no async function: nothing of it was done, and so it has failed, whatever Celery says."""
    first, second = play.publish("coroutine"), play.publish("coroutine_ignored")
    play.settles(
        *("scheduled coroutine", "started coroutine", "ended coroutine failed"),
        *("scheduled coroutine_ignored", "started coroutine_ignored", "ended coroutine_ignored failed"),
    )
    play.tells(first.id, "failed never_awaited")
    play.tells(second.id, "failed never_awaited")


def test_a_result_that_cannot_be_stored(play: Stage):
    """A result that cannot be stored fails its task."""
    result = play.publish("unstorable")
    play.settles("scheduled unstorable", "started unstorable", "ended unstorable failed")
    play.tells(result.id, "failed exception")


def test_expired(play: Stage):
    """A task that has expired when it is received never runs: dropped, expired."""
    result = play.publish("works", expires=-1)
    play.settles("scheduled works", "ended works dropped")
    play.tells(result.id, "dropped expired")


def test_expired_in_its_countdown(play: Stage):
    """A task that expires while the worker holds it is dropped when its countdown is over."""
    result = play.publish("works", countdown=1, expires=0.3)
    play.settles("scheduled works", "ended works dropped")
    play.tells(result.id, "dropped expired")


def test_a_countdown(play: Stage):
    """A task with a countdown is held by the worker, and waits from when it is due."""
    result = play.publish("works", countdown=1)
    play.settles("scheduled works", "started works", "ended works succeeded")
    [line] = play.lines(result.id)
    assert line["wait_s"] < 5


def test_a_rate_limit(play: Stage):
    """A task that has to wait for its rate is held meanwhile, and each one ends once."""
    for _ in range(3):
        play.publish("limited")
    play.settles("3 scheduled limited", "3 started limited", "3 ended limited succeeded")


def test_a_chain(play: Stage):
    """Each step of a chain is scheduled when it is published, by the worker that ended the one before."""
    (play.signature("works", 1) | play.signature("works") | play.signature("adds")).apply_async()
    play.settles(
        *("2 scheduled works", "2 started works", "2 ended works succeeded"),
        *("scheduled adds", "started adds", "ended adds succeeded"),
    )


def test_a_chain_that_stops(play: Stage):
    """When a step of a chain fails, the later ones are skipped: scheduled, and ended without having begun."""
    chain = play.signature("fails", 1) | play.signature("works") | play.signature("adds")
    result = chain.apply_async()
    play.settles(
        *("scheduled fails", "started fails", "ended fails failed"),
        *("scheduled works", "ended works skipped", "scheduled adds", "ended adds skipped"),
    )
    play.tells(result.id, "skipped earlier_task_failed")
    [line] = play.lines(result.id)
    [span] = [span["attributes"] for span in play.spans(result.id) if span["kind"] == "CONSUMER"]
    assert line["stopped_by"].endswith("fails")
    assert span["background_task.stopped_by"] == line["stopped_by"]


def test_a_chord(play: Stage):
    """The body of a chord is one run, published by who ends the last part."""
    from celery import chord

    chord([play.signature("works", n) for n in range(3)], app=play.app)(play.signature("adds"))
    play.settles(
        *("3 scheduled works", "3 started works", "3 ended works succeeded"),
        *("scheduled adds", "started adds", "ended adds succeeded"),
    )


def test_a_chord_that_fails(play: Stage):
    """When a part of a chord fails, its body is skipped, once."""
    from celery import chord

    parts = [play.signature("works", 1), play.signature("fails"), play.signature("fails")]
    chord(parts, app=play.app)(play.signature("adds"))
    play.settles(
        *("scheduled works", "started works", "ended works succeeded"),
        *("2 scheduled fails", "2 started fails", "2 ended fails failed"),
        *("scheduled adds", "ended adds skipped"),
    )


def test_a_link(play: Stage):
    """A link is a run when it is published, and none if its task fails."""
    play.publish("works", 1, link=play.signature("adds"))
    play.publish("fails", link=play.signature("adds"))
    play.settles(
        *("scheduled works", "started works", "ended works succeeded"),
        *("scheduled adds", "started adds", "ended adds succeeded"),
        *("scheduled fails", "started fails", "ended fails failed"),
    )


def test_an_errback(play: Stage):
    """An errback that Celery calls as a function is no run."""
    play.publish("fails", link_error=play.signature("handles"))
    play.settles("scheduled fails", "started fails", "ended fails failed")


def test_a_task_that_is_run_inside_another(play: Stage):
    """A task that is called with apply() inside a task is scheduled and ended there."""
    play.publish("runs_inside")
    play.settles(
        *("scheduled runs_inside", "started runs_inside", "ended runs_inside succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
    )


def test_retries_inside_another(play: Stage):
    """An eager task that is tried again inside a task is one task, and on_task_failure is called for it."""
    play.publish("retries_inside")
    play.settles(
        *("scheduled retries_inside", "started retries_inside", "ended retries_inside succeeded"),
        *("scheduled retries", "2 started retries", "returned retries retry", "ended retries failed"),
    )
    [line] = [
        line
        for line in play.lines()
        if (line["event"], line["task"]) == ("background_task.failed", "shop.retries") and line["attempt"] == 2
    ]
    play.tells(line["task_run"], "retry", "failed exception")
    wait_until(lambda: any(alert["id"] == line["task_run"] for alert in play.read("alerts.jsonl")))
    failures = [
        each for each in play.workers[0].scrape().splitlines() if each.startswith("background_task_failures")
    ]
    assert any('name="shop.retries"' in each and 'error_type="ValueError"' in each for each in failures)


def test_a_hook_that_raises(play: Stage):
    """A task whose on_failure raises has failed all the same, and its span and its line say so."""
    result = play.publish("grumbles")
    play.settles("scheduled grumbles", "started grumbles", "ended grumbles failed")
    play.tells(result.id, "failed exception")


def test_a_retry_that_does_not_get_out(play: Stage):
    """An attempt that ends its task, though the next is published, is a task, and so is the next."""
    hidden, swallowed = play.publish("retries_grumbling"), play.publish("swallows")
    play.settles(
        *("2 scheduled retries_grumbling", "2 started retries_grumbling", "2 ended retries_grumbling failed"),
        *("2 scheduled swallows", "2 started swallows", "2 ended swallows succeeded"),
    )
    play.tells(hidden.id, "failed exception", "failed exception")
    play.tells(swallowed.id, "succeeded", "succeeded")


def test_not_registered(play: Stage):
    """A task that the worker does not know is abandoned: unregistered."""
    result = play.app.send_task("shop.unheard_of")
    play.settles("scheduled unheard_of", "ended unheard_of abandoned")
    play.tells(result.id, "abandoned unregistered")


def test_one_trace(play: Stage):
    """From the publish to the last attempt there is one trace: each attempt is a child of its publish."""
    result = play.publish("retries", 1)
    play.tells(result.id, "retry", "succeeded")
    spans = play.spans(result.id)
    assert len({span["trace"] for span in spans}) == 1
    by_id = {span["span"]: span for span in spans}
    parents = {span["name"] + span["kind"]: by_id.get(span["parent"], {}).get("name") for span in spans}
    assert parents["background_task shop.retriesCONSUMER"] == "publish shop.retries"
    assert sorted(span["kind"] for span in spans) == ["CONSUMER", "CONSUMER", "PRODUCER", "PRODUCER"]
