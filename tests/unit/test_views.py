"""What a page asks of the runs: summary, causes, tasks, requests, runs, one run, and what is in flight."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterword._common.model import Outcome, Reason, RequestInfo
from afterword._ledger.journal import layout
from afterword._ledger.journal.history import Filter
from afterword._ledger.journal.journal import Journal
from afterword._ledger.runs import Ledger
from afterword._views import causes, now, requests, runs, summary, tasks
from afterword._views.reader import JournalReader
from tests.support.journals import (
    Heard,
    Ids,
    ended,
    give_up,
    ledger_of,
    line_of,
    new_run,
    raised,
    scheduled,
    started,
    write_ended,
    write_live,
)

NOW = 1_800_000_000.0
DROPPED: dict[str, Any] = {
    "outcome": Outcome.DROPPED,
    "ran": None,
    "reason": Reason.REQUEST_FAILED,
    "detail": "the request ended in TypeError; mark it",
}


@pytest.fixture
def reader(directory: Path) -> JournalReader:
    """Provide a reader of a journal that is not there yet."""
    return JournalReader(str(directory))


@pytest.fixture
def ledger(journal: Journal) -> Ledger:
    """Provide a ledger whose runs are in the journal, with spans."""
    return ledger_of(journal, traces=[Ids()])


def die(journal: Journal, seen_at: float) -> str:
    """Leave the file of a process that died with what is in flight now."""
    [live] = Path(journal.directory).glob("*.live")
    return write_live(live.parent, live.read_bytes()[layout.HEAD_SIZE :], alive=seen_at, pid=4711)


def names(answer: dict[str, Any]) -> list[str]:
    """Return the tasks of the runs in an answer."""
    return [run["task"] for run in answer["runs"]]


# --- causes and summary -----------------------------------------------------------------------------------------


def test_a_cause_says_what_happened_and_what_to_do(directory: Path, reader: JournalReader):
    """Runs that ended alike are one cause, with their number, first and last time, an example, and a detail."""
    write_ended(
        directory,
        *(line_of("audit", at=NOW - seconds, **DROPPED) for seconds in (30, 20)),
        line_of("mail", Outcome.FAILED, at=NOW - 10, reason=Reason.EXCEPTION, exc=raised("no server")),
        line_of("mail", at=NOW - 5),
    )
    answer = causes.view(reader, 60, now=NOW)
    drop, failure = answer["causes"]
    assert (answer["total"], answer["truncated"]) == (2, False)
    assert (drop["count"], drop["task"], drop["outcome"], drop["reason"]) == (
        2,
        "audit",
        "dropped",
        "request_failed",
    )
    assert (drop["http_method"], drop["http_route"]) == ("POST", "/orders/{number}")
    assert drop["detail"] == "the request ended in TypeError; mark it"
    assert (drop["first_at"], drop["last_at"]) == (
        "2027-01-15T07:59:30.000000+00:00",
        "2027-01-15T07:59:40.000000+00:00",
    )
    assert failure["detail"] == "it raised ConnectionRefusedError: no server"
    assert runs.one(reader, failure["example"])["run"]["task"] == "mail"


def test_causes_are_those_that_are_asked_for(directory: Path, reader: JournalReader):
    """Outcome, task, route, time and limit leave out the others; the total counts what the limit leaves out."""
    write_ended(
        directory,
        line_of("old", at=NOW - 100, **DROPPED),
        line_of("shop.audit", at=NOW - 10, **DROPPED),
        line_of("mail", Outcome.FAILED, at=NOW - 9, reason=Reason.EXCEPTION, exc=raised()),
        line_of("other", at=NOW - 8, request=RequestInfo("GET", "/other"), **DROPPED),
    )

    def found(**asked: Any) -> set[str]:
        return {cause["task"] for cause in causes.view(reader, 60, now=NOW, **asked)["causes"]}

    assert found() == {"shop.audit", "mail", "other"}
    assert found(outcomes=["failed"]) == {"mail"}
    assert found(task="audit") == {"shop.audit"}
    assert found(route="/other") == {"other"}
    limited = causes.view(reader, 60, limit=1, now=NOW)
    assert (len(limited["causes"]), limited["total"]) == (1, 3)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED])
def test_a_detail_is_never_empty(outcome: Outcome, directory: Path, reader: JournalReader):
    """Where nothing was written about a run, the detail still says what became of it."""
    write_ended(directory, line_of(outcome=outcome, at=NOW - 1))
    [cause] = causes.view(reader, 60, now=NOW)["causes"]
    assert outcome in cause["detail"]


def test_the_summary_tells_what_is_wrong(directory: Path, reader: JournalReader, ledger: Ledger):
    """Outcomes are counted, the lost with them; what is in flight, the causes and the processes are told."""
    began = time.time()
    write_ended(directory, line_of(at=began - 5), line_of(at=began - 4), line_of("audit", at=began - 3, **DROPPED))
    left = [started(ledger), scheduled(ledger)]
    answer = summary.view(reader, 60)
    assert answer["outcomes"] == {
        **dict.fromkeys(map(str, Outcome), 0),
        "succeeded": 2,
        "dropped": 1,
        "lost": 0,
    }
    assert (answer["running"], answer["pending"]) == (1, 1)
    assert [cause["task"] for cause in answer["causes"]] == ["audit"]
    assert answer["causes_total"] == 1
    [process] = answer["processes"]
    assert (process["pid"], process["alive"], process["in_flight"]) == (os.getpid(), True, 2)
    assert answer["source"]["kind"] == "journal"
    assert answer["source"]["oldest_at"] < answer["now"]
    assert {check["name"]: check["state"] for check in answer["checks"]} == {
        "account": "unknown",
        "stuck": "good",
        "threads": "unknown",
    }
    give_up(ledger, *left)


def test_what_a_dead_process_held_is_lost_at_once(journal: Journal, ledger: Ledger, reader: JournalReader):
    """Until somebody closes its account, and afterwards, each view counts it as lost, and once."""
    left = [started(ledger), scheduled(ledger, new_run("audit"))]
    die(journal, time.time())
    give_up(ledger, *left)

    def told() -> tuple[Any, ...]:
        seen = summary.view(reader, 60)
        rows = {row["task"]: row["counts"].get("lost") for row in tasks.view(reader, 60)["tasks"]}
        lost = runs.page(reader, Filter(outcomes=["lost"]))["runs"]
        return (
            seen["outcomes"]["lost"],
            seen["pending"],
            seen["running"],
            rows,
            sorted(run["task"] for run in lost),
        )

    before = told()
    assert before == (2, 0, 0, {"mail": 1, "audit": 1}, ["audit", "mail"])
    assert {run["state"] for run in runs.page(reader, Filter(), states=["lost"])["runs"]} == {"lost"}
    assert runs.page(reader, Filter(outcomes=["failed"]))["runs"] == []
    assert names(runs.page(reader, Filter(task="audit", outcomes=["lost"]))) == ["audit"]
    journal.join(Heard())
    journal.recover()
    assert told() == before
    [died_pending] = causes.view(reader, 60, task="audit", outcomes=["lost"])["causes"]
    assert "process 4711 died before it began" in died_pending["detail"]


# --- tasks ------------------------------------------------------------------------------------------------------


def test_a_task_has_its_numbers(directory: Path, reader: JournalReader):
    """A row has counts, the rate, the share that failed, and the median and the 95 % of each time, exactly."""
    write_ended(
        directory,
        *(line_of(at=NOW - 50 + n, ran=n / 10, waited=n / 100) for n in range(1, 21)),
        line_of("mail", Outcome.FAILED, at=NOW - 20, ran=0.1, waited=0.01, exc=raised()),
        line_of("sync", at=NOW - 1, ran=3.0, waited=0.5, thread_wait=0.25),
    )
    answer = tasks.view(reader, 120, now=NOW)
    mail, sync = answer["tasks"]
    assert (answer["total"], answer["truncated"]) == (2, False)
    assert (mail["task"], mail["total"], mail["counts"]) == ("mail", 21, {"succeeded": 20, "failed": 1})
    assert mail["failure_ratio"] == pytest.approx(1 / 21, abs=1e-6)
    assert mail["duration_s"] == pytest.approx({"p50": 1.0, "p95": 1.9}, abs=1e-5)
    assert mail["wait_s"] == pytest.approx({"p50": 0.1, "p95": 0.19}, abs=1e-5)
    assert mail["thread_wait_s"] == {}
    assert sync["thread_wait_s"] == {"p50": 0.25, "p95": 0.25}


def test_the_history_of_a_task_has_sixty_parts(directory: Path, reader: JournalReader):
    """Each run is counted in the part of the time in which it ended; the parts make up the whole."""
    write_ended(
        directory,
        *(line_of(at=at) for at in (NOW - 60, NOW - 59.5, NOW - 30.5, NOW)),
        line_of(at=NOW - 0.5, outcome=Outcome.CANCELLED),
    )
    [row] = tasks.view(reader, 60, now=NOW)["tasks"]
    assert len(row["history"]) == 60
    assert {at: part["counts"] for at, part in enumerate(row["history"]) if part["counts"]} == {
        0: {"succeeded": 2},
        29: {"succeeded": 1},
        59: {"succeeded": 1, "cancelled": 1},
    }
    assert (row["history"][0]["at"], row["history"][59]["at"]) == (
        "2027-01-15T07:59:00.000000+00:00",
        "2027-01-15T07:59:59.000000+00:00",
    )


def test_a_rate_is_of_the_time_that_is_known(directory: Path, reader: JournalReader):
    """Where the journal is younger than the time that is asked for, the rate is of the journal's age."""
    write_ended(directory, line_of(at=NOW - 120), *(line_of(at=NOW - 119 + n) for n in range(10)))
    assert tasks.view(reader, 3600, now=NOW)["tasks"][0]["per_minute"] == 5.5
    assert tasks.view(reader, 240, now=NOW)["tasks"][0]["per_minute"] == 5.5
    assert tasks.view(reader, 119.5, now=NOW)["tasks"][0]["per_minute"] == round(10 / 119.5 * 60, 3)


def test_a_task_that_has_only_begun_is_there(reader: JournalReader, ledger: Ledger):
    """A name without any ended run has its row, with what is in flight and no times."""
    run = scheduled(ledger)
    [row] = tasks.view(reader, 60)["tasks"]
    assert (row["counts"], row["total"], row["failure_ratio"], row["wait_s"]) == ({"pending": 1}, 0, 0.0, {})
    give_up(ledger, run)


# --- requests ---------------------------------------------------------------------------------------------------


def test_a_request_has_all_its_runs_in_order(directory: Path, reader: JournalReader):
    """Runs are one request's by its beginning; when it was answered is told, or that the first start is meant."""
    one, two = RequestInfo("POST", "/a", "same id"), RequestInfo("POST", "/a", "same id")
    write_ended(
        directory,
        line_of("mail", at=NOW - 20, began=NOW - 24, answered=NOW - 23.5, request=one),
        line_of("audit", at=NOW - 19, began=NOW - 24, answered=NOW - 23.5, waited=1.5, request=one),
        line_of("mail", at=NOW - 5, began=NOW - 9, request=two),
    )
    answer = requests.view(reader, 60, now=NOW)
    newest, oldest = answer["requests"]
    assert not answer["more"]
    assert names(oldest) == ["mail", "audit"]
    assert (oldest["began_at"], oldest["answered_at"], oldest["first_at"], oldest["last_at"]) == tuple(
        f"2027-01-15T07:59:{second}+00:00" for second in ("36.000000", "36.500000", "37.000000", "41.000000")
    )
    assert (oldest["http_method"], oldest["http_route"], oldest["request_id"]) == ("POST", "/a", "same id")
    assert names(newest) == ["mail"]
    assert newest["answered_at"] == newest["runs"][0]["started_at"]
    assert (newest["answered_at_derived"], oldest.get("answered_at_derived")) == (True, None)
    [other] = runs.one(reader, oldest["runs"][0]["task_run"])["others"]
    assert other["task"] == "audit"


def test_requests_are_those_that_are_asked_for(directory: Path, reader: JournalReader):
    """A task or a route leaves out other requests, but none of the runs of those that are shown."""
    made = [(RequestInfo("POST", f"/{n}"), NOW - 30 + n) for n in range(10)]
    write_ended(
        directory,
        *(
            line_of(task, at=at, began=at - 5, request=each)
            for each, at in made
            for task in ("shop.mail", "shop.audit")
        ),
        line_of("alone", at=NOW - 1, began=NOW - 2, request=RequestInfo("POST", "/alone")),
    )
    assert [each["http_route"] for each in requests.view(reader, 60, task="alone", now=NOW)["requests"]] == [
        "/alone"
    ]
    newest = requests.view(reader, 60, task="mail", limit=3, now=NOW)
    assert [each["http_route"] for each in newest["requests"]] == ["/9", "/8", "/7"]
    assert {tuple(sorted(names(each))) for each in newest["requests"]} == {("shop.audit", "shop.mail")}
    assert newest["more"]
    [seven] = requests.view(reader, 60, route="/7", now=NOW)["requests"]
    assert sorted(names(seven)) == ["shop.audit", "shop.mail"]
    assert not requests.view(reader, 60, task="mail", limit=10, now=NOW)["more"]


def test_a_request_that_is_shown_is_complete(directory: Path, reader: JournalReader):
    """Its first run is there, and is what it is sorted by, although many runs of others ended meanwhile."""

    def line(name: str, at: float, began: float) -> bytes:
        return line_of(name, at=at, ran=0.1, waited=0.1, began=began)

    write_ended(
        directory,
        *(line(name, NOW - ago, NOW - began) for name, ago, began in (("a", 5, 9), ("b", 4, 8), ("c", 3, 9))),
    )
    assert [names(request) for request in requests.view(reader, 60, limit=1, now=NOW)["requests"]] == [["b"]]
    both = requests.view(reader, 60, limit=2, now=NOW)
    assert [names(request) for request in both["requests"]] == [["b"], ["a", "c"]]


def test_reading_ends_where_the_requests_that_are_shown_are_complete(directory: Path, reader: JournalReader):
    """Of an old journal only its end is read, so a run behind it, which is no run any more, is not missed."""
    write_ended(directory, *(line_of(at=NOW - 1000 + n, began=NOW - 1010 + n) for n in range(1000)))
    read: list[float] = []
    newest = reader.ended

    def counted(wanted: Filter | None = None) -> Iterator[Any]:
        for record in newest(wanted):
            read.append(record.ended_at or 0.0)
            yield record

    reader.ended = counted  # type: ignore[method-assign]
    assert len(requests.view(reader, 3600, limit=5, now=NOW)["requests"]) == 5
    assert len(read) < 100


def test_a_request_without_a_start_has_no_answer(directory: Path, reader: JournalReader):
    """Where no task has started and nothing was written of the response, nothing is claimed."""
    write_ended(directory, line_of(at=NOW - 5, began=NOW - 9, **DROPPED))
    [request] = requests.view(reader, 60, now=NOW)["requests"]
    assert "answered_at" not in request
    assert "answered_at_derived" not in request


def test_a_request_in_flight_lasts_until_now(reader: JournalReader, ledger: Ledger):
    """Runs that have not ended are there with their state, and the request's end is now."""
    run = started(ledger)
    [request] = requests.view(reader, 60)["requests"]
    assert [told["state"] for told in request["runs"]] == ["running"]
    assert request["last_at"] > request["first_at"]
    give_up(ledger, run)


# --- runs -------------------------------------------------------------------------------------------------------


def test_pages_are_together_the_whole(directory: Path, reader: JournalReader):
    """Page after page tells each run once, newest first, whatever ended at the same moment or a little late."""
    ends = [NOW - n // 3 for n in range(100)]
    ends[40:44] = reversed(ends[40:44])
    for half in (ends[::2], ends[1::2]):
        write_ended(directory, *(line_of(at=at, waited=n) for n, at in enumerate(reversed(half))))
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = runs.page(reader, Filter(since=NOW - 600), limit=7, cursor=cursor, now=NOW)
        seen += page["runs"]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["runs"]) == 7
    assert len({run["task_run"] for run in seen}) == len(seen) == 100
    assert [run["ended_at"] for run in seen] == sorted((run["ended_at"] for run in seen), reverse=True)


def test_a_page_stays_where_it_was_when_new_runs_end(directory: Path, reader: JournalReader):
    """A cursor goes on behind the last run that was told, however many have ended meanwhile."""
    write_ended(directory, *(line_of(f"t{n}", at=NOW - 10 + n) for n in range(4)))
    first = runs.page(reader, Filter(), limit=2, now=NOW)
    write_ended(directory, line_of("new", at=NOW))
    assert names(first) == ["t3", "t2"]
    assert names(runs.page(reader, Filter(), limit=2, cursor=first["next"], now=NOW)) == ["t1", "t0"]


@pytest.mark.parametrize("cursor", ["", "x", "-", "5", "x-y", "²-a", "9" * 30 + "-a"])
def test_a_wrong_cursor_is_an_error(cursor: str, reader: JournalReader):
    """A cursor that is none of ours is an error of who asks."""
    with pytest.raises(ValueError, match="next of an earlier answer"):
        runs.page(reader, Filter(), cursor=cursor)


def test_every_filter_leaves_out_the_others(directory: Path, reader: JournalReader):
    """Outcome, task, route, trace, reason, error type and both times hold, each and together."""
    write_ended(
        directory,
        line_of("shop.mail", Outcome.FAILED, at=NOW - 9, reason=Reason.EXCEPTION, exc=raised()),
        line_of("shop.mail", Outcome.FAILED, at=NOW - 8, reason=Reason.EXCEPTION, exc=raised(kind=KeyError)),
        line_of("audit", at=NOW - 7, **DROPPED),
        line_of("other", at=NOW - 6, request=RequestInfo("GET", "/other")),
    )

    def found(**asked: Any) -> list[str]:
        return [run["ended_at"][17:19] for run in runs.page(reader, Filter(**asked), now=NOW)["runs"]]

    assert found() == ["54", "53", "52", "51"]
    assert found(outcomes=["failed", "dropped"]) == ["53", "52", "51"]
    assert found(named="mail") == ["52", "51"]
    assert found(task="mail") == []
    assert found(named="ail") == []
    assert found(route="/other") == ["54"]
    assert found(reason="request_failed") == ["53"]
    assert found(error_type="KeyError") == ["52"]
    assert found(error_type="request_failed", reason="exception") == []
    assert found(since=NOW - 7) == ["54", "53"]
    assert found(until=NOW - 8) == ["52", "51"]
    assert found(trace="0" * 32) == []
    assert found(named="mail", error_type="KeyError", since=NOW - 8.5, until=NOW - 7.5) == ["52"]


def test_states_are_asked_for_by_name(reader: JournalReader, ledger: Ledger):
    """With states, those in flight are told, oldest first and with their age, and nothing that has ended."""
    ended(ledger)
    left = [started(ledger, new_run("old")), scheduled(ledger, new_run("new"))]
    both = runs.page(reader, Filter(), states=["pending", "running"])
    assert names(both) == ["old", "new"]
    assert both["next"] is None
    assert all(run["age_s"] >= 0 for run in both["runs"])
    assert names(runs.page(reader, Filter(), states=["running"])) == ["old"]
    assert names(runs.page(reader, Filter(named="new"), states=["pending", "running"])) == ["new"]
    give_up(ledger, *left)


def test_one_run_is_told_with_everything(directory: Path, reader: JournalReader):
    """An id or 8 characters of it find a run, with its traceback; an unknown or a double one finds nothing."""
    write_ended(directory, line_of(outcome=Outcome.FAILED, at=NOW, reason=Reason.EXCEPTION, exc=raised()))
    [listed] = runs.page(reader, Filter(), now=NOW)["runs"]
    told = runs.one(reader, f" {listed['task_run'][:8].upper()} ", now=NOW)
    assert told is not None
    assert "traceback" not in listed
    assert told["run"] == listed | {"traceback": told["run"]["traceback"]}
    assert "ConnectionRefusedError: no mail server" in told["run"]["traceback"]
    assert told["others"] is None
    assert runs.one(reader, "g" * 32) is None
    assert runs.one(reader, listed["task_run"][:7]) is None
    assert len(runs.with_id(reader, "")) == 1
    write_ended(directory, line_of(at=NOW))
    assert len(runs.with_id(reader, "")) == 2
    assert runs.one(reader, "") is None


def test_now_is_told_by_process(journal: Journal, ledger: Ledger, reader: JournalReader):
    """The living and the dead have their runs, oldest first; the clock of the dead stands, and they are lost."""
    left = [started(ledger, new_run("old")), scheduled(ledger, new_run("new"))]
    die(journal, left[0].scheduled_at + 5)
    answer = now.view(reader, now=time.time() + 100)
    assert answer["total"] == 4
    told = {process["alive"]: process for process in answer["processes"]}
    assert [run["state"] for run in told[True]["runs"]] == ["running", "pending"]
    assert [run["state"] for run in told[False]["runs"]] == ["lost", "lost"]
    assert told[False]["pid"] == 4711
    assert told[False]["runs"][0]["age_s"] == 5.0
    assert told[True]["runs"][0]["age_s"] > 99
    assert [names(process) for process in now.view(reader, "new")["processes"]] == [["new"], ["new"]]
    give_up(ledger, *left)


def test_every_answer_is_json(directory: Path, reader: JournalReader, ledger: Ledger):
    """What a view returns can be written as strict JSON, and no key is there without a value."""
    write_ended(directory, line_of("audit", at=time.time(), **DROPPED))
    run = started(ledger)
    for answer in (
        summary.view(reader),
        causes.view(reader),
        tasks.view(reader),
        requests.view(reader),
        runs.page(reader, Filter()),
        runs.page(reader, Filter(), states=["running"]),
        now.view(reader),
        runs.one(reader, run.id),
    ):
        text = json.dumps(answer, allow_nan=False)
        assert json.loads(text) == answer
        assert "null" not in text.replace('"next": null', "").replace('"others": null', "")
    give_up(ledger, run)
