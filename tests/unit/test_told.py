"""What is told of an exception in logs, spans and log records: safe to write, and nothing that a client sent."""

import io
import json
import traceback
from collections.abc import Iterator

import pytest
import structlog
from fastapi import BackgroundTasks
from fastapi.exceptions import RequestValidationError
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from pydantic import BaseModel, ValidationError
from starlette.background import BackgroundTask

from afterword._common import exceptions as told
from afterword.logs import OpenTelemetryLogs
from afterword.testing.recorder import Recorder
from tests.otlp.sdk_logs import KeptLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage

SECRET = "hunter2-secret"
SPOKEN = 20_000
"""More characters than a line of ours has, traceback and all."""


class Order(BaseModel):
    """What is validated."""

    number: int


class Mine(RequestValidationError):
    """An application's own, by another name."""


class Refused(Exception):
    """An error that says what it was given."""


# --- the input of a validation ----------------------------------------------------------------------------------


def invalid(**fields: object) -> None:
    """Raise a validation error that quotes the secret."""
    Order.model_validate({"number": SECRET})


def as_it_is() -> None:
    """Let the validation error out."""
    invalid()


def as_cause() -> None:
    """Raise from a validation error."""
    try:
        invalid()
    except ValidationError as exc:
        raise Refused("the order is refused") from exc


def as_context() -> None:
    """Fail while a validation error is handled."""
    try:
        invalid()
    except ValidationError:
        raise Refused("the order is refused")  # noqa: B904


def deep_down() -> None:
    """Raise from what was raised from a validation error."""
    try:
        as_context()
    except Refused as exc:
        try:
            raise KeyError("number") from exc
        except KeyError as key:
            raise Refused("the order is refused") from key


def in_a_group() -> None:
    """Raise a group with a validation error among its members, one of them a group."""
    try:
        as_cause()
    except Refused as exc:
        raise ExceptionGroup("two", [ValueError("one"), ExceptionGroup("inner", [exc])])  # noqa: B904


def behind_a_group() -> None:
    """Raise from a group with a validation error in it."""
    try:
        in_a_group()
    except ExceptionGroup as exc:
        raise Refused("the order is refused") from exc


def of_fastapi() -> None:
    """Raise FastAPI's own error, by a class of the application's."""
    raise Mine([{"loc": ("body", "number"), "type": "int_parsing", "msg": "no", "input": SECRET}])


def of_another_library() -> None:
    """Raise what looks like msgspec's error, which quotes names of the input."""
    kind = type("ValidationError", (Exception,), {"__module__": "msgspec"})
    raise kind(f"Object contains unknown field `{SECRET}`")


LEAKS = [
    *(as_it_is, as_cause, as_context, deep_down, in_a_group, behind_a_group, of_fastapi),
    of_another_library,
]


@pytest.fixture
def kept() -> Iterator[KeptLogs]:
    """Provide OpenTelemetry's records."""
    kept = KeptLogs()
    yield kept
    kept.provider.shutdown()


RENDERERS = {
    "json": (structlog.processors.format_exc_info, structlog.processors.JSONRenderer()),
    "dictionaries": (
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ),
    "console": (structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),),
}


def told_of(stage: InProcessStage, kept: KeptLogs, leak, renderer: str = "json") -> str:
    """Return all that is told where a task and a request fail by the same error."""
    output = stage.render(*RENDERERS[renderer])

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(leak)

    def fails() -> None:
        leak()

    recorder = Recorder()
    app = stage.fastapi()
    app.get("/task")(endpoint)
    app.get("/request")(fails)
    stage.instrument(app, observers=[OpenTelemetryLogs(kept.provider), recorder])
    for path in ("/task", "/request"):
        answer = ask(app, path)
        if leak is not of_fastapi:  # which is answered
            assert repr(shape(answer.error)) == repr(shape(raised_by(leak)))
    # a request's span is another's: contrib, which traces an old FastAPI, puts the exception on it as it is
    spans = [span.to_json() for span in stage.accounts.spans.of_runs()]
    assert len(stage.lines("background_task.failed")) == 1
    assert len(stage.lines("request.failed")) == 1
    return "\n".join([output.getvalue(), *spans, repr(kept.records), repr(vars(recorder))])


def raised_by(leak) -> Exception:
    """Return what a function raises."""
    try:
        leak()
    except Exception as exc:
        return exc
    raise AssertionError


def shape(exc: BaseException | None) -> object:
    """Return an exception and all that hangs on it, without its frames."""
    if exc is None:
        return None
    members = [shape(member) for member in getattr(exc, "exceptions", ())]
    return type(exc), str(exc), exc.args, shape(exc.__cause__), shape(exc.__context__), members


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_the_input_is_nowhere(stage: InProcessStage, kept, leak, renderer):
    """Wherever a validation error hangs on the error of a task or a request, its input is in no signal."""
    everything = told_of(stage, kept, leak, renderer)
    assert SECRET not in everything


@pytest.mark.parametrize("leak", LEAKS[:6], ids=lambda leak: leak.__name__)
def test_what_was_wrong_is_told(stage: InProcessStage, kept, leak):
    """The rest of it is told: the classes and the texts of the others, and the place of what was wrong."""
    everything = told_of(stage, kept, leak)
    assert everything.count("number: int_parsing") >= 4
    assert "pydantic_core._pydantic_core.ValidationError" in everything
    assert leak is as_it_is or "the order is refused" in everything


def test_an_adopted_span_of_contrib_does_not_quote(stage: InProcessStage):
    """Where contrib's patch is outside ours, its span says what ours would: neither input nor frames of others."""
    app = stage.fastapi()

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(as_it_is)

    app.get("/")(endpoint)
    stage.instrument(app)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=stage.settings["tracer_provider"])
    try:
        assert isinstance(ask(app).error, ValidationError)
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    span = stage.accounts.spans.of("as_it_is")
    [event] = span.events
    assert event.attributes["exception.message"] == "number: int_parsing"
    assert span.status.description == "it raised; see the traceback"
    assert SECRET not in span.to_json()


# --- text that cannot be written, or has no end -----------------------------------------------------------------


def with_notes() -> Exception:
    """Return an error with notes of all kinds."""
    exc = ValueError("boom")
    for note in ("\ud800", "x" * 1_000_000, *(["again"] * 100)):
        exc.add_note(note)
    return exc


def without_end() -> Exception:
    """Return an error with a thousand causes."""
    first = latest = ValueError("boom")
    for number in range(1000):
        latest.__cause__ = ValueError(f"cause {number}")
        latest = latest.__cause__
    return first


def in_a_circle() -> Exception:
    """Return an error that is its own cause's cause."""
    exc, cause = ValueError("boom"), ValueError("cause")
    exc.__cause__, cause.__cause__ = cause, exc
    return exc


def from_deep_down() -> Exception:
    """Return an error whose cause came out of a recursion that repeats in no simple way."""

    def down(depth: int) -> None:
        if depth:
            up(depth - 1)
        raise ValueError("cause")

    def up(depth: int) -> None:
        down(depth)

    exc = ValueError("boom")
    try:
        down(200)
    except ValueError as cause:
        exc.__cause__ = cause
    return exc


HARMFUL = {
    "lone surrogate": lambda: ValueError("\ud800"),
    "hidden in the arguments": lambda: KeyError("\ud800"),
    "surrogate in a group": lambda: ExceptionGroup("\udfff", [ValueError("boom")]),
    "surrogate in a cause": lambda: caused_by(ValueError("\ud800")),
    "terminal": lambda: ValueError("\x1b[2J\x1b]0;pwned\x07"),
    "backwards": lambda: ValueError("\u202egpj.exe"),
    "huge": lambda: ValueError("x" * 5_000_000),
    "huge surrogates": lambda: ValueError("\ud800" * 5_000_000),
    "many arguments": lambda: ValueError(*["x" * 1000] * 1000),
    "notes": with_notes,
    "without end": without_end,
    "in a circle": in_a_circle,
    "members without end": lambda: ExceptionGroup("many", [ValueError("x" * 1000)] * 1000),
    "syntax": lambda: SyntaxError("bad", ("\ud800.py", 1, 1, "x" * 1_000_000)),
    "from deep down": from_deep_down,
    "class": lambda: type("C" * 100_000, (ValueError,), {"__module__": "m\ud800"})("boom"),
}


def caused_by(cause: Exception) -> Exception:
    """Return an error with a cause."""
    exc = ValueError("boom")
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("harmful", HARMFUL)
def test_an_error_that_cannot_be_written_is_told(stage: InProcessStage, kept, harmful, renderer):
    """The line of a failure is there, bounded and writable, whatever its exception says."""
    exc = HARMFUL[harmful]()
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw, "utf-8", write_through=True)
    stage.render(*RENDERERS[renderer])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(output))
    app = stage.app_with(stage.fails("mail", exc), observers=[OpenTelemetryLogs(kept.provider)])
    assert ask(app).error is exc
    [record] = kept.records
    [event] = stage.accounts.spans.of("mail").events
    written = raw.getvalue().decode()
    assert written.count("background_task.failed") == 1
    assert "stage.py" in written
    assert not {"\x1b", "\x07", "\u202e"} & set(written)
    for told_text in (written, json.dumps(dict(event.attributes)), json.dumps(record.attributes)):
        assert len(told_text) < 60_000
    "".join([*map(str, event.attributes.values()), *map(str, record.attributes.values())]).encode()
    assert stage.observer_errors("Logs") is None


def test_a_fault_that_cannot_be_written_is_told(stage: InProcessStage, caplog):
    """A fault of an observer is told with the frames, and without the input that it quotes."""

    class Strict(Recorder):
        def scheduled(self, run) -> None:
            as_cause()

    ask(stage.app_with(stage.works("mail"), observers=[Strict()]))
    [record] = [record for record in caplog.records if record.name == "afterword"]
    text = "".join(traceback.format_exception(*record.exc_info))
    assert "the order is refused" in text
    assert "_ledger/runs.py" in text
    assert SECRET not in text


# --- where the traceback begins ---------------------------------------------------------------------------------


def raises() -> None:
    """Fail, two frames deep."""
    raise_it()


def raise_it() -> None:
    """Fail."""
    raise ValueError("boom")


async def raises_on_the_loop() -> None:
    """Fail, two frames deep, on the event loop."""
    raise_it()


def functions(text: str) -> list[str]:
    """Return the functions of a traceback, outermost first."""
    return [line.rpartition(" in ")[2] for line in text.splitlines() if line.startswith("  File")]


@pytest.mark.parametrize("func", [raises, raises_on_the_loop])
@pytest.mark.parametrize("where", ["task", "bare task", "request"])
def test_a_traceback_begins_at_the_users_function(stage: InProcessStage, kept, func, where):
    """In line, span and record a traceback has the user's frames only; the exception keeps all of its own."""
    app = stage.fastapi()
    if where == "task":

        async def endpoint(background: BackgroundTasks) -> None:
            background.add_task(func)

    elif where == "bare task":
        from starlette.responses import Response

        async def endpoint() -> None:
            return Response(background=BackgroundTask(func))

    app.get("/")(func if where == "request" else endpoint)
    recorder = Recorder()
    stage.instrument(app, observers=[OpenTelemetryLogs(kept.provider), recorder])
    answer = ask(app)
    event = "request.failed" if where == "request" else "background_task.failed"
    [line] = stage.lines(event)
    assert line["exc_info"][1] is answer.error  # nothing stands in for what can be told as it is
    expected = [func.__name__, "raise_it"]
    assert functions("".join(traceback.format_exception(*line["exc_info"]))) == expected
    record = kept.records[-1]
    assert functions(record.attributes["exception.stacktrace"]) == expected
    assert functions("".join(traceback.format_exception(answer.error)))[0] == "call"  # the server's own frame
    if where != "request":
        [event] = stage.accounts.spans.of(func.__name__).events
        assert functions(event.attributes["exception.stacktrace"]) == expected
        [errors] = recorder.errors.values()
        assert functions("\n".join(errors)) == expected


def test_a_traceback_without_a_frame_of_the_users_is_whole(stage: InProcessStage):
    """Where a task cannot even be called, there are the frames of who tried."""
    ask(stage.app_with(lambda one: None))
    [line] = stage.lines("background_task.failed")
    assert line["exc_info"][2] is not None
    assert "missing 1 required positional argument" in str(line["exc_info"][1])


def test_a_long_traceback_is_told_at_both_ends(stage: InProcessStage):
    """Of a runaway recursion the first frames and the last are told, and the exception keeps all."""

    def down(depth: int) -> None:
        if depth == 0:
            raise_it()
        down(depth - 1)

    async def mail() -> None:
        down(500)

    exc = ask(stage.app_with(mail)).error
    [line] = stage.lines("background_task.failed")
    names = [frame.name for frame in traceback.extract_tb(line["exc_info"][2])]
    assert len(names) == 40
    assert (names[0], names[-1]) == ("mail", "raise_it")
    assert len(traceback.extract_tb(exc.__traceback__)) > 500
    assert exc is line["exc_info"][1]


def test_nothing_stands_in_for_an_ordinary_error():
    """An exception with a cause and notes that can be told is handed to the log itself."""
    exc = caused_by(ValueError("line one\n\tline two"))
    exc.add_note("a note")
    assert told.exc_info(exc)[1] is exc


def test_what_is_hidden_stays_hidden():
    """A context that the user has switched off by `from None` is not told, and no reason for a double."""

    def without_context() -> None:
        try:
            invalid()
        except ValidationError:
            raise Refused("refused") from None

    exc = raised_by(without_context)
    assert told.exc_info(exc)[1] is exc
    assert SECRET not in told.stacktrace(told.exc_info(exc))
