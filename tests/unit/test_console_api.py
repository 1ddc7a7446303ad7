"""What the console's API takes, what it says of a slip, and what it never says."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from fastapi import BackgroundTasks

from afterword._console.reading import Answers
from tests.support.asgi import ask, call
from tests.support.console import KNOWN, PATH, TOKEN, VIEWS, api, told, wrong
from tests.support.in_process import InProcessStage

SECRET = "4111-1111-1111-1111"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say the token."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)


@pytest.mark.parametrize("kept", ["journal", "memory"])
def test_both_sources_tell_the_same(stage: InProcessStage, directory: Path, kept):
    """The same questions are answered from a journal and from memory, and the answer says from which."""
    options = {"journal": directory} if kept == "journal" else {}
    app = stage.app_with(stage.works("mail"), stage.fails("report"), stage.works("audit"), console=PATH, **options)
    ask(app)
    summary = told(app, "summary")
    assert summary["source"]["kind"] == kept
    assert {name: n for name, n in summary["outcomes"].items() if n} == {"succeeded": 1, "failed": 1, "skipped": 1}
    assert next(check for check in summary["checks"] if check["name"] == "account")["state"] == "good"
    assert len(summary["causes"]) == told(app, "causes")["total"] == 2
    assert len(told(app, "tasks")["tasks"]) == 3
    assert len(told(app, "requests")["requests"][0]["runs"]) == 3
    assert told(app, "now")["processes"] == []
    [failed] = told(app, "runs?outcome=failed")["runs"]
    found = told(app, f"runs/{failed['task_run']}")
    assert "RuntimeError" in found["run"]["traceback"] or "Error" in found["run"]["traceback"]
    assert len(found["others"]) == 2
    assert told(app, f"runs/{failed['task_run'][:8]}")["run"] == found["run"]


def test_before_anything_was_scheduled(stage: InProcessStage, directory: Path):
    """Every view has an answer where nothing has happened yet, with a journal that nobody has begun, too."""
    for app in (stage.app(console=PATH), stage.app(console=PATH, journal=directory)):
        for view in VIEWS:
            assert told(app, view) is not None
        assert told(app, "runs") == {"runs": [], "next": None}


def test_pages_of_runs(stage: InProcessStage):
    """A cursor leads to the next page, up to the end, and each run comes once."""
    app = stage.app_with(*[stage.works("mail")] * 7, console=PATH)
    ask(app)
    seen, cursor = [], ""
    for _ in range(3):
        page = told(app, f"runs?limit=3{cursor}")
        seen += [run["task_run"] for run in page["runs"]]
        cursor = f"&cursor={page['next']}"
    assert len(set(seen)) == len(seen) == 7
    assert page["next"] is None


@pytest.mark.parametrize(
    ("question", "says"),
    [
        *((f"{view}?nonsense=1", "'nonsense' is no parameter of this; it takes ") for view in VIEWS),
        *(
            (f"summary?since={value}", "since: a number of seconds above 0")
            for value in ("0", "-1", "nan", "inf", "x")
        ),
        *(
            (f"runs?limit={value}", "limit: a number from 1 to 500")
            for value in ("0", "501", "-1", "1e2", "٣", "9" * 300)
        ),
        (
            "runs?outcome=failed,lots",
            "outcome: some of succeeded, failed, cancelled, skipped, dropped, abandoned, lost",
        ),
        ("runs?state=waiting", "state: some of pending, running, lost"),
        ("runs?cursor=nonsense", "cursor: what 'next'"),
        ("runs?task=a&task=b", "task: it may be given once"),
        ("runs?task=" + "x" * 301, "task: 300 characters at most"),
        ("runs?task=" + "x" * 9000, "the parameters have more than 8000 characters"),
        ("runs?" + "&".join(f"task{n}=1" for n in range(500)), "is no parameter of this"),
        ("runs?engine=taskiq", "engine: some of starlette, celery"),
        ("runs/..%2Faccess", "its beginning, 8 characters or more"),
        ("runs/" + "0" * 201, "its beginning, 8 characters or more"),
        ("runs/0123456789?since=1", "'since' is no parameter of this; it takes nothing"),
    ],
)
def test_a_slip_is_named(stage: InProcessStage, question, says):
    """A parameter that is wrong is a 400 that names it and says what it takes."""
    answer = api(stage.app(console=PATH), question)
    assert answer.status == 400
    assert says in wrong(answer)
    assert len(answer.body) < 1000


@pytest.mark.parametrize("question", ["", "nothing", "runs/", "summary/", "runs/0123456789abcdef", "Summary"])
def test_what_there_is_not(stage: InProcessStage, question):
    """A question or a run that there is not is a 404 with a word of help."""
    answer = api(stage.app(console=PATH), question)
    assert answer.status == 404
    assert "there is no such" in wrong(answer)


def test_empty_parameters_are_none(stage: InProcessStage):
    """A form that leaves fields empty asks for all."""
    app = stage.app_with(stage.works("mail"), console=PATH)
    ask(app)
    assert len(told(app, "runs?task=&outcome=&since=&limit=&cursor=")["runs"]) == 1


def test_no_argument_is_ever_told(stage: InProcessStage):
    """Neither the arguments of a task, nor a request's parameters and body, nor its headers are in any answer."""

    def charge(card: str, *, cvc: str) -> None:
        raise ValueError("refused")

    app = stage.app(console=PATH)

    @app.post("/pay/{card}")
    async def pay(card: str, cvc: str, tasks: BackgroundTasks) -> None:
        tasks.add_task(charge, card, cvc=cvc)

    ask(app, f"/pay/{SECRET}?cvc={SECRET}", "POST", headers=[(b"x-card", SECRET.encode())], body=SECRET.encode())
    [run] = told(app, "runs")["runs"]
    assert run["http_route"] == "/pay/{card}"
    for question in (*VIEWS, f"runs/{run['task_run']}"):
        assert SECRET not in api(app, question).text


def test_a_page_cannot_be_broken_out_of(stage: InProcessStage):
    """What looks like HTML in a text of an exception is escaped in the JSON as well."""

    def charge() -> None:
        raise ValueError("</script><script>alert(1)</script>")

    app = stage.app_with(charge, console=PATH)
    ask(app)
    assert told(app, "runs")["runs"][0]["error"] == "</script><script>alert(1)</script>"
    assert "<" not in api(app, "runs").text


@pytest.mark.parametrize("url", ["https://tempo.example/t/{trace_id}?a=b", "http://localhost:3000/{trace_id}"])
def test_a_run_leads_to_its_trace(stage: InProcessStage, monkeypatch, url):
    """With `AFTERWORD_TRACE_URL`, a run has the address of its trace."""
    monkeypatch.setenv("AFTERWORD_TRACE_URL", url)
    app = stage.app_with(stage.works("mail"), console=PATH)
    ask(app)
    run = told(app, "runs")["runs"][0]
    assert told(app, f"runs/{run['task_run']}")["trace_url"] == url.replace("{trace_id}", run["trace_id"])


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert('{trace_id}')//", "https://tempo.example/", "tempo.example/{trace_id}"),
        *("https://{trace_id}.example/", "data:text/html,{trace_id}", "//tempo/{trace_id}"),
    ],
)
def test_an_address_of_traces_that_is_none_is_left_out(stage: InProcessStage, monkeypatch, caplog, url):
    """What is no address of the web is warned of, and no run has it."""
    monkeypatch.setenv("AFTERWORD_TRACE_URL", url)
    app = stage.app_with(stage.works("mail"), console=PATH)
    ask(app)
    assert "trace_url" not in told(app, f"runs/{told(app, 'runs')['runs'][0]['task_run']}")
    assert len([record for record in caplog.records if "AFTERWORD_TRACE_URL" in record.getMessage()]) == 1


# --- many who ask at once ---------------------------------------------------------------------------------------


def test_what_many_ask_at_once_is_read_once():
    """A hundred pages that ask the same at the same time cost one reading or two, and each gets the answer."""
    answers, made = Answers(), []

    async def ask_all() -> list[bytes]:
        def make() -> int:
            made.append(1)
            return len(made)

        return await asyncio.gather(*(answers.get("summary", make) for _ in range(100)))

    got = asyncio.run(ask_all())
    assert len(got) == 100
    assert len(made) <= 2


def test_nobody_gets_what_is_older_than_the_question():
    """An answer is made after it was asked for, however often the same is asked."""
    answers, state = Answers(), {"now": 0}

    async def ask_in_turn() -> list[int]:
        told = []
        for _ in range(5):
            state["now"] += 1
            told.append(json.loads(await answers.get("summary", lambda: state["now"])))
        return told

    assert asyncio.run(ask_in_turn()) == [1, 2, 3, 4, 5]


def test_what_is_kept_of_answers_is_bounded():
    """However many different questions there were, few answers are kept."""
    answers = Answers()

    async def ask_much() -> None:
        for number in range(100):
            await answers.get(number, lambda: "x" * 500_000)

    asyncio.run(ask_much())
    assert sum(len(made.body) for made in answers._made.values()) <= 8 << 20
    assert len(answers._made) <= 32


def test_a_question_that_fails_spoils_nothing(stage: InProcessStage):
    """An error is the asker's alone: who asks next is answered."""
    answers = Answers()

    async def ask_twice() -> bytes:
        with pytest.raises(ZeroDivisionError):
            await answers.get("summary", lambda: 1 / 0)
        return await answers.get("summary", lambda: "fine")

    assert asyncio.run(ask_twice()) == b'"fine"'


def test_reading_does_not_hold_up_the_loop(stage: InProcessStage, monkeypatch):
    """Whatever reading waits for, requests are answered meanwhile, although all worker threads are busy."""
    app = stage.app(console=PATH)
    app.get("/other")(_other)
    release = threading.Event()
    monkeypatch.setattr("afterword._views.now.view", lambda *_: {"waited": release.wait(20)})

    async def at_once() -> object:
        looking = asyncio.create_task(call(app, f"{PATH}/api/now", headers=KNOWN))
        other = await call(app, "/other")
        release.set()
        return other.status, json.loads((await looking).body)

    assert asyncio.run(at_once()) == (200, {"waited": True})


async def _other() -> None:
    """Answer."""
