"""`AFTERWORD_DISABLED`: off for everybody, with or without code. Each time in a fresh interpreter."""

import pytest

from tests.support.interpreter import run_fresh

APP = """
    import asyncio, logging, sys
    from fastapi import BackgroundTasks, FastAPI
    from starlette.background import BackgroundTask
    from tests.support.asgi import ask

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
    before = vars(BackgroundTask).copy()
    app, other = FastAPI(), FastAPI()

    async def mail() -> None: ...

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)
"""
BY_CODE = """
    import afterword
    afterword.instrument(app, on_request_error=[print])
    afterword.instrument(other)
"""
WITHOUT_CODE = """
    from afterword.instrumentor import BackgroundTaskInstrumentor
    BackgroundTaskInstrumentor().instrument()
    BackgroundTaskInstrumentor.instrument_app(other)
"""
VISIT = """
    ask(app)
    print("metrics", ask(app, "/metrics").status)
    print("patched", vars(BackgroundTask) != before)
"""
SAID = "INFO afterword afterword.disabled detail="


@pytest.mark.parametrize("way", [BY_CODE, WITHOUT_CODE], ids=["by code", "without code"])
@pytest.mark.parametrize("value", ["true", "1", " ON "])
def test_switched_off(way: str, value: str):
    """`AFTERWORD_DISABLED` leaves everything as it was, and says so once at info."""
    printed, _ = run_fresh(APP + way + VISIT, AFTERWORD_DISABLED=value)
    [said, *rest] = [line for line in printed.splitlines() if not line.startswith("INFO httpx")]
    assert said.startswith(SAID)
    assert rest == ["metrics 404", "patched False"]


@pytest.mark.parametrize("way", [BY_CODE, WITHOUT_CODE], ids=["by code", "without code"])
@pytest.mark.parametrize("environment", [{}, {"AFTERWORD_DISABLED": ""}, {"AFTERWORD_DISABLED": "false"}])
def test_not_switched_off(way: str, environment: dict[str, str]):
    """Nothing, an empty value or `false` switches nothing off."""
    printed, _ = run_fresh(APP + way + VISIT, **environment)
    assert printed.splitlines()[-2:] == ["metrics 200", "patched True"]
    assert SAID not in printed


def test_a_value_that_cannot_be_read():
    """A slip in the variable does not stop the application: it is warned of, and nothing is switched off."""
    printed, _ = run_fresh(APP + BY_CODE + VISIT, AFTERWORD_DISABLED="ture")
    assert "WARNING afterword afterword: AFTERWORD_DISABLED: true or false is needed, not 'ture'" in printed
    assert "metrics 200" in printed


def test_other_variables_do_not_matter_then():
    """Where everything is off, a slip in another variable stops nothing."""
    printed, _ = run_fresh(APP + WITHOUT_CODE + VISIT, AFTERWORD_DISABLED="true", AFTERWORD_TRACES="perhaps")
    assert "metrics 404" in printed


def test_arguments_are_checked_all_the_same():
    """A mistake in the code is found on the machine where everything is off, too."""
    code = """
    try:
        afterword.instrument(app, registry=7)
    except TypeError as error:
        print(error)
    afterword.uninstrument(app)
    print(afterword.running(), afterword.current())
    """
    printed, _ = run_fresh(APP + BY_CODE + code, AFTERWORD_DISABLED="true")
    complaint, rest = printed.splitlines()[-2:]
    assert complaint.startswith("registry: ")
    assert rest == "[] None"


def test_the_account_of_a_test_is_none_of_its_business():
    """A test that asks for an account gets one: no signal is switched on by that."""
    code = """
    import afterword.testing
    with afterword.testing.account() as account:
        ask(app)
    print(account["mail"].succeeded)
    """
    printed, _ = run_fresh(APP + BY_CODE + code, AFTERWORD_DISABLED="true")
    assert printed.splitlines()[-1] == "1"
