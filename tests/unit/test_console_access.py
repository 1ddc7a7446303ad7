"""Who is let into the console, and what is said to all others."""

import re

import pytest
from fastapi import BackgroundTasks, Cookie, Depends, Header, HTTPException
from fastapi.responses import JSONResponse

from tests.support.asgi import ask, with_header
from tests.support.console import KNOWN, PATH, TOKEN, VIEWS, api, wrong
from tests.support.in_process import InProcessStage, plain_app

EVERYTHING = (
    "",
    "/",
    "/api/summary",
    "/api/events",
    "/api/session",
    "/api/runs/0123456789",
    "/static/main.js",
    "/x",
)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say the token."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)


def cookie_of(app, **scope) -> tuple[str, str]:
    """Return the cookie that the console gives to who knows the token, and its attributes."""

    async def at_scope(here, receive, send) -> None:
        await app(here | scope, receive, send)

    answer = ask(at_scope, f"{PATH}/api/session", headers=KNOWN)
    assert (answer.status, answer.body) == (204, b"")
    value, _, attributes = answer.headers["set-cookie"].partition("; ")
    return value, attributes


@pytest.mark.parametrize("view", [*VIEWS, "events", "session", "runs/0123456789abcdef", "nothing"])
def test_without_a_token_nothing_is_told(stage: InProcessStage, view):
    """Who has no token gets a 401 with a word of help, whatever is asked for, and no cookie."""
    answer = api(stage.app(console=PATH), view, headers=())
    assert answer.status == 401
    assert "Bearer TOKEN" in wrong(answer)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "given",
    [
        *(
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Basic {TOKEN}",
            TOKEN,
        ),
        *(f"Bearer {TOKEN} {TOKEN}", "Bearer é", "Bearer \x00\xff", "Bearer " + "x" * 60_000, "Bearer None"),
    ],
)
def test_a_wrong_token_is_none(stage: InProcessStage, given):
    """A token that is another one, a part, too long, or of other letters is refused like none."""
    answer = api(stage.app(console=PATH), "summary", headers=[(b"authorization", given.encode("latin-1"))])
    assert answer.status == 401
    assert TOKEN not in answer.text


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"access_token={TOKEN}", f"since=60&token={TOKEN}"])
def test_a_token_in_the_address_is_none(stage: InProcessStage, query):
    """An address ends in logs and histories, so a token in it lets nobody in."""
    app = stage.app(console=PATH)
    assert api(app, f"summary?{query}", headers=()).status == 401
    assert ask(app, f"{PATH}/?{query}").status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_lets_in(stage: InProcessStage, scheme):
    """Who sends the token is told, and spaces around it do not matter."""
    app = stage.app(console=PATH)
    assert api(app, "summary", headers=with_header("authorization", f"{scheme}  {TOKEN} ")).status == 200
    assert ask(app, f"{PATH}/", headers=KNOWN).status == 200


def test_the_cookie_lets_in(stage: InProcessStage):
    """The token is exchanged for a cookie that lets in, also among others and beside a wrong one of its name."""
    app = stage.app(console=PATH)
    cookie, attributes = cookie_of(app)
    assert attributes == f"HttpOnly; SameSite=Strict; Path={PATH}"
    name = cookie.partition("=")[0]
    for sent in (cookie, f"theme=dark; {cookie}", f"{name}=wrong; {cookie};"):
        assert api(app, "summary", headers=with_header("cookie", sent)).status == 200


def test_the_cookie_is_not_the_token(stage: InProcessStage):
    """Neither is the token in the cookie, nor does the cookie serve as the token, nor the token as the cookie."""
    app = stage.app(console=PATH)
    name, _, value = cookie_of(app)[0].partition("=")
    assert TOKEN not in value
    assert re.fullmatch(r"[0-9a-f]{64}", value)
    assert api(app, "summary", headers=with_header("authorization", f"Bearer {value}")).status == 401
    assert api(app, "summary", headers=with_header("cookie", f"{name}={TOKEN}")).status == 401


@pytest.mark.parametrize(
    "change", [lambda cookie: cookie[:-1], lambda cookie: cookie + "0", str.upper, lambda _: "="]
)
def test_a_forged_cookie_is_none(stage: InProcessStage, change):
    """A cookie that is not exactly ours lets nobody in."""
    app = stage.app(console=PATH)
    assert api(app, "summary", headers=with_header("cookie", change(cookie_of(app)[0]))).status == 401


def test_another_token_makes_another_cookie(stage: InProcessStage, monkeypatch):
    """With a new token, the cookies of the old one are worth nothing."""
    cookie, _ = cookie_of(stage.app(console=PATH))
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", "another-token-of-the-tests")
    assert api(stage.app(console=PATH), "summary", headers=with_header("cookie", cookie)).status == 401


def test_consoles_of_one_host_keep_their_cookies(stage: InProcessStage):
    """A browser keeps ports not apart, so the cookie's name does."""
    app = stage.app(console=PATH)
    names = {cookie_of(app, server=("test", port))[0].partition("=")[0] for port in (8000, 8001, None)}
    assert names == {"afterword_console_8000", "afterword_console_8001", "afterword_console"}


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ({"scheme": "https"}, f"HttpOnly; SameSite=Strict; Path={PATH}; Secure"),
        ({"root_path": "/shop"}, f"HttpOnly; SameSite=Strict; Path=/shop{PATH}"),
        ({"root_path": "/shop/"}, f"HttpOnly; SameSite=Strict; Path=/shop{PATH}"),
        (
            {"root_path": "/a; Domain=evil\r\nX: y"},
            f"HttpOnly; SameSite=Strict; Path=/a%3B%20Domain%3Devil%0D%0AX%3A%20y{PATH}",
        ),
    ],
)
def test_the_cookie_is_for_the_console_alone(stage: InProcessStage, scope, attributes):
    """It is for the path that a browser sees, over https only if that is what it came by; nothing can be added."""
    assert cookie_of(stage.app(console=PATH), **scope)[1] == attributes


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN", "same-origin, cross-site"])
@pytest.mark.parametrize("view", ["summary", "session", "events"])
def test_a_page_of_another_origin_may_not_ask(stage: InProcessStage, site, view):
    """What a browser says comes from elsewhere is refused, token or not."""
    headers = [*KNOWN, *with_header("sec-fetch-site", site)]
    answer = api(stage.app(console=PATH), view, headers=headers)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_page_may_ask(stage: InProcessStage, site):
    """The page itself, and who types the address, may ask."""
    headers = [*KNOWN, *with_header("sec-fetch-site", site)]
    assert api(stage.app(console=PATH), "summary", headers=headers).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "NONSENSE"])
@pytest.mark.parametrize("below", EVERYTHING)
def test_nothing_but_get_exists(stage: InProcessStage, method, below):
    """Every other method is refused, with the token, too: nothing can be changed here."""
    answer = ask(stage.app(console=PATH), PATH + below, method, headers=KNOWN)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("below", EVERYTHING)
def test_the_head_alone(stage: InProcessStage, below):
    """HEAD is answered as GET is, without a body, and a stream ends at once."""
    app = stage.app(console=PATH)
    head = ask(app, PATH + below, "HEAD", headers=KNOWN)
    assert head.body == b""
    if below != "/api/events":
        assert head.status == ask(app, PATH + below, headers=KNOWN).status


@pytest.mark.parametrize("headers", [(), KNOWN])
@pytest.mark.parametrize("below", [each for each in EVERYTHING if each != "/api/events"])
def test_every_answer_is_strict(stage: InProcessStage, below, headers):
    """No answer may be framed, sniffed, kept, or told to others, and none may load or run anything of others'."""
    told = ask(stage.app(console=PATH), PATH + below, headers=headers).headers
    assert told["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert told["x-content-type-options"] == "nosniff"
    assert told["referrer-policy"] == "no-referrer"
    assert told["cross-origin-resource-policy"] == "same-origin"
    assert told["cache-control"] == ("no-cache" if below.startswith("/static/") else "no-store")


@pytest.mark.parametrize(
    "headers",
    [
        with_header("host", "evil.example"),
        with_header("x-forwarded-host", "evil.example"),
        with_header("x-forwarded-prefix", "//evil.example"),
        with_header("forwarded", "host=evil.example"),
        with_header("x-original-url", "//evil.example/"),
    ],
)
@pytest.mark.parametrize("below", ["", "/", "/api/session"])
def test_no_header_leads_elsewhere(stage: InProcessStage, headers, below):
    """A redirect is relative, and nothing of what a client says is in any answer."""
    answer = ask(stage.app(console=PATH), PATH + below, headers=[*headers, *KNOWN])
    assert "evil" not in str(answer.headers) + answer.text
    assert answer.headers.get("location") in ((None,) if below else ("afterword/",))


@pytest.mark.parametrize(
    "path", ["//evil.example", "/%2F%2Fevil.example", "/..//evil.example", "/\\evil.example", "//"]
)
def test_no_path_leads_elsewhere(stage: InProcessStage, path):
    """Whatever follows the console's path, there is no redirect but the one to its page."""
    answer = ask(stage.app(console=PATH), PATH + path, headers=KNOWN)
    assert answer.status == 404
    assert "location" not in answer.headers


def test_what_only_begins_alike_is_the_applications(stage: InProcessStage):
    """An address that continues the console's name is not the console's."""
    app = stage.app(console=PATH)
    app.get("/afterwords")(lambda: "mine")
    assert ask(app, "/afterwords").text == '"mine"'


# --- dependencies of the user's ---------------------------------------------------------------------------------


class Teapot(Exception):
    """What a dependency of the user's raises."""


def admin(x_user: str = Header("")) -> None:
    """Let one user in."""
    if x_user == "teapot":
        raise Teapot
    if x_user != "admin":
        raise HTTPException(403, "admins only")


def test_dependencies_replace_the_token(stage: InProcessStage):
    """Whom the dependencies let in sees everything, and the token is worth nothing."""
    app = stage.app(console=PATH, console_dependencies=[Depends(admin)])
    as_admin = with_header("x-user", "admin")
    assert api(app, "summary", headers=as_admin).status == 200
    assert ask(app, f"{PATH}/", headers=as_admin).status == 200
    assert api(app, "session", headers=as_admin).status == 204
    for path in (f"{PATH}/", f"{PATH}/api/summary", f"{PATH}/api/events", f"{PATH}/api/session"):
        assert ask(app, path, headers=KNOWN).status == 403
    assert api(app, "summary", headers=KNOWN).text == '{"detail":"admins only"}'


def test_dependencies_are_asked_after_where_one_comes_from(stage: InProcessStage):
    """A page of another origin is refused before a dependency is asked, which may know the visitor by a cookie."""
    app = stage.app(console=PATH, console_dependencies=[Depends(admin)])
    headers = [*with_header("x-user", "admin"), *with_header("sec-fetch-site", "cross-site")]
    assert api(app, "summary", headers=headers).status == 403


def test_an_error_of_a_dependency_is_the_applications(stage: InProcessStage):
    """What a dependency raises goes to the application's own handlers, as anywhere, and is no fault of ours."""
    app = stage.app(console=PATH, console_dependencies=[Depends(admin)])
    headers = with_header("x-user", "teapot")
    assert isinstance(api(app, "summary", headers=headers).error, Teapot)
    app.add_exception_handler(Teapot, lambda request, exc: JSONResponse("short and stout", 418))
    app.middleware_stack = None
    assert api(app, "summary", headers=headers).status == 418
    assert stage.observer_errors("afterword") is None


def test_dependencies_that_open_something_have_closed_it_before_the_answer(stage: InProcessStage):
    """A stream may last for hours: what a dependency holds is let go of before it begins."""
    seen: list[str] = []

    def database():
        seen.append("opened")
        yield
        seen.append("closed")

    app = stage.app(console=PATH, console_dependencies=[Depends(database)])
    answer = api(app, "summary", headers=())
    assert answer.status == 200
    assert seen == ["opened", "closed"]


def test_all_dependencies_have_to_let_in(stage: InProcessStage):
    """One that refuses is enough, and a parameter that is missing is refused, too."""

    def needs_cookie(session: str = Cookie()) -> None:
        assert session

    app = stage.app(console=PATH, console_dependencies=[Depends(admin), Depends(needs_cookie)])
    as_admin = with_header("x-user", "admin")
    assert api(app, "summary", headers=as_admin).status == 422
    assert api(app, "summary", headers=[*as_admin, *with_header("cookie", "session=1")]).status == 200


def test_dependencies_can_be_overridden(stage: InProcessStage):
    """`dependency_overrides` holds for the console's dependencies as for all others."""
    app = stage.app(console=PATH, console_dependencies=[Depends(admin)])
    app.dependency_overrides[admin] = lambda: None
    assert api(app, "summary", headers=()).status == 200


def test_the_tasks_of_a_dependency_are_in_no_account(stage: InProcessStage):
    """Nothing that comes of looking is shown to who looks."""

    def counting(background: BackgroundTasks) -> None:
        background.add_task(stage.works("count"))

    app = stage.app(console=PATH, console_dependencies=[Depends(counting)])
    assert api(app, "summary", headers=()).status == 200
    assert stage.outcomes == []


def test_starlette_has_no_dependencies(stage: InProcessStage):
    """Who passes dependencies for a Starlette application is told so at once, and nothing is opened."""

    async def endpoint(request):
        return JSONResponse("yes")

    app = plain_app("/", endpoint)
    with pytest.raises(TypeError, match=r"^console_dependencies: "):
        stage.instrument(app, console=PATH, console_dependencies=[Depends(admin)])
    assert ask(app, f"{PATH}/").status == 404
