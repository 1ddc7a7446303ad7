"""How loud a failed request is: anybody can make a 4xx, so it is quiet, unless it cost a task."""

import asyncio
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, HTTPException, WebSocket, WebSocketException
from fastapi.responses import JSONResponse

import afterword
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask, http_scope
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.story import HTTP_EXCEPTION, dropped, request_error, succeeded

VARIABLE = "AFTERWORD_CLIENT_ERROR_LEVEL"
NUMBERS = {"debug": 5, "info": 9, "warning": 13, "error": 17}


def levels(stage: InProcessStage) -> list[str]:
    """Return how loud the failed requests were."""
    return [line["log_level"] for line in stage.accounts.lines.of_requests()]


def raising(stage: InProcessStage, status: int, *tasks):
    """Make an endpoint that schedules tasks and raises."""

    async def endpoint(background: BackgroundTasks) -> None:
        for task in tasks:
            background.add_task(task)
        raise HTTPException(status)

    return endpoint


def test_a_path_that_does_not_exist(stage: InProcessStage):
    """A bot's 404 is counted, and is no warning."""
    ask(stage.app(), "/wp-login.php")
    assert levels(stage) == ["debug"]
    stage.assert_story(request_error(404, "starlette.exceptions.HTTPException", ""))


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_a_scanner_is_quiet_and_known(stage: InProcessStage, kept_logs: KeptLogs, monkeypatch, level):
    """Where no route matched, the line has the path, bounded and escaped, and the client, and is never loud."""
    monkeypatch.setenv(VARIABLE, level)
    app = stage.app(raising(stage, 404), observers=[OpenTelemetryLogs(kept_logs.provider, level="debug")])
    ask(app, "/.env%0A2026%1B[31m" + "a" * 5000)
    ask(app, "/")
    scan, missing = stage.accounts.lines.of_requests()
    assert (scan["log_level"], missing["log_level"]) == ("debug", level)
    assert scan["path"].startswith(r"/.env\n2026\x1b[31maaa")
    assert len(scan["path"]) <= 200
    assert scan["client_address"] == "127.0.0.1"
    assert not {"path", "client_address"} & missing.keys()
    records = [record.attributes for record in kept_logs.records if record.event == "request.failed"]
    told = {(record.get("url.path"), record.get("client.address")) for record in records}
    assert told == {(scan["path"], "127.0.0.1"), (None, None)}


def test_a_client_that_the_server_does_not_know(stage: InProcessStage):
    """Behind a Unix socket there is no address of a client, and so none on the line."""
    app = stage.app()

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None: ...

    asyncio.run(app(http_scope("/nothing") | {"client": None}, receive, send))
    [line] = stage.accounts.lines.of_requests()
    assert line["path"] == "/nothing"
    assert "client_address" not in line


def test_a_client_error_that_drops_a_task(stage: InProcessStage):
    """A 4xx that cost a task is a warning, and an observer can tell."""
    told = []

    class Observer(afterword.TaskObserver):
        def request_failed(self, info, exc) -> None:
            told.append(info.dropped)

    app = stage.app(raising(stage, 404, stage.works("mail")), observers=[Observer()])
    app.get("/without")(raising(stage, 404))
    ask(app)
    ask(app, "/without")
    assert levels(stage) == ["warning", "debug"]
    assert told == [True, False]


def test_a_client_error_whose_tasks_are_rescued(stage: InProcessStage):
    """A 4xx whose tasks all run has cost none."""
    rescued = afterword.task(run_on_request_error=True)(stage.works("audit"))
    ask(stage.app(raising(stage, 404, rescued)))
    assert levels(stage) == ["debug"]
    stage.assert_story(succeeded("audit"), request_error(404, HTTP_EXCEPTION))


def test_a_client_error_whose_handler_runs_the_tasks(stage: InProcessStage):
    """A 4xx whose handler answers with the endpoint's tasks has cost none."""
    added = []

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        added.append(background)
        raise HTTPException(404)

    app = stage.app(endpoint)
    app.add_exception_handler(404, lambda request, exc: JSONResponse({}, 404, background=added[0]))
    ask(app)
    assert levels(stage) == ["debug"]
    stage.assert_story(succeeded("mail"), request_error(404, HTTP_EXCEPTION))


@pytest.mark.parametrize(("status", "whose"), [(308, None), (400, True), (451, True), (500, False), (503, False)])
def test_whose_error_it_was(stage: InProcessStage, status, whose):
    """An observer is told that a 4xx was the client's error; a 5xx is not, and what is below 400 is no error."""
    told = []

    class Observer(afterword.TaskObserver):
        def request_failed(self, info, exc) -> None:
            told.append((info.status, info.client_error))

    ask(stage.app(raising(stage, status), observers=[Observer()]))
    assert told == ([] if whose is None else [(status, whose)])


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_is_an_error(stage: InProcessStage, monkeypatch, status):
    """A 5xx is an error with its traceback, whatever the level of a 4xx is."""
    monkeypatch.setenv(VARIABLE, "debug")
    ask(stage.app(raising(stage, status)))
    [line] = stage.accounts.lines.of_requests()
    assert line["log_level"] == "error"
    assert line["exc_info"]


@pytest.mark.parametrize(
    ("value", "quiet", "with_loss"),
    [
        ("", "debug", "warning"),
        ("info", "info", "warning"),
        (" Warning ", "warning", "warning"),
        ("error", "error", "error"),
    ],
)
def test_the_level_of_client_errors(stage: InProcessStage, monkeypatch, value, quiet, with_loss):
    """One variable says how loud a 4xx is, on lines and on OpenTelemetry's records; none has a traceback."""
    monkeypatch.setenv(VARIABLE, value)
    kept = KeptLogs()
    app = stage.app(raising(stage, 404), observers=[OpenTelemetryLogs(kept.provider, level="debug")])
    app.get("/dropping")(raising(stage, 422, stage.works("mail")))
    ask(app)
    ask(app, "/dropping")
    assert levels(stage) == [quiet, with_loss]
    records = [record for record in kept.records if record.event == "request.failed"]
    assert [record.severity for record in records] == [NUMBERS[quiet], NUMBERS[with_loss]]
    assert not any(line.get("exc_info") for line in stage.accounts.lines.of_requests())
    assert not any("exception.stacktrace" in record.attributes for record in records)
    kept.provider.shutdown()


def knock(app, path: str = "/ws") -> None:
    """Try to open a WebSocket, and hear nothing of it."""
    scope = http_scope(path) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message) -> None: ...

    with suppress(KeyError):
        asyncio.run(app(scope, receive, send))


def socket_app(stage: InProcessStage, exc: Exception, *tasks, accepts: bool = False):
    """Make an application whose WebSocket schedules tasks and raises, at once or when it is open."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket, background: BackgroundTasks) -> None:
        for task in tasks:
            background.add_task(task)
        if accepts:
            await socket.accept()
        raise exc

    @app.websocket("/rooms")
    async def rooms(socket: WebSocket, number: int) -> None: ...

    return stage.instrument(app)


def test_a_websocket_that_fails_validation(stage: InProcessStage):
    """A handshake whose parameters are wrong is answered 403: it is counted, and is no traceback."""
    knock(socket_app(stage, KeyError("boom")), "/rooms?number=seven")
    [line] = stage.accounts.lines.of_requests()
    assert line["log_level"] == "debug"
    assert not line.get("exc_info")
    error_type = "fastapi.exceptions.WebSocketRequestValidationError"
    stage.assert_story(request_error(403, error_type, "/rooms", method=""))


@pytest.mark.parametrize("code", [1000, 1008, 4001])
def test_a_websocket_that_is_refused(stage: InProcessStage, code):
    """A WebSocket that an exception closes before it is open was the client's error, as a 403 is."""
    knock(socket_app(stage, WebSocketException(code)))
    assert levels(stage) == ["debug"]
    stage.assert_story(request_error(403, "fastapi.exceptions.WebSocketException", "/ws", method=""))


def test_a_websocket_that_is_refused_with_an_http_error(stage: InProcessStage):
    """An ``HTTPException`` before a WebSocket is open is as loud as behind an HTTP request."""
    knock(socket_app(stage, HTTPException(404)))
    assert levels(stage) == ["debug"]
    stage.assert_story(request_error(404, HTTP_EXCEPTION, "/ws", method=""))


def test_a_refused_websocket_that_drops_a_task(stage: InProcessStage):
    """A WebSocket whose refusal cost a task is a warning."""
    knock(socket_app(stage, WebSocketException(1008), stage.works("mail")))
    assert levels(stage) == ["warning"]
    error = request_error(403, "fastapi.exceptions.WebSocketException", "/ws", method="")
    stage.assert_story(dropped("mail"), error)


@pytest.mark.parametrize(
    ("exc", "accepts"),
    [(WebSocketException(1011), False), (KeyError("boom"), False), (WebSocketException(1008), True)],
    ids=["internal error", "unhandled", "accepted"],
)
def test_a_websocket_that_fails_by_itself(stage: InProcessStage, exc, accepts):
    """What closes as the server's error, or raises, or closes after it was open has no status, and is an error."""
    knock(socket_app(stage, exc, accepts=accepts))
    [line] = stage.accounts.lines.of_requests()
    assert line["log_level"] == "error"
    assert line["exc_info"]
    assert "http_status" not in line


def test_a_websocket_that_breaks_after_its_refusal(stage: InProcessStage):
    """An error of the code that comes after it has closed by itself is an error, and no refusal."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket) -> None:
        await socket.close()
        raise KeyError("boom")

    knock(stage.instrument(app))
    assert levels(stage) == ["error"]


def test_a_websocket_that_a_middleware_has_accepted(stage: InProcessStage):
    """What a middleware has accepted is open, and nothing in it is refused."""

    class Accepts:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await send({"type": "websocket.accept"})
            await self.app(scope, receive, send)

    app = socket_app(stage, WebSocketException(1008))
    app.add_middleware(Accepts)
    knock(app)
    assert levels(stage) == ["error"]


def test_a_level_that_there_is_not(stage: InProcessStage, monkeypatch, caplog):
    """A value that is no level is warned of, and stops no application."""
    monkeypatch.setenv(VARIABLE, "loud")
    ask(stage.app(raising(stage, 404, stage.works("mail"))))
    [record] = [record for record in caplog.records if VARIABLE in record.getMessage()]
    assert record.levelname == "WARNING"
    stage.assert_story(dropped("mail"), request_error(404, HTTP_EXCEPTION))
