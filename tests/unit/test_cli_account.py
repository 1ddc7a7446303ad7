"""`afterword account URL`: the numbers of any application, and the law on them."""

import http.server
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from afterword._cli import account_view, scrape
from afterword._cli.output import Output
from afterword._cli.scrape import Unreadable
from afterword._views import account
from tests.support.asgi import ask
from tests.support.command_line import afterword
from tests.support.in_process import InProcessStage
from tests.support.server import Server
from tests.support.waiting import wait_until

NAME = 'background_task_name="shop.mail"'
SCHEDULED = f"background_task_scheduled_total{{{NAME}}} 10"
PENDING = f"background_task_pending{{{NAME}}} 1"
RUNNING = f"background_task_running{{{NAME}}} 2"
SUCCEEDED = f'background_task_ended_total{{{NAME},background_task_outcome="succeeded"}} 4'
FAILED = f'background_task_ended_total{{{NAME},background_task_outcome="failed"}} 3'
SOUND = "\n".join([SCHEDULED, PENDING, RUNNING, SUCCEEDED, FAILED, ""])
LOST = SOUND.replace(" 4\n", " 2\n") + f"background_task_lost_total{{{NAME}}} 2\n"
BROKEN = SOUND.replace(" 4\n", " 3\n")

Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(*replies: Reply | str) -> Iterator[tuple[str, list[str]]]:
    """Serve one reply after the other, the last one again and again; yield the address and what was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = replies[min(len(asked), len(replies) - 1)]
            asked.append(self.path)
            status, headers, body = (200, {}, reply.encode()) if isinstance(reply, str) else reply
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a wide terminal, no proxy and no patience."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(scrape, "_PAUSE", 0.0)


# --- what is counted --------------------------------------------------------------------------------------------


def test_any_application_has_its_account(stage: InProcessStage):
    """A real application's tasks are shown with their outcomes, and the law holds."""
    app = stage.app_with(stage.works("audit"), stage.fails("mail"), stage.works("report"))
    ask(app)
    with Server(app) as server:
        answer = afterword("account", server.url)
        assert (answer.code, answer.err) == (0, "")
        told = {task["task"].rpartition(".")[2]: task for task in answer.objects}
        assert {name: task["scheduled"] for name, task in told.items()} == {"audit": 1, "mail": 1, "report": 1}
        assert (told["audit"]["succeeded"], told["mail"]["failed"], told["report"]["skipped"]) == (1, 1, 1)
        assert all(task["law_holds"] for task in told.values())
        shown = afterword("account", f"{server.url}/metrics", terminal=True)
    assert shown.code == 0
    assert "The law holds for all 3 tasks" in shown.out


def test_what_is_in_flight_and_lost_is_counted():
    """Pending, running, the outcomes and the lost stand beside what was scheduled."""
    with serving(LOST) as (url, asked):
        [task] = afterword("account", url).objects
        shown = afterword("account", url, "--text").out
    counts = {name: task[name] for name in ("scheduled", "pending", "running", "succeeded", "failed", "lost")}
    assert counts == {"scheduled": 10, "pending": 1, "running": 2, "succeeded": 2, "failed": 3, "lost": 2}
    assert asked == ["/metrics", "/metrics"]
    [line] = [line for line in shown.splitlines() if line.startswith("shop.mail")]
    assert line.split() == ["shop.mail", "10", "1", "2", "2", "3", *"····", "2", *"···", "yes"]
    assert "scheduled = pending + running + the six outcomes + lost." in shown


def test_times_are_those_of_the_histograms():
    """Waits and durations are quantiles, summed over the outcomes."""
    buckets = [("0.1", 1), ("0.2", 3), ("+Inf", 4)]
    lines = [
        f'background_task_duration_seconds_bucket{{{NAME},background_task_outcome="{outcome}",le="{le}"}} {count}'
        for outcome in ("succeeded", "failed")
        for le, count in buckets
    ]
    with serving("\n".join([SOUND, *lines, ""])) as (url, _):
        [task] = afterword("account", url).objects
    assert (task["duration_s_p50"], task["duration_s_p95"]) == (pytest.approx(0.15), 0.2)
    assert "wait_s_p50" not in task


def test_openmetrics_are_read_where_a_server_knows_nothing_else():
    """The other format has exemplars behind its numbers, and is read as well."""
    text = (
        "# TYPE background_task_scheduled counter\n"
        f'background_task_scheduled_total{{{NAME}}} 1 # {{trace_id="a"}} 1.0\n'
        "# TYPE background_task_ended counter\n"
        f'background_task_ended_total{{{NAME},background_task_outcome="succeeded"}} 1\n'
        "# TYPE background_task_wait_seconds histogram\n"
        f'background_task_wait_seconds_bucket{{{NAME},le="0.5"}} 1 # {{trace_id="a"}} 0.1\n'
        f'background_task_wait_seconds_bucket{{{NAME},le="+Inf"}} 1\n'
        f"background_task_wait_seconds_count{{{NAME}}} 1\n"
        f"background_task_wait_seconds_sum{{{NAME}}} 0.1\n"
        "# EOF\n"
    )
    kind = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
    with serving((200, kind, text.encode())) as (url, _):
        [task] = afterword("account", url).objects
    assert (task["scheduled"], task["succeeded"], task["wait_s_p50"]) == (1, 1, 0.25)


CELERY = 'background_task_name="shop.statement",background_task_engine="celery"'
QUEUED = (
    f"background_task_scheduled_total{{{CELERY}}} 9\n"
    f"background_task_running{{{CELERY}}} 1\n"
    f'background_task_ended_total{{{CELERY},background_task_outcome="succeeded"}} 4\n'
    f"background_task_lost_total{{{CELERY}}} 1\n"
    f'background_task_returned_total{{{CELERY},background_task_reason="retry"}} 2\n'
)


def test_what_a_queue_carries_has_its_law_only_where_the_queue_is_known():
    """Of Celery's tasks one process does not have the account; whoever asks the broker as well has it."""
    with serving(QUEUED) as (url, _):
        answer = afterword("account", url)
        shown = afterword("account", url, "--text").out
    assert [(task["returned"], "law_holds" in task) for task in answer.objects] == [(2, False)]
    assert "The law holds" not in shown
    assert f"the sum over all processes, of which {url}/metrics is one" in shown
    [told] = (account.read(QUEUED) or {}).values()
    for queued, missing in ((None, 0), (2, 1), (3, 0)):
        told.queued = queued
        assert (told.missing, account.broken([told])) == (missing, [told] if missing else [])
    stream = io.StringIO()
    account_view.show(Output(stream), [told], [])
    account_view.verdict(Output(stream), [told], [], "http://shop")
    shown = stream.getvalue()
    [line] = [line for line in shown.splitlines() if line.startswith("shop.statement (celery)")]
    assert line.split()[2:] == ["9", "3", "·", "1", "4", *"·····", "1", "2", *"···", "yes"]
    assert "scheduled = in the queue + pending + running + the six outcomes + lost." in shown


# --- the law ----------------------------------------------------------------------------------------------------


def test_a_broken_law_is_exit_code_1():
    """A task of whose runs one is missing is named, and scripts see it."""
    with serving(BROKEN) as (url, asked):
        answer = afterword("account", url, "--text")
        assert answer.code == 1
        assert len(asked) == 3
        assert "The law is broken for 1 of 1 tasks" in answer.out
        assert "shop.mail: 10 scheduled, 9 in flight or ended, 0 lost" in answer.out
        assert [task["law_holds"] for task in afterword("account", url).objects] == [False]
        assert "NO" in afterword("account", url, terminal=True).out


def test_a_transition_in_progress_breaks_no_law():
    """Where the numbers did not balance at one moment, they are read again."""
    with serving(BROKEN, SOUND) as (url, asked):
        answer = afterword("account", url)
        assert (answer.code, answer.objects[0]["succeeded"]) == (0, 4)
    assert len(asked) == 2


def test_only_what_is_broken_each_time_is_broken():
    """Two tasks that are one apart at different moments are both in order, and shown as they balanced."""
    other = SOUND.replace("shop.mail", "shop.audit")
    with serving(BROKEN + other, SOUND + BROKEN.replace("shop.mail", "shop.audit")) as (url, _):
        answer = afterword("account", url)
    assert answer.code == 0
    assert [task["succeeded"] for task in answer.objects] == [4, 4]


def test_what_is_lost_is_part_of_the_balance():
    """Runs that are lost are accounted for, but not twice."""
    with serving(LOST) as (url, _):
        assert afterword("account", url).code == 0
    with serving(LOST.replace(" 2\nbackground_task_ended", " 4\nbackground_task_ended")) as (url, _):
        assert afterword("account", url).code == 1


def test_no_task_yet_is_a_law_that_holds(stage: InProcessStage):
    """An application that has scheduled nothing is in order."""
    with Server(stage.app()) as server:
        answer = afterword("account", server.url)
    assert (answer.code, answer.out) == (0, "")
    assert "no background task has been scheduled yet" in answer.err


# --- bad servers ------------------------------------------------------------------------------------------------


def complaint(url: str) -> str:
    """Return the one line of a command that could not read."""
    answer = afterword("account", url)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    return answer.err


def test_what_a_queue_carries_breaks_no_law():
    """A task that Celery runs has its own account; its publisher alone cannot know how it ended."""
    published = SCHEDULED.replace("}", ',background_task_engine="celery"}')
    with serving(SOUND + published + "\n") as (address, _):
        told = afterword("account", address)
    assert told.code == 0, told
    assert "shop.mail (celery)" in told.out


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("", "no metrics of Afterword"),
        ("<html>background_task_scheduled_total</html>", "no metrics of Afterword"),
        ((404, {}, b"no"), "404 Not Found"),
        ((500, {}, SOUND.encode()), "500 Internal Server Error"),
        (SCHEDULED.replace(" 10", " NaN"), "cannot be read as metrics"),
        (SCHEDULED.replace(" 10", " +Inf"), "cannot be read as metrics"),
        (SCHEDULED.replace(" 10", " ten"), "cannot be read as metrics"),
        ("background_task_scheduled_total{background_task_name=", "cannot be read as metrics"),
        (f"background_task_ended_total{{{NAME}}} 1\n", "cannot be read as metrics"),
        ((200, {"Content-Length": "1000"}, SOUND.encode()), "cut short"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "not allowed"),
        ((302, {"Location": "ftp://127.0.0.1/metrics"}, b""), "not followed"),
        ((302, {"Location": "/again"}, b""), "302"),
        ((302, {}, b""), "302"),
    ],
)
def test_what_cannot_be_read_is_one_line(reply: Reply | str, says: str):
    """Whatever a server answers, the command says in one line what was wrong with it."""
    with serving(reply) as (url, _):
        assert says in complaint(url)


def test_a_redirect_within_http_is_followed():
    """An address that has moved is found."""
    with serving((302, {"Location": "/elsewhere"}, b""), SOUND) as (url, asked):
        assert afterword("account", url).code == 0
    assert asked == ["/metrics", "/elsewhere"]


def test_https_is_not_left_for_http():
    """A redirect may not take away what the address promised."""
    handler = scrape._Redirects()
    request = scrape.urllib.request.Request("https://shop.example/metrics")
    with pytest.raises(Unreadable, match="not followed"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://shop.example/metrics")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "data://text", "http://", "http://[::1", "http://x:y/"]
)
def test_only_addresses_of_the_web_are_read(url: str):
    """Another scheme, or what is no address, is refused unasked."""
    assert "only http and https" in complaint(url) or "this is no address" in complaint(url)


def test_nobody_answers():
    """Where nothing listens, the system's reason is the answer."""
    with serving("") as (url, _):
        pass
    assert "refused" in complaint(url)


def test_a_server_without_end_is_left():
    """An answer may be long, but not longer than the bound."""
    with serving(SOUND + "x" * 200_000) as (url, _), pytest.raises(Unreadable, match="longer than"):
        scrape.account_at(url, size=100_000)


def test_a_server_that_never_ends_its_answer_is_left():
    """However slowly the bytes come, the command ends in time."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.02):
                connection.sendall(b"x")

    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dripping = threading.Thread(target=drip, args=(listener,))
        dripping.start()
        with pytest.raises(Unreadable, match=r"no answer within 0\.3 s"):
            scrape.account_at(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=0.3)
        over.set()
        dripping.join()
    wait_until(lambda: threading.active_count() <= before)


def test_a_name_from_a_server_is_escaped():
    """A task's name cannot move the cursor, nor be markup."""
    evil = SOUND.replace("shop.mail", "shop.\x1b[2J\x9b[red]mail[/]\\nmore")
    with serving(evil) as (url, _):
        answer = afterword("account", url, terminal=True)
    assert answer.code == 0
    assert not {"\x1b", "\x9b"} & set(answer.out)
    assert r"shop.\x1b[2J\x9b[red]mail[/]\nmore" in answer.out


def test_a_narrow_terminal_gets_two_tables(monkeypatch: pytest.MonkeyPatch):
    """Where the columns do not fit, times have a table of their own."""
    with serving(SOUND) as (url, _):
        wide = afterword("account", url, terminal=True).out
        monkeypatch.setenv("COLUMNS", "100")
        narrow = afterword("account", url, terminal=True).out
    assert ("Times" in wide, "Times" in narrow) == (False, True)


def test_the_rest_of_an_application_is_not_parsed():
    """Lines of others, however many and whatever is wrong with them, do not matter."""
    accounts = account.read("nonsense {{{\n" + SOUND + "http_requests_total{ 1\n")
    assert accounts is not None
    assert [one.missing for one in accounts.values()] == [0]
