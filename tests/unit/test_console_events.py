"""What a page is told as it happens: once for all that look, and nothing for nobody."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import FastAPI

import afterword
from afterword._console import events, watching
from afterword._ledger import server
from tests.support.asgi import ask, call, http_scope
from tests.support.console import KNOWN, PATH, TOKEN, Stream, wrong
from tests.support.in_process import InProcessStage
from tests.support.waiting import wait_until_async

Play = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say the token, and be asked often what is new."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)
    monkeypatch.setattr(watching, "_TICK", 0.01)


@pytest.fixture(params=["asyncio", "trio"])
def play(request) -> Callable[[Play], None]:
    """Provide a function that plays on each kind of event loop, with tasks that end with the play."""

    async def with_tasks(what: Play) -> None:
        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                await what(tasks)
                tasks.cancel_scope.cancel()

    return lambda what: anyio.run(with_tasks, what, backend=request.param)


async def opened(tasks: Any, app: FastAPI, **options: Any) -> Stream:
    """Open a page, and wait until its stream has begun."""
    stream = Stream(app, **options)
    tasks.start_soon(stream.open)
    await stream.begun()
    return stream


async def settled(stream: Stream) -> None:
    """Wait until what was there before the page was opened is known."""
    feed = await _watching_of(stream)
    await wait_until_async(lambda: feed._news is not None and feed._news._in_flight is not None)


async def _watching_of(stream: Stream) -> watching.Watching:
    [route] = [route for route in stream._app.routes if getattr(route, "path", "") == PATH]
    return route.console._events._of_this_loop()


@pytest.mark.parametrize("kept", ["journal", "memory"])
def test_what_ends_is_told(stage: InProcessStage, directory, play, kept):
    """A page is told of each run that ends, with what the list of runs says of it."""
    options = {"journal": directory} if kept == "journal" else {}
    app = stage.app_with(stage.works("mail"), stage.fails("report"), console=PATH, **options)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        await settled(stream)
        await call(app)
        await wait_until_async(lambda: sum(data["ended_total"] for _, _, data in stream.events) == 2)
        assert {kind for kind, _, _ in stream.events} == {"changed"}
        runs = [run for _, _, data in stream.events for run in data["ended"]]
        assert sorted(run["outcome"] for run in runs) == ["failed", "succeeded"]
        assert "traceback" not in runs[0]
        assert stream.events[-1][2]["pending"] == stream.events[-1][2]["running"] == 0
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"

    play(look)


def test_what_is_in_flight_is_told(stage: InProcessStage, play):
    """A page is told when a task is scheduled or starts, too."""

    async def look(tasks) -> None:
        release = anyio.Event()

        async def held() -> None:
            await release.wait()

        app = stage.app_with(held, console=PATH)
        stream = await opened(tasks, app)
        await settled(stream)
        tasks.start_soon(call, app)
        await wait_until_async(lambda: any(data["running"] for _, _, data in stream.events))
        release.set()
        await wait_until_async(lambda: any(data["ended_total"] for _, _, data in stream.events))

    play(look)


def test_nothing_is_told_where_nothing_happens(stage: InProcessStage, play, monkeypatch):
    """Without a change there is no event, only a sign of life now and then."""
    monkeypatch.setattr(watching, "_ALIVE_SECONDS", 0.05)
    app = stage.app(console=PATH)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        await wait_until_async(lambda: stream.parts.count(b": alive\n\n") > 2)
        assert stream.events == []

    play(look)


def counted_polls(monkeypatch) -> list[int]:
    """Return a list that grows with each time that is asked what is new."""
    polls: list[int] = []
    poll = watching.News.poll

    def counted(self) -> bytes | None:
        polls.append(1)
        return poll(self)

    monkeypatch.setattr(watching.News, "poll", counted)
    return polls


def test_nobody_looks_and_nobody_asks(stage: InProcessStage, monkeypatch):
    """Without a page that is open, nothing is asked and no task of ours is left."""
    polls = counted_polls(monkeypatch)
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look() -> None:
        await call(app)
        assert polls == []
        stream = Stream(app)
        looking = asyncio.create_task(stream.open())
        await wait_until_async(lambda: polls)
        stream.leave()
        await looking
        before = len(polls)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await call(app)
        assert len(polls) == before

    asyncio.run(look())


def test_all_who_look_are_told_the_same_bytes(stage: InProcessStage, play, monkeypatch):
    """What is new is asked for and written once, however many look."""
    written: list[bytes] = []
    poll = watching.News.poll

    def kept(self) -> bytes | None:
        found = poll(self)
        written.extend([] if found is None else [found])
        return found

    monkeypatch.setattr(watching.News, "poll", kept)
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        streams = [await opened(tasks, app) for _ in range(20)]
        await settled(streams[0])
        await call(app)
        await wait_until_async(lambda: all(any(data["ended_total"] for *_, data in s.events) for s in streams))
        assert len({tuple(stream.parts[1:]) for stream in streams}) == 1
        assert len(written) == len(streams[0].events)

    play(look)


def test_another_asks_when_the_first_leaves(stage: InProcessStage, play):
    """The page that was opened first may be closed: those that are left are told all the same."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        first, second = await opened(tasks, app), await opened(tasks, app)
        await settled(first)
        first.leave()
        await first.ended()
        await call(app)
        assert (await second.event(0))[0] == "changed"
        assert first.events == []

    play(look)


def test_a_slow_page_loses_what_it_does_not_take(stage: InProcessStage, play):
    """Whoever does not read holds up nobody and keeps little; once it reads again, it is told to begin anew."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        slow, quick = await opened(tasks, app), await opened(tasks, app)
        await settled(quick)
        slow.reads = anyio.Event()
        for number in range(2 * watching._MOST_WAITING + 2):
            await call(app)
            await quick.event(number)
        [viewer] = [each for each in (await _watching_of(quick))._viewers if each.lost]
        assert len(viewer._waiting) == 0
        slow.reads.set()
        await wait_until_async(lambda: any(kind == "reset" for kind, _, _ in slow.events))
        assert slow.events[-1][1] == quick.events[-1][1]
        assert len(slow.events) < len(quick.events)
        await call(app)
        await wait_until_async(lambda: slow.events[-1][0] == "changed")

    play(look)


def test_what_was_missed_is_told_afterwards(stage: InProcessStage, play):
    """A page that comes back is told what it missed, as long as that is known, also if it had seen nothing."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        witness, stream = await opened(tasks, app), await opened(tasks, app)
        await settled(witness)
        stream.leave()
        await stream.ended()
        for number in range(3):
            await call(app)
            await witness.event(number)
        for last in (stream.first_id, witness.events[0][1]):
            again = await opened(tasks, app, last=last)
            await wait_until_async(lambda again=again: again.events and again.events[-1] == witness.events[2])
            assert again.events == witness.events[-len(again.events) :]
            assert again.events[0][0] == "changed"
        up_to_date = await opened(tasks, app, last=witness.events[2][1])
        await call(app)
        assert (await up_to_date.event(0)) == (await witness.event(3))

    play(look)


def test_what_happens_while_the_only_page_is_away_is_told(stage: InProcessStage, play):
    """A page that reconnects after a moment has missed nothing, although nobody asked meanwhile."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        await settled(stream)
        stream.leave()
        await stream.ended()
        await call(app)
        again = await opened(tasks, app, last=stream.first_id)
        kind, _, data = await again.event(0)
        assert (kind, data["ended_total"]) == ("changed", 1)

    play(look)


@pytest.mark.parametrize("last", ["nonsense", "00000000-0", "-1", "x" * 1000, "{name}-99", "{name}-", "{name}-٣"])
def test_what_cannot_be_told_is_a_reset(stage: InProcessStage, play, last):
    """Who comes back from another process, after a long time or with nonsense is told to begin anew."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        name = stream.first_id.partition("-")[0]
        again = await opened(tasks, app, last=last.replace("{name}", name).encode().decode("latin-1"))
        kind, number, data = await again.event(0)
        assert (kind, data) == ("reset", {})
        assert number == stream.first_id

    play(look)


def test_after_a_long_time_all_is_forgotten(stage: InProcessStage, play, monkeypatch):
    """When nobody has looked for a minute, nothing is kept, and who comes back begins anew."""
    monkeypatch.setattr(watching, "_FORGOTTEN_AFTER", -1.0)
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        stream.leave()
        await stream.ended()
        again = await opened(tasks, app, last=stream.first_id)
        assert (await again.event(0))[0] == "reset"

    play(look)


def test_too_much_at_once_is_the_newest(stage: InProcessStage, play):
    """Of many runs that end at the same time, a hundred are told, and how many there were."""
    app = stage.app_with(*[stage.works("mail")] * 150, console=PATH)

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        await settled(stream)
        await call(app)
        await wait_until_async(lambda: sum(data["ended_total"] for _, _, data in stream.events) == 150)
        assert all(len(data["ended"]) <= 100 for _, _, data in stream.events)

    play(look)


@pytest.mark.parametrize(
    ("viewers", "much", "ticks"), [(1, False, 2), (10, False, 2), (11, False, 4), (1, True, 4), (11, True, 8)]
)
def test_many_are_told_less_often(viewers, much, ticks):
    """What telling costs does not grow with all that there is to tell and all who look."""

    async def look() -> int:
        watched = watching.Watching(lambda: None, lambda: False, print)
        for _ in range(viewers):
            watched.join(None)
        watched._news = watching.News(None)
        watched._news.is_much = much
        return watched._pause()

    assert anyio.run(look) == ticks


# --- the end ----------------------------------------------------------------------------------------------------


def test_it_ends_with_the_console(stage: InProcessStage, play):
    """`uninstrument` ends the streams that are open, each with its last byte."""
    app = stage.app(console=PATH)

    async def look(tasks) -> None:
        streams = [await opened(tasks, app) for _ in range(3)]
        afterword.uninstrument(app)
        for stream in streams:
            await stream.ended()
            assert stream.parts[-1] == b""

    play(look)


def test_it_ends_with_the_server(stage: InProcessStage, play, monkeypatch):
    """As soon as the server is about to end, all streams end, also that of a page which does not read."""
    app = stage.app(console=PATH)

    async def look(tasks) -> None:
        streams = [await opened(tasks, app) for _ in range(3)]
        streams[0].reads = anyio.Event()
        monkeypatch.setattr(watching, "is_ending", lambda: True)
        for stream in streams:
            await stream.ended()
        assert [stream.parts[-1] for stream in streams[1:]] == [b"", b""]
        late = Stream(app)
        tasks.start_soon(late.open)
        await late.ended()

    play(look)


def test_so_many_pages_at_most(stage: InProcessStage, play, monkeypatch):
    """One page too many is refused, and let in when another one has gone."""
    monkeypatch.setattr(events, "MOST", 2)
    app = stage.app(console=PATH)

    async def look(tasks) -> None:
        first, _ = await opened(tasks, app), await opened(tasks, app)
        answer = await call(app, f"{PATH}/api/events", headers=KNOWN)
        assert (answer.status, answer.headers["retry-after"]) == (503, "60")
        assert "2 pages" in wrong(answer)
        first.leave()
        await first.ended()
        await opened(tasks, app)

    play(look)


@pytest.mark.faults
def test_a_fault_is_told_once_and_the_stream_goes_on(stage: InProcessStage, play, monkeypatch, caplog):
    """If it cannot be asked what is new, that is logged once and counted, and asked again."""
    monkeypatch.setattr(watching, "_TICKS_AFTER_A_FAULT", 1)
    app = stage.app_with(stage.works("mail"), console=PATH)
    broken = [True]
    poll = watching.News.poll
    monkeypatch.setattr(watching.News, "poll", lambda self: 1 / 0 if broken else poll(self))

    async def look(tasks) -> None:
        stream = await opened(tasks, app)
        await wait_until_async(lambda: (stage.observer_errors("afterword") or 0) >= 2)
        broken.clear()
        await settled(stream)
        await call(app)
        assert (await stream.event(0))[0] == "changed"

    play(look)
    assert len([record for record in caplog.records if "asking what is new" in record.getMessage()]) == 1


def test_a_client_that_is_gone_is_no_fault(stage: InProcessStage, play):
    """A stream whose client went away without a word ends quietly."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def look(tasks) -> None:
        sent: list[Any] = []

        async def send(message) -> None:
            sent.append(message)
            if len(sent) > 1:
                raise OSError("the connection was reset")

        await app(http_scope(f"{PATH}/api/events", headers=KNOWN), anyio.sleep_forever, send)
        assert len(sent) == 2

    play(look)
    assert stage.observer_errors("afterword") is None


def test_only_the_head_of_a_stream(stage: InProcessStage):
    """Who asks for the head alone gets it, and no stream."""
    answer = ask(stage.app(console=PATH), f"{PATH}/api/events", "HEAD", headers=KNOWN)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"


def test_a_server_that_is_not_known_is_not_ending():
    """Where the server is not uvicorn, nothing is known of its end, nor of its address."""
    assert server.is_ending() is False
    assert server.address() == ""
