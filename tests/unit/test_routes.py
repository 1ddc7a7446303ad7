"""Which route a request matched: templates, never addresses, mounts included."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

from afterword._starlette.http_route import route_template
from tests.support.asgi import ask, http_scope
from tests.support.in_process import InProcessStage, scheduling


def responding(stage: InProcessStage):
    """Make an endpoint for Starlette whose response carries a task."""

    async def endpoint(request) -> PlainTextResponse:
        return PlainTextResponse("yes", background=BackgroundTask(stage.works("mail")))

    return endpoint


def route_of(stage: InProcessStage, app, path: str) -> str | None:
    """Return the route of the one run that a request to this path leaves."""
    assert ask(stage.instrument(app), path).status == 200
    [run] = stage.accounts.recorder.ended_runs
    return run.request.route


def test_a_template_with_parameters(stage: InProcessStage):
    """A path parameter is told by its name, not by its value."""
    app = stage.fastapi()
    app.get("/items/{item}")(scheduling(stage.works("mail")))
    assert route_of(stage, app, "/items/7") == "/items/{item}"


def test_a_router_that_is_included(stage: InProcessStage):
    """The prefixes of included routers belong to the template."""
    inner, outer, app = APIRouter(prefix="/inner"), APIRouter(prefix="/{outer}"), stage.fastapi()
    inner.get("/{item}")(scheduling(stage.works("mail")))
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    assert route_of(stage, app, "/api/x/inner/7") == "/api/{outer}/inner/{item}"


def test_applications_mounted_in_each_other(stage: InProcessStage):
    """The templates of the mounts come first, outermost first, with their parameters."""
    inner, middle, app = stage.fastapi(), stage.fastapi(), stage.fastapi()
    inner.get("/items/{item}")(scheduling(stage.works("mail")))
    middle.mount("/b", inner)
    app.mount("/{tenant}/a", middle)
    assert route_of(stage, app, "/shop/a/b/items/7") == "/{tenant}/a/b/items/{item}"


def test_plain_starlette(stage: InProcessStage):
    """A Starlette route is told by its template, in a mount and in a nested router as well."""
    routes = [Mount("/v1", routes=[Mount("/in", Router([Route("/items/{item}", responding(stage))]))])]
    assert route_of(stage, Starlette(routes=routes), "/v1/in/items/7") == "/v1/in/items/{item}"


def test_fastapi_mounted_in_starlette(stage: InProcessStage):
    """A FastAPI application inside a Starlette one is told with its mount."""
    inner = stage.fastapi()
    inner.get("/items/{item}")(scheduling(stage.works("mail")))
    assert route_of(stage, Starlette(routes=[Mount("/api", inner)]), "/api/items/7") == "/api/items/{item}"


def test_a_host_route(stage: InProcessStage):
    """A route behind a `Host` is found, too."""
    router = Router([Route("/items/{item}", responding(stage))])
    assert route_of(stage, Starlette(routes=[Host("test", router)]), "/items/7") == "/items/{item}"


@pytest.mark.parametrize("path", ["/missing", "/mounted/missing"])
def test_no_route_no_address(stage: InProcessStage, path):
    """Where nothing matched, a made-up address is on no label."""
    app = stage.fastapi()
    app.mount("/mounted", stage.fastapi())
    ask(stage.instrument(app), path)
    labels = [labels for _, labels, _ in stage.accounts.prometheus.samples()]
    assert not [value for each in labels for value in each.values() if "missing" in value]


def test_a_root_path_is_not_part_of_the_route(stage: InProcessStage):
    """Where a proxy serves the application is not the application's route."""
    app = stage.fastapi()
    app.get("/items/{item}")(scheduling(stage.works("mail")))
    stage.instrument(app)

    async def proxied(scope, receive, send) -> None:
        address = {"root_path": "/behind", "path": f"/behind{scope['path']}"}
        await app(scope | address, receive, send)

    assert ask(proxied, "/items/7").status == 200
    assert ask(proxied, "/metrics").status == 200
    [run] = stage.accounts.recorder.ended_runs
    assert run.request.route == "/items/{item}"


def test_a_mount_behind_a_root_path(stage: InProcessStage):
    """Mounts are told where a proxy serves the application at an address of its own, too."""
    inner, app = stage.fastapi(), stage.fastapi()
    inner.get("/items/{item}")(scheduling(stage.works("mail")))
    app.mount("/shop", inner)
    stage.instrument(app)

    async def proxied(scope, receive, send) -> None:
        await app(scope | {"root_path": "/behind", "path": f"/behind{scope['path']}"}, receive, send)

    assert ask(proxied, "/shop/items/7").status == 200
    [run] = stage.accounts.recorder.ended_runs
    assert run.request.route == "/shop/items/{item}"


def test_a_mount_for_a_server_without_root_paths(stage: InProcessStage):
    """A server need not say where it serves an application."""
    inner, app = stage.fastapi(), stage.fastapi()
    inner.get("/items/{item}")(scheduling(stage.works("mail")))
    inner.mount("/{tenant}", stage.fastapi())
    app.mount("/{tenant}", inner)
    stage.instrument(app)

    async def served(scope, receive, send) -> None:
        del scope["root_path"]
        await app(scope, receive, send)

    assert ask(served, "/shop/items/7").status == 200
    [run] = stage.accounts.recorder.ended_runs
    assert run.request.route == "/{tenant}/items/{item}"


def endpoint_scope(app: Starlette, endpoint, path: str = "/") -> dict:
    """Make a scope as older versions of Starlette leave it: with the endpoint, without the route."""
    return http_scope(path) | {"endpoint": endpoint, "router": app.router}


def test_a_route_found_by_its_endpoint():
    """Where the framework does not name the route, it is found by its endpoint, through mounts."""

    async def endpoint(request) -> None: ...

    async def other(request) -> None: ...

    nested = Mount("/in", routes=[Route("/items/{item}", endpoint)])
    app = Starlette(routes=[Route("/x", other), Mount("/files", PlainTextResponse("")), nested])
    assert route_template(endpoint_scope(app, endpoint), app, "") == "/items/{item}"
    assert route_template(endpoint_scope(app, print), app, "") is None


def test_mounts_that_cannot_be_followed():
    """If the mounts are not those of the application, what is known of the route remains."""
    app = FastAPI()
    scope = endpoint_scope(app, print, "/else/where") | {"root_path": "/else"}
    assert route_template(scope, app, "") is None
