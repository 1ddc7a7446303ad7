"""Whose `/metrics` it is where the user's own does not stand in the application's list of routes."""

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from tests.support.asgi import ask, with_header
from tests.support.in_process import InProcessStage
from tests.support.versions import NATIVE_TELEMETRY

SERIES = "afterword_info"


async def mine(request: Request) -> PlainTextResponse:
    """Answer as the user's own endpoint."""
    return PlainTextResponse("mine")


def router(path: str = "/metrics", *, methods: tuple[str, ...] = ("GET",), prefix: str = "") -> APIRouter:
    """Make a router with an endpoint of the user's."""
    made = APIRouter(prefix=prefix)
    made.add_api_route(path, mine, methods=list(methods))
    return made


def nested() -> APIRouter:
    """Make a router with a router inside."""
    outer = APIRouter()
    outer.include_router(router("", prefix="/metrics"))
    return outer


def in_prefix(app: FastAPI) -> None:
    """Let the prefix of an included router be the address."""
    app.include_router(router("", prefix="/metrics"))


def mounted(app: FastAPI, path: str = "/", inner: str = "/metrics") -> None:
    """Mount an application that has the user's endpoint."""
    app.mount(path, Starlette(routes=[Route(inner, mine)]))


def mounted_in_router(app: FastAPI) -> None:
    """Include a router in which an application is mounted."""
    outer = APIRouter()
    outer.mount("/metrics", PlainTextResponse("mine"))
    app.include_router(outer)


def hosted(app: FastAPI) -> None:
    """Put the endpoint behind a host name."""
    app.router.routes.append(Host("test", Router([Route("/metrics", mine)])))


def mounted_twice(app: FastAPI) -> None:
    """Mount an application in which another is mounted at the address."""
    app.mount("/", Starlette(routes=[Mount("/metrics", PlainTextResponse("mine"))]))


USERS = {
    "included": lambda app: app.include_router(router()),
    "included in an included one": lambda app: app.include_router(nested()),
    "the prefix of an included one": in_prefix,
    "mounted at /": mounted,
    "mounted at no path": lambda app: mounted(app, ""),
    "mounted in a mount at /": mounted_twice,
    "behind a host": hosted,
    "with a slash": lambda app: app.router.add_route("/metrics/", mine),
}
if NATIVE_TELEMETRY:  # an older FastAPI leaves mounts out when it includes a router
    USERS["mounted in an included one"] = mounted_in_router
OURS = {
    "another path": lambda app: app.include_router(router("/metricses")),
    "another prefix": lambda app: app.include_router(router(prefix="/internal")),
    "mounted elsewhere": lambda app: mounted(app, "/internal"),
    "another host": lambda app: app.router.routes.append(Host("other", Router([Route("/metrics", mine)]))),
    "a pattern": lambda app: app.router.add_route("/{page}", mine),
    "a catch-all": lambda app: app.include_router(router("/{path:path}")),
    "an application that is silent about its routes": lambda app: app.mount("/", PlainTextResponse("mine")),
    "static files": lambda app: app.mount("/", StaticFiles(directory="tests")),
    "a mounted application without it": lambda app: mounted(app, "/", "/orders"),
}


def follow(app: FastAPI) -> str:
    """Scrape, and follow a redirect."""
    answer = ask(app, "/metrics")
    return ask(app, "/metrics/").text if answer.status == 307 else answer.text


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("who", USERS)
def test_an_endpoint_of_the_users_wins(stage: InProcessStage, who: str, when: str):
    """What the user answers at our address stays the user's, wherever it stands and whenever it came."""
    app = stage.fastapi()
    if when == "before":
        USERS[who](app)
    stage.instrument(app)
    assert when == "before" or SERIES in ask(app, "/metrics").text
    if when == "after":
        USERS[who](app)
    assert follow(app) == "mine"


def test_one_that_comes_later_into_an_included_router_wins(stage: InProcessStage):
    """Routes are asked at each scrape: a router may get an endpoint after it was included."""
    app = stage.fastapi()
    inner = Starlette()
    app.mount("/", inner)
    stage.instrument(app)
    assert SERIES in ask(app, "/metrics").text
    inner.router.add_route("/metrics", mine)
    assert ask(app, "/metrics").text == "mine"


@pytest.mark.parametrize("who", OURS)
def test_what_only_might_answer_does_not_win(stage: InProcessStage, who: str):
    """A pattern, another address, and an application whose routes nobody can see leave `/metrics` to us."""
    app = stage.fastapi()
    OURS[who](app)
    stage.instrument(app)
    assert SERIES in ask(app, "/metrics").text


def test_each_host_has_its_own(stage: InProcessStage):
    """The user's endpoint of one host takes nothing from another."""
    app = stage.fastapi()
    app.router.routes.append(Host("mine.example", Router([Route("/metrics", mine)])))
    stage.instrument(app)

    async def as_mine(scope, receive, send) -> None:
        await app(scope | {"headers": with_header("host", "mine.example")}, receive, send)

    assert SERIES in ask(app, "/metrics").text
    assert ask(as_mine, "/metrics").text == "mine"


def test_another_method_of_the_users_is_the_users(stage: InProcessStage):
    """Where the user takes only POST at our address, a GET is refused as it always was."""
    app = stage.fastapi()
    app.include_router(router(methods=("POST",)))
    stage.instrument(app)
    assert ask(app, "/metrics").status == 405
    assert ask(app, "/metrics", method="POST").text == "mine"


def test_under_a_prefix_of_the_server(stage: InProcessStage):
    """Behind a proxy's prefix the addresses are the same."""

    async def prefixed(scope, receive, send) -> None:
        await app(scope | {"root_path": "/api"}, receive, send)

    app = stage.instrument(stage.fastapi())
    assert SERIES in ask(prefixed, "/api/metrics").text
    app.include_router(router())
    assert ask(prefixed, "/api/metrics").text == "mine"


def test_a_given_path_that_an_included_router_has_is_an_error(stage: InProcessStage):
    """Who names a path that is taken anywhere is told so."""
    app = stage.fastapi()
    app.include_router(router("/numbers"))
    with pytest.raises(ValueError, match=r"^metrics_path: '/numbers'"):
        stage.instrument(app, metrics_path="/numbers")


def test_the_users_function_for_ids_is_not_called_for_our_route(stage: InProcessStage):
    """FastAPI's own recipe for client generation fails on a route without tags: it never sees ours."""
    seen: list[str] = []

    def unique_id(route) -> str:
        seen.append(route.path)
        return f"{route.tags[0]}-{route.name}"

    app = stage.fastapi(generate_unique_id_function=unique_id)
    app.get("/orders", tags=["orders"])(lambda: [])
    stage.instrument(app)
    assert SERIES in ask(app, "/metrics").text
    assert list(app.openapi()["paths"]) == ["/orders"]
    assert "/metrics" not in seen


@pytest.mark.parametrize("make", ["fastapi", "plain"])
def test_a_route_of_the_users_that_has_our_functions_name_is_found(stage: InProcessStage, make: str):
    """`url_path_for("metrics")` finds the user's route of that name, not ours in front of it."""
    app = stage.fastapi() if make == "fastapi" else Starlette()
    app.router.add_route("/numbers", mine, name="metrics")
    stage.instrument(app)
    assert app.url_path_for("metrics") == "/numbers"
