"""An attribute of a foreign class that is read through a function of ours."""

import pytest
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import PlainTextResponse

import afterword
from afterword._starlette.patching import AttributePatch
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage


class Foreign:
    """A class of somebody else's, whose instances have an attribute."""

    fixed = 1

    def __init__(self, app: object = None) -> None:
        self.value = "stored"


def test_what_is_stored_stays_as_it_is():
    """Instances from before, during and after the patch keep what they store; only reading goes through us."""
    before = Foreign()
    patch = AttributePatch(Foreign, "value", lambda value: f"read {value}")
    patch.install()
    during = Foreign()
    during.value = "changed"
    assert (before.value, during.value) == ("read stored", "read changed")
    patch.remove()
    assert (before.value, during.value, Foreign().value) == ("stored", "changed", "stored")
    assert "value" not in Foreign.__dict__


def test_an_attribute_that_an_instance_lacks():
    """An attribute that is missing is missing as without us."""
    patch = AttributePatch(Foreign, "value", lambda value: value)
    patch.install()
    try:
        with pytest.raises(AttributeError, match="value"):
            _ = object.__new__(Foreign).value
    finally:
        patch.remove()


def test_what_another_tool_has_put_in_its_place_stays():
    """If somebody has replaced our property, we leave theirs."""
    patch = AttributePatch(Foreign, "value", lambda value: value)
    patch.install()
    theirs = property(lambda self: "theirs")
    Foreign.value = theirs  # type: ignore[assignment, method-assign]
    patch.remove()
    assert Foreign.__dict__["value"] is theirs
    del Foreign.value


@pytest.mark.parametrize("name", ["missing", "fixed"])
def test_only_an_instances_own_attribute_can_be_read_through_us(name):
    """An attribute that instances do not store themselves is incompatible."""
    assert AttributePatch(Foreign, "value", str).incompatibility() is None
    assert name in str(AttributePatch(Foreign, name, str).incompatibility())


def test_a_server_error_handler_is_the_users_own_outside_of_requests(stage: InProcessStage):
    """Whoever looks at the middleware finds the user's handler; in a request, its response also reports."""

    def handler(*_: object) -> PlainTextResponse:
        return PlainTextResponse("no", 500)

    app = stage.app_with(stage.works("mail"), traces=False)
    app.add_exception_handler(Exception, handler)

    @app.get("/fails")
    async def fails() -> None:
        raise KeyError("boom")

    assert ask(app, "/fails").text == "no"
    assert isinstance(app.middleware_stack, ServerErrorMiddleware)
    assert app.middleware_stack.handler is handler
    assert len(stage.lines("request.failed")) == 1
    afterword.uninstrument(app)
    assert ask(app, "/fails").text == "no"
    assert len(stage.lines("request.failed")) == 1
