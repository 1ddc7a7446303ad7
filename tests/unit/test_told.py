"""What is told of an exception in logs, spans and log records: safe to write, and nothing that a client sent."""

import io
import json
import logging
import traceback

import pytest
import structlog
from fastapi import BackgroundTasks
from fastapi.exceptions import RequestValidationError
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from pydantic import BaseModel, ValidationError, field_validator
from starlette.background import BackgroundTask

from afterword._common.errors import exceptions as told
from afterword.logs import OpenTelemetryLogs
from afterword.testing._recorder import Recorder
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs

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


def as_argument() -> None:
    """Raise with the validation error as the only argument."""
    try:
        invalid()
    except ValidationError as exc:
        raise Refused(exc)  # noqa: B904


def among_arguments() -> None:
    """Raise later, with the validation error among the arguments."""
    refused = Refused("the order is refused")
    try:
        invalid()
    except ValidationError as exc:
        refused.args = ("the order is refused", {"because": [exc]})
    raise refused


def in_an_attribute() -> None:
    """Raise later, with the validation error in an attribute that the text is made of."""

    class Wrapping(Exception):
        def __init__(self, inner: Exception) -> None:
            self.inner = inner

        def __str__(self) -> str:
            return f"refused: {self.inner}"

    try:
        invalid()
    except ValidationError as exc:
        wrapping = Wrapping(exc)
    raise wrapping


def in_the_text() -> None:
    """Raise from a validation error with its text."""
    try:
        invalid()
    except ValidationError as exc:
        raise Refused(f"refused: {exc}") from exc


def in_the_text_alone() -> None:
    """Raise with a part of its text, in one line, and hide where it is from."""
    try:
        invalid()
    except ValidationError as exc:
        raise Refused(" ".join(str(exc).split())[:200]) from None


def by_its_list() -> None:
    """Raise with what a validation error lists."""
    try:
        invalid()
    except ValidationError as exc:
        raise Refused(exc.errors()) from exc


def by_a_message() -> None:
    """Raise with the message of a validator of the application's own, which quotes."""

    class Strict(BaseModel):
        number: str

        @field_validator("number")
        @classmethod
        def never(cls, value: str) -> str:
            raise ValueError(f"no such number: {value}")

    try:
        Strict(number=SECRET)
    except ValidationError as exc:
        raise Refused(exc.errors()[0]["ctx"]["error"]) from exc


def in_a_note() -> None:
    """Add the text of a validation error to another as a note."""
    try:
        invalid()
    except ValidationError as exc:
        refused = Refused("the order is refused")
        refused.add_note(str(exc))
        raise refused  # noqa: B904


def in_the_message_of_a_group() -> None:
    """Raise a group whose message is the text of a validation error."""
    try:
        invalid()
    except ValidationError as exc:
        raise ExceptionGroup(str(exc), [KeyError("number")])  # noqa: B904


def from_elsewhere() -> None:
    """Raise with the text of a validation error of another process, as an executor of processes does."""
    raise Refused(f"in the worker:\n{raised_by(invalid)}")


CARRIED = [
    *(as_argument, among_arguments, in_an_attribute, in_the_text, in_the_text_alone, by_its_list, by_a_message),
    *(in_a_note, in_the_message_of_a_group),
]


RENDERERS = {
    "json": (structlog.processors.format_exc_info, structlog.processors.JSONRenderer()),
    "dictionaries": (
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ),
    "console": (structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),),
}


def told_of(stage: InProcessStage, kept_logs: KeptLogs, leak, renderer: str = "json") -> str:
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
    stage.instrument(app, observers=[OpenTelemetryLogs(kept_logs.provider), recorder])
    for path in ("/task", "/request"):
        answer = ask(app, path)
        if leak is not of_fastapi:  # which is answered
            assert repr(shape(answer.error)) == repr(shape(raised_by(leak)))
    # a request's span is another's: contrib, which traces an old FastAPI, puts the exception on it as it is
    spans = [span.to_json() for span in stage.accounts.spans.of_runs()]
    assert len(stage.lines("background_task.failed")) == 1
    assert len(stage.lines("request.failed")) == 1
    return "\n".join([output.getvalue(), *spans, repr(kept_logs.records), repr(vars(recorder))])


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
@pytest.mark.parametrize("leak", [*LEAKS, *CARRIED, from_elsewhere], ids=lambda leak: leak.__name__)
def test_the_input_is_nowhere(stage: InProcessStage, kept_logs, leak, renderer):
    """Wherever a validation error hangs on the error of a task or a request, its input is in no signal."""
    everything = told_of(stage, kept_logs, leak, renderer)
    assert SECRET not in everything


@pytest.mark.parametrize("leak", LEAKS[:6], ids=lambda leak: leak.__name__)
def test_what_was_wrong_is_told(stage: InProcessStage, kept_logs, leak):
    """The rest of it is told: the classes and the texts of the others, and the place of what was wrong."""
    everything = told_of(stage, kept_logs, leak)
    assert everything.count("number: int_parsing") >= 4
    assert "pydantic_core._pydantic_core.ValidationError" in everything
    assert leak is as_it_is or "the order is refused" in everything


@pytest.mark.parametrize("leak", CARRIED, ids=lambda leak: leak.__name__)
def test_who_says_it_again_is_told_by_the_places(leak):
    """An exception that carries a validation error or its words has its own class, and the places for a text."""
    exc = raised_by(leak)
    before = shape(exc)
    stacktrace = told.stacktrace(told.exc_info(exc))
    assert "number: " in stacktrace.replace("number: value_error", "number: int_parsing")
    assert SECRET not in stacktrace
    assert type(exc).__qualname__.rpartition(".")[2] in stacktrace
    assert repr(shape(exc)) == repr(before)


def test_what_you_write_of_an_input_is_yours():
    """A text of the user's own that has none of a validation error's words is told as it is, beside the places."""
    try:
        invalid()
    except ValidationError as exc:
        refused = Refused("the number of the order is wrong")
        refused.__cause__ = exc
    stacktrace = told.stacktrace(told.exc_info(refused))
    assert "Refused: the number of the order is wrong" in stacktrace
    assert "number: int_parsing" in stacktrace


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


FORGED = "2026-11-24 18:32:00,000 INFO afterword: background_task.succeeded task=shop.charge outcome=succeeded"


def noted(note: str) -> Exception:
    """Return an error with a note."""
    exc = ValueError("boom")
    exc.add_note(note)
    return exc


FORGERIES = {
    "text": lambda: ValueError(f"unknown card x\n{FORGED}"),
    "text after an empty line": lambda: ValueError(f"unknown card x\n\n{FORGED}\n{FORGED}"),
    "text from a margin": lambda: ValueError(f"\n{FORGED}"),
    "cause": lambda: caused_by(ValueError(f"unknown card x\n{FORGED}")),
    "note": lambda: noted(FORGED),
    "second line of a note": lambda: noted(f"of card\n{FORGED}"),
    "group": lambda: ExceptionGroup(f"cards\n{FORGED}", [ValueError(f"x\n{FORGED}")]),
    "syntax": lambda: SyntaxError(f"no\n{FORGED}", ("template", 1, 1, "x")),
    "line of syntax": lambda: SyntaxError("no", ("template", 1, 1, f"x\n{FORGED}\n")),
    "file of syntax": lambda: SyntaxError("no", (f"t\n{FORGED}", 1, 1, "x")),
    "class": lambda: type(f"C\n{FORGED}", (ValueError,), {})("boom"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_line_of_an_error_looks_like_one_of_the_log(stage: InProcessStage, caplog, kept_logs, forgery):
    """Nothing that a client gets into an exception stands at the beginning of a line, where a log line would."""
    exc = FORGERIES[forgery]()
    app = stage.app_with(stage.fails("charge", exc), observers=[OpenTelemetryLogs(kept_logs.provider)])
    structlog.reset_defaults()  # plain logging of the standard library
    with caplog.at_level("INFO"):
        assert ask(app).error is exc
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    written = [formatter.format(record) for record in caplog.records if record.name == "afterword"]
    [failure] = [line for line in written if "background_task.failed" in line]
    assert FORGED in failure.replace("\n    ", " ").replace("\\n", "") or forgery in ("line of syntax", "class")
    stacktraces = [record.attributes["exception.stacktrace"] for record in kept_logs.records]
    for told_text in (*written, *stacktraces):
        assert not [line for line in told_text.splitlines() if line.startswith(FORGED[:23])]


def test_an_ordinary_syntax_error_is_told_as_it_is():
    """A syntax error keeps its own form: file, line and the place in it."""
    with pytest.raises(SyntaxError) as caught:
        compile("def mail(:\n    ...\n", "mail.py", "exec")
    assert told.exc_info(caught.value)[1] is caught.value


class Exits(Exception):
    """Ends the process when it is asked for its text."""

    def __str__(self) -> str:
        raise SystemExit("asked")


class InvalidExits(Exits):
    """Looks like a validation error, too."""

    def errors(self) -> list[object]:
        raise SystemExit("asked")


InvalidExits.__name__ = "OwnValidationError"


@pytest.mark.parametrize("kind", [Exits, InvalidExits])
def test_a_text_that_ends_the_process(stage: InProcessStage, kept_logs, kind):
    """An exception that raises SystemExit when it is asked for its text is told without, and the run has ended."""
    exc = kind()
    app = stage.app_with(stage.fails("mail", exc), observers=[OpenTelemetryLogs(kept_logs.provider)])
    assert ask(app).error is exc
    assert stage.outcomes == [("mail", "failed")]
    [line] = stage.lines("background_task.failed")
    assert "its text is not available" in "".join(traceback.format_exception(*line["exc_info"]))
    assert kept_logs.records[-1].attributes["exception.message"] == "its text is not available"


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("harmful", HARMFUL)
def test_an_error_that_cannot_be_written_is_told(stage: InProcessStage, kept_logs, harmful, renderer):
    """The line of a failure is there, bounded and writable, whatever its exception says."""
    exc = HARMFUL[harmful]()
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw, "utf-8", write_through=True)
    stage.render(*RENDERERS[renderer])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(output))
    app = stage.app_with(stage.fails("mail", exc), observers=[OpenTelemetryLogs(kept_logs.provider)])
    assert ask(app).error is exc
    [record] = kept_logs.records
    [event] = stage.accounts.spans.of("mail").events
    written = raw.getvalue().decode()
    assert written.count("background_task.failed") == 1
    assert "stage.py" in written
    assert not {"\x1b", "\x07", "\u202e"} & set(written)
    for told_text in (written, json.dumps(dict(event.attributes)), json.dumps(record.attributes)):
        assert len(told_text) < 60_000
    "".join([*map(str, event.attributes.values()), *map(str, record.attributes.values())]).encode()
    assert stage.observer_errors("Logs") is None


@pytest.mark.faults
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
def test_a_traceback_begins_at_the_users_function(stage: InProcessStage, kept_logs, func, where):
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
    stage.instrument(app, observers=[OpenTelemetryLogs(kept_logs.provider), recorder])
    answer = ask(app)
    event = "request.failed" if where == "request" else "background_task.failed"
    [line] = stage.lines(event)
    assert line["exc_info"][1] is answer.error  # nothing stands in for what can be told as it is
    expected = [func.__name__, "raise_it"]
    assert functions("".join(traceback.format_exception(*line["exc_info"]))) == expected
    record = kept_logs.records[-1]
    assert functions(record.attributes["exception.stacktrace"]) == expected
    assert functions("".join(traceback.format_exception(answer.error)))[0] == "serve"  # the server's own frame
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
    exc.add_note("  a note that stands in")
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
