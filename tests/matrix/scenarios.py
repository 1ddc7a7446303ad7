"""The fixed set of scenarios: what is asked of the application, and the account that must come of it."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.story import (
    Ended,
    Expectation,
    abandoned,
    dropped,
    failed,
    request_error,
    skipped,
    succeeded,
)

HOLD = "/hold"
"""Not among the scenarios: a task that runs until it is released, and one behind it."""


class Scenario(NamedTuple):
    """One request and what is expected of it."""

    path: str
    what: str
    expected: tuple[Expectation, ...]
    starlette: bool = True
    """Whether it can be had without FastAPI."""


def _ok(*names: str) -> tuple[Ended, ...]:
    return tuple(map(succeeded, names))


SCENARIOS = (
    Scenario("/async", "an async task", _ok("send_mail")),
    Scenario("/sync", "a sync task", _ok("write_report")),
    Scenario("/many", "async, sync and with arguments, in order", _ok("send_mail", "write_report", "count_visit")),
    Scenario("/kinds", "decorated, partial, bound method", _ok("clean_up", "send_mail", "close")),
    Scenario("/object", "a callable object with an async `__call__`", _ok("Archive")),
    Scenario("/own", "a response's own background", _ok("write_report")),
    Scenario("/stream", "behind a stream", _ok("send_mail")),
    Scenario("/shared", "one module-level task on every response", _ok("send_mail")),
    Scenario("/sub/mail", "in a mounted application", _ok("send_mail")),
    Scenario(
        "/fails",
        "the middle one of three fails",
        (succeeded("write_report"), failed("charge_card"), skipped("send_mail")),
    ),
    Scenario(
        "/fails-in-thread",
        "the first of two fails in its thread",
        (failed("convert_file", "OSError"), skipped("send_mail")),
    ),
    Scenario("/own-fails", "a response's own background fails", (failed("charge_card"),)),
    Scenario(
        "/teapot",
        "dropped by an `HTTPException`",
        (dropped("send_mail"), request_error(418, "starlette.exceptions.HTTPException", "/teapot")),
    ),
    Scenario(
        "/invalid",
        "dropped by a 422",
        (dropped("send_mail"), request_error(422, "fastapi.exceptions.RequestValidationError", "/invalid")),
        starlette=False,
    ),
    Scenario(
        "/broken",
        "dropped by a 500",
        (dropped("send_mail"), dropped("write_report"), request_error(500, "KeyError", "/broken")),
    ),
    Scenario(
        "/handled",
        "dropped, and the error's own handler schedules another",
        (dropped("send_mail"), succeeded("write_report"), request_error(409, "FileExistsError", "/handled")),
    ),
    Scenario(
        "/replaced",
        "replaced by the response's own background",
        (succeeded("write_report"), abandoned("send_mail", "response_replaced")),
        starlette=False,
    ),
    Scenario("/forgotten", "never attached", (abandoned("send_mail"),)),
)

HELD: tuple[Expectation, ...] = _ok("hold", "write_report")


def paths(kind: str) -> list[str]:
    """Return what is asked of an application of a kind, `fastapi` or `starlette`."""
    return [scenario.path for scenario in SCENARIOS if scenario.starlette or kind == "fastapi"]


def expected_of(path: str) -> tuple[Expectation, ...]:
    """Return what must come of a request."""
    if path == HOLD:
        return HELD
    [expected] = [scenario.expected for scenario in SCENARIOS if scenario.path == path]
    return expected
