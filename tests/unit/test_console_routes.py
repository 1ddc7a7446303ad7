"""Where the console is, that it is in no account, and that it goes as it came."""

import json
import logging

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

import afterword
from afterword._console.static import all_files
from afterword._ledger.instrumentation import get_instrumentation
from afterword._starlette import interop
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.support.asgi import ask, with_header
from tests.support.console import KNOWN, PATH, TOKEN, VIEWS, api, told, wrong
from tests.support.in_process import InProcessStage, plain_app
from tests.support.numbers import recorded
from tests.support.versions import NATIVE_TELEMETRY, native_only


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say the token."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)


async def yes(request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("yes")


def is_there(app, path: str = PATH) -> bool:
    """Return whether a console answers at a path."""
    return api(app, "summary", path=path).status == 200


# --- where it is ------------------------------------------------------------------------------------------------


def test_it_is_off_unless_it_is_asked_for(stage: InProcessStage):
    """Without being asked for, there is no console, and nothing of it is kept."""
    app = stage.app()
    assert not is_there(app)
    assert [type(route).__name__ for route in app.routes].count("_Route") == 0


def test_it_tells_what_became_of_the_tasks(stage: InProcessStage):
    """A console shows the runs of its application, without a journal, too."""
    app = stage.app_with(stage.works("mail"), stage.fails("report"), console=PATH)
    ask(app)
    runs = told(app, "runs")["runs"]
    assert [(run["task"].rpartition(".")[2], run["outcome"]) for run in runs] == [
        ("report", "failed"),
        ("mail", "succeeded"),
    ]
    assert told(app, "summary")["source"]["kind"] == "memory"


@pytest.mark.parametrize("path", ["/afterword", "/afterword/", "/internal/tasks", "/a.b_c~d-e", "/9"])
def test_it_is_where_one_wants_it(stage: InProcessStage, path):
    """Any plain path will do; a slash at its end makes no difference."""
    app = stage.app(console=path)
    here = path.rstrip("/")
    assert is_there(app, here)
    answer = ask(app, here)
    assert (answer.status, answer.headers["location"]) == (307, f"{here.rpartition('/')[2]}/")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        *((1, TypeError), (b"/afterword", TypeError), (True, TypeError)),
        *((path, ValueError) for path in ("", "/", "//", "afterword", "/a//b", "/a/../b", "/.", "/..", "/a b")),
        *((path, ValueError) for path in ("/{page}", "/é", "/a?b", "/a#b", "/%61", "/a\n", "/a;b", "/a" * 200)),
    ],
)
def test_a_path_that_is_none_is_refused(stage: InProcessStage, path, error):
    """What could mean something else, to a router, a browser or a cookie, is no path for the console."""
    app = stage.fastapi()
    with pytest.raises(error, match=r"^console: "):
        stage.instrument(app, console=path)
    assert get_instrumentation(app) is None


@pytest.mark.parametrize("dependencies", [None, 1, "admin", [print], [None]])
def test_dependencies_that_are_none_are_refused(stage: InProcessStage, dependencies):
    """`console_dependencies` takes a list of `Depends(...)`."""
    with pytest.raises(TypeError, match=r"^console_dependencies: "):
        stage.app(console=PATH, console_dependencies=dependencies)


def test_a_path_that_is_taken_is_an_error(stage: InProcessStage):
    """Who names a path that is a route's, or that of the metrics, is told so, and the settings stay in force."""
    app = stage.app(lambda: None)
    app.get(PATH)(lambda: "mine")
    for taken, whose in ((PATH, "already a route"), ("/metrics", "where the metrics are")):
        with pytest.raises(ValueError, match=f"^console: '{taken}' is {whose}"):
            stage.instrument(app, console=taken)
    assert ask(app, PATH).text == '"mine"'
    assert ask(app, "/metrics").status == 200


def test_it_stands_before_all_other_routes(stage: InProcessStage):
    """A catch-all of the application's does not answer in its place."""
    app = stage.fastapi()
    app.get("/{page:path}")(lambda page: page)
    stage.instrument(app, console=PATH)
    assert is_there(app)
    assert ask(app, "/afterwards").text == '"afterwards"'


def test_a_websocket_is_none_of_its_business(stage: InProcessStage):
    """Whatever is not HTTP goes to the application's own routes."""
    app = stage.app(console=PATH)
    [route] = [route for route in app.routes if getattr(route, "path", "") == PATH]
    assert route.matches({"type": "websocket", "path": PATH})[0].name == "NONE"


def test_it_is_not_in_the_schema(stage: InProcessStage):
    """The application's own documentation does not mention it."""
    app = stage.app(lambda: None, console=PATH)
    assert PATH not in json.dumps(app.openapi())


# --- mounts, proxies, Starlette ---------------------------------------------------------------------------------


def test_plain_starlette(stage: InProcessStage):
    """A Starlette application has a console, too, and loses it again."""
    app = stage.instrument(plain_app("/", yes), console=PATH)
    assert is_there(app)
    afterword.uninstrument(app)
    assert ask(app, PATH).status == 404


@pytest.mark.parametrize("outer", [Starlette, FastAPI])
def test_under_a_mount(stage: InProcessStage, outer):
    """The console of an application that is mounted in another one is below its mount."""
    inner = stage.app_with(stage.works("mail"), console=PATH)
    app = outer(routes=[Mount("/shop", inner)])
    ask(app, "/shop/")
    assert len(told(app, "runs", path=f"/shop{PATH}")["runs"]) == 1
    assert ask(app, f"/shop{PATH}").headers["location"] == "afterword/"
    assert ask(app, f"/shop{PATH}/static/main.js").status == 200


@pytest.mark.parametrize("strips", [True, False])
def test_behind_a_proxy(stage: InProcessStage, strips):
    """With a root path, it is found whether the proxy takes that off the path or leaves it."""
    app = stage.app_with(stage.works("mail"), console=PATH)

    async def behind(scope, receive, send) -> None:
        path = scope["path"] if strips else f"/shop{scope['path']}"
        await app(scope | {"root_path": "/shop", "path": path, "raw_path": path.encode()}, receive, send)

    ask(behind)
    assert len(told(behind, "runs")["runs"]) == 1
    assert stage.accounts.recorder.ended_runs[0].name.endswith("mail")


def test_a_root_path_that_only_begins_alike(stage: InProcessStage):
    """A prefix counts only where it ends at a slash."""
    app = stage.app(console=PATH)

    async def behind(scope, receive, send) -> None:
        await app(scope | {"root_path": "/after"}, receive, send)

    assert is_there(behind)


def test_both_of_two_applications(stage: InProcessStage):
    """An application and one that is mounted in it may each have a console, of its own account."""
    inner = stage.app_with(stage.works("mail"), console="/inside")
    outer = stage.app(console=PATH)
    outer.mount("/shop", inner)
    ask(outer, "/shop/")
    assert len(told(outer, "runs", path="/shop/inside")["runs"]) == 1
    assert told(outer, "runs")["runs"] == []


# --- in no account ----------------------------------------------------------------------------------------------


def look_at_everything(app, prefix: str = "") -> None:
    """Ask for everything that there is, and for what there is not; with and without a token."""
    for headers in ((), KNOWN, [*KNOWN, *with_header("sec-fetch-site", "cross-site")]):
        for below in ("", "/", "/static/main.js", "/static/nothing", *(f"/api/{view}" for view in VIEWS)):
            answer = ask(app, f"{prefix}{PATH}{below}", headers=headers)
            assert answer.status is not None
            assert answer.status < 500
    assert api(app, "runs?since=never", path=prefix + PATH).status == 400
    ask(app, f"{prefix}{PATH}/", "POST")


def signals(stage: InProcessStage) -> tuple[list[str], list[str], list[str]]:
    """Return the spans, the log lines and the metrics that have a value."""
    spans = [span.name for span in stage.accounts.spans.all() if span.parent is None]
    lines = [line["event"] for line in stage.accounts.lines.entries if not line["event"].startswith("afterword.")]
    recorded_now = recorded(stage.accounts.meter.reader)
    metrics = [metric.name for metric in recorded_now if metric.name.startswith("http")]
    return spans, lines, metrics


@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_looking_leaves_no_trace(stage: InProcessStage, mounted, root_path):
    """No request for the console has a span, a metric or a line of any kind, wherever the application is."""
    app = (stage.native if NATIVE_TELEMETRY else stage.fastapi)()
    app.get("/")(lambda: None)
    stage.instrument(app, console=PATH)
    outermost = Starlette(routes=[Mount("/shop", app)]) if mounted else app

    async def behind(scope, receive, send) -> None:
        path = root_path + scope["path"]
        await outermost(scope | {"root_path": root_path, "path": path, "raw_path": path.encode()}, receive, send)

    prefix = "/shop" if mounted else ""
    look_at_everything(behind, prefix)
    assert signals(stage) == ([], [], [])
    ask(behind, f"{prefix}/")
    assert [name.partition(" ")[0] for name in signals(stage)[0]] == ["GET"]


def test_contrib_leaves_it_out(stage: InProcessStage, monkeypatch):
    """OpenTelemetry contrib, where it traces requests, leaves out the console and nothing that looks like it."""
    monkeypatch.setattr(interop, "has_native", lambda: False)
    app = stage.fastapi()
    for path in ("/afterword-not", "/books/afterword/1", "/books"):
        app.get(path)(lambda: None)
    stage.instrument(app, console=PATH)
    look_at_everything(app)
    assert signals(stage)[0] == []
    ask(app, "/afterword-not")
    ask(app, "/books/afterword/1")
    assert signals(stage)[0] == ["GET /afterword-not", "GET /books/afterword/1"]


@native_only
def test_an_application_around_it_leaves_it_out(stage: InProcessStage):
    """FastAPI's own telemetry of an application in which ours is mounted leaves out the console, too."""
    inner = stage.app_with(stage.works("mail"), console=PATH)
    outer = stage.native()
    outer.mount("/shop", inner)
    stage.instrument(outer)
    look_at_everything(outer, "/shop")
    assert signals(stage)[0] == []


@native_only
def test_what_the_user_excludes_stays_excluded(stage: InProcessStage):
    """The exclusion goes beside the user's own, and with the console again."""

    def healthy(scope) -> bool:
        return scope["path"] == "/health"

    app = stage.native(telemetry={"tracer_provider": stage.settings["tracer_provider"], "exclude": healthy})
    app.get("/health")(lambda: None)
    stage.instrument(app, console=PATH, metrics_path=None)
    ask(app, "/health")
    look_at_everything(app)
    assert signals(stage)[0] == []
    afterword.uninstrument(app)
    assert app._native_telemetry.config["exclude"] is healthy


@pytest.mark.faults
def test_a_fault_is_ours_alone(stage: InProcessStage, monkeypatch, caplog):
    """An error while the console answers is a 500 that says so, logged once and counted, and nobody else's."""
    app = stage.app(console=PATH)
    monkeypatch.setattr("afterword._views.now.view", lambda *_: 1 / 0)
    for _ in range(3):
        answer = api(app, "now")
        assert (answer.status, answer.error) == (500, None)
        assert "the application's log" in wrong(answer)
        assert "ZeroDivision" not in answer.text
    assert stage.observer_errors("afterword") == 3
    assert len([record for record in caplog.records if "the console" in record.getMessage()]) == 1
    assert is_there(app)


# --- it goes as it came -----------------------------------------------------------------------------------------


def test_uninstrument_takes_it_away(stage: InProcessStage):
    """Afterwards the application has the routes that it had."""
    app = stage.fastapi()
    before = list(app.router.routes)
    stage.instrument(app, console=PATH)
    afterword.uninstrument(app)
    assert app.router.routes == before
    assert not is_there(app)


def test_instrumenting_again_replaces_it(stage: InProcessStage):
    """With other settings, the console moves; with the same, it stays and keeps what it knows."""
    app = stage.app_with(stage.works("mail"), console=PATH)
    ask(app)
    routes = list(app.router.routes)
    settings = {"observers": [stage.accounts.recorder], **stage.settings}
    afterword.instrument(app, console=PATH, **settings)
    assert app.router.routes == routes
    assert len(told(app, "runs")["runs"]) == 1
    afterword.instrument(app, console="/elsewhere", **settings)
    assert is_there(app, "/elsewhere")
    assert not is_there(app)
    assert len(app.router.routes) == len(routes)


# --- the environment --------------------------------------------------------------------------------------------


def test_the_environment_switches_it_on(stage: InProcessStage, monkeypatch):
    """`AFTERWORD_CONSOLE` is enough, and an argument wins over it."""
    monkeypatch.setenv("AFTERWORD_CONSOLE", "/from-outside")
    assert is_there(stage.app(), "/from-outside")
    app = stage.app(console=PATH)
    assert is_there(app)
    assert not is_there(app, "/from-outside")


def test_without_code(stage: InProcessStage, monkeypatch, instrumentor: BackgroundTaskInstrumentor):
    """An application that is instrumented from outside has the environment's console from its first request."""
    monkeypatch.setenv("AFTERWORD_CONSOLE", PATH)
    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    instrumentor.instrument(**stage.settings)
    assert is_there(app)
    ask(app)
    assert len(told(app, "runs")["runs"]) == 1
    afterword.uninstrument(app)


@pytest.mark.parametrize("value", ["none", "None", "", " "])
def test_the_environment_may_say_none(stage: InProcessStage, monkeypatch, value):
    """An empty variable, or `none`, is no console."""
    monkeypatch.setenv("AFTERWORD_CONSOLE", value)
    assert not is_there(stage.app())


@pytest.mark.parametrize("value", ["afterword", "/", "/{x}"])
def test_a_slip_in_the_environment_is_one_warning(stage: InProcessStage, monkeypatch, caplog, value):
    """What cannot be a path is said once, and the application runs without a console."""
    monkeypatch.setenv("AFTERWORD_CONSOLE", value)
    for _ in range(2):
        assert not is_there(stage.app())
    [record] = [record for record in caplog.records if "AFTERWORD_CONSOLE" in record.getMessage()]
    assert record.levelno == logging.WARNING


def test_a_path_of_the_environment_that_is_taken_is_one_warning(stage: InProcessStage, monkeypatch, caplog):
    """The user's own route stays, and that there is no console is said once."""
    monkeypatch.setenv("AFTERWORD_CONSOLE", PATH)
    app = stage.fastapi()
    app.get(PATH)(lambda: "mine")
    stage.instrument(app)
    stage.instrument(app, new_trace=False, logs=False)
    assert ask(app, PATH).text == '"mine"'
    assert len([record for record in caplog.records if "there is no console" in record.getMessage()]) == 1


# --- static files -----------------------------------------------------------------------------------------------


def test_static_files_are_there_for_everybody(stage: InProcessStage):
    """Each file of the page is served with its type, without a token, since it holds nothing."""
    app = stage.app(console=PATH)
    assert {"index.html", "main.js"} <= set(all_files())
    for name, file in all_files().items():
        answer = ask(app, f"{PATH}/static/{name}")
        assert (answer.status, answer.body) == (200, file.body)
        assert answer.headers["content-type"] == file.content_type


def test_a_file_that_is_known_is_not_sent_again(stage: InProcessStage):
    """A browser that has the same file gets a 304, and one that has another gets the file."""
    app = stage.app(console=PATH)
    etag = ask(app, f"{PATH}/static/main.js").headers["etag"]
    for known, status in ((etag, 304), (f'"other", W/{etag}', 304), ('"other"', 200), ("*", 200)):
        assert ask(app, f"{PATH}/static/main.js", headers=with_header("if-none-match", known)).status == status


@pytest.mark.parametrize(
    "name",
    [
        *("../__init__.py", "..%2F__init__.py", "%2e%2e/__init__.py", "lib/../../access.py", "/etc/passwd"),
        *("//etc/passwd", "..\\access.py", "main.js/", "main.js%00", ".", "..", "", "lib", "lib/", "MAIN.JS"),
        *("../static/main.js", "./main.js", "x" * 5000, "%ff%fe", "__init__.py"),
    ],
)
def test_no_path_leads_out_of_the_static_files(stage: InProcessStage, name):
    """Only names that were listed are served: a path from outside never reaches the disk."""
    answer = ask(stage.app(console=PATH), f"{PATH}/static/{name}")
    assert answer.status == 404
    assert wrong(answer) == "there is no such file"


def test_the_page_is_the_same_for_everybody(stage: InProcessStage):
    """Who is not let in gets the same page, with 401: it asks for the token by itself."""
    app = stage.app(console=PATH)
    stranger, known = ask(app, f"{PATH}/"), ask(app, f"{PATH}/", headers=KNOWN)
    assert (stranger.status, known.status) == (401, 200)
    assert stranger.body == known.body == all_files()["index.html"].body
