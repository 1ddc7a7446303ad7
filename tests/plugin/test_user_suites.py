"""The test suites of users, run by a pytest of their own."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.support.interpreter import run_fresh

SHOP = """
from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def send_mail(order: int) -> None:
    if order == 13:
        raise ConnectionRefusedError("no mail server")


async def write_audit_row(order: int) -> None: ...


@app.post("/orders/{order}")
async def place(order: int, tasks: BackgroundTasks) -> str:
    tasks.add_task(send_mail, order)
    tasks.add_task(write_audit_row, order)
    if order == 500:
        raise RuntimeError("the payment provider is down")
    return "thanks"
"""

# TestClient is a subject here: what the newest Starlette says of its httpx is the user's own business; so is what
# pytest says of all that opentelemetry-instrument imports before it, anyio first of all
INI = """
[pytest]
filterwarnings =
    error
    ignore:Using .httpx. with
    ignore:Please use .import python_multipart:PendingDeprecationWarning
    ignore:Unclosed .MemoryObject:ResourceWarning
    ignore:Module already imported so cannot be rewritten
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Provide a place for a user's tests, beside the application that they test."""
    pytester.makepyfile(shop=SHOP)
    pytester.makefile(".ini", pytest=INI)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the user's tests with our plugin; by its module, whatever is known of it by entry points."""
    plugin = ("-p", "no:afterword", "-p", "_afterword_pytest")
    return suite.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", *arguments, timeout=50)


def test_a_suite_that_passes(suite: pytest.Pytester):
    """The fixture works with `TestClient`, with an application under `instrument`, and in async code."""
    suite.makepyfile(
        """
        import asyncio

        import httpx
        import pytest
        from fastapi.testclient import TestClient

        import afterword
        from shop import app, send_mail


        @pytest.fixture
        def client():
            with TestClient(app, raise_server_exceptions=False) as client:
                yield client


        def test_thanks(client, account):
            assert client.post("/orders/1").json() == "thanks"
            account.assert_all_succeeded()
            assert account["send_mail"].succeeded == 1


        def test_dropped(account, client):
            client.post("/orders/500")
            assert account["shop.write_audit_row"].dropped == account[send_mail].dropped == 1
            assert [error.status for error in account.request_errors] == [500]


        def test_instrumented(account):
            afterword.instrument(app, registry=None)

            async def play():
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                    await client.post("/orders/1")
                    account.assert_all_succeeded()

            try:
                asyncio.run(play())
            finally:
                afterword.uninstrument(app)
            assert account.scheduled == 2


        def test_without(client):
            client.post("/orders/500")


        def test_nothing(account):
            assert account.scheduled == 0
        """
    )
    run(suite).assert_outcomes(passed=5)


def test_what_a_developer_reads_when_his_test_fails(suite: pytest.Pytester):
    """The report tells of each task what happened and why, at the line of the test, without any code of ours."""
    suite.makepyfile(
        """
        from fastapi.testclient import TestClient

        from shop import app, send_mail

        client = TestClient(app, raise_server_exceptions=False)


        def test_all(account):
            client.post("/orders/13")
            account.assert_all_succeeded()


        def test_number(account):
            client.post("/orders/500")
            assert account["send_mail"].succeeded == 1


        def test_slip(account):
            client.post("/orders/1")
            assert account["send_email"].failed == 0


        def test_absence(account):
            assert account[send_mail].scheduled == 1
        """
    )
    result = run(suite, "-p", "no:randomly")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            ">       account.assert_all_succeeded()",
            "E       AssertionError: 2 of 2 background tasks did not succeed:",
            "E       ",
            "E       shop.send_mail: failed, in POST /orders/{order}",
            "E           it raised; see the traceback",
            'E             File "*shop.py", line 8, in send_mail',
            'E               raise ConnectionRefusedError("no mail server")',
            "E           ConnectionRefusedError: no mail server",
            "E       shop.write_audit_row: skipped, in POST /orders/{order}",
            "E           shop.send_mail failed before it with ConnectionRefusedError; a batch stops at *",
            "",
            "test_*.py:10: AssertionError",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(
        [
            '>       assert account["send_mail"].succeeded == 1',
            "E       assert 0 == 1",
            "E         ",
            "E         shop.send_mail: dropped, in POST /orders/{order}",
            "E             the request raised RuntimeError, so the response that would run *",
            "E             RuntimeError: the payment provider is down",
            "E         failed request: POST /orders/{order}: 500, RuntimeError: the payment provider is down",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(
        ["E       *UnknownTask: 'send_email' was not scheduled, only *; did you mean 'send_mail'? *"]
    )
    result.stdout.fnmatch_lines(
        [
            ">       assert account[send_mail].scheduled == 1",
            "E       assert 0 == 1",
            "E         ",
            "E         shop.send_mail was not scheduled, nor any other",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("*accounts.py*")


def test_applications_of_every_kind(suite: pytest.Pytester):
    """Factories, instrumented or not, before or in the lifespan, a client for all tests: each test has its own."""
    suite.makepyfile(
        """
        from contextlib import asynccontextmanager

        import httpx
        import pytest
        from fastapi import BackgroundTasks, FastAPI
        from fastapi.testclient import TestClient

        from afterword import instrument


        def send_mail(): ...


        @asynccontextmanager
        async def lifespan(app):
            instrument(app, registry=None)
            yield


        def create_app(how):
            app = FastAPI(lifespan=lifespan if how == "lifespan" else None)
            if how == "factory":
                instrument(app, registry=None)

            @app.get("/")
            async def endpoint(tasks: BackgroundTasks):
                tasks.add_task(send_mail)

            return app


        every_kind = pytest.mark.parametrize("how", ["factory", "lifespan", "never"])


        @pytest.fixture(scope="session")
        def clients():
            with TestClient(create_app("factory")) as a, TestClient(create_app("lifespan")) as b:
                with TestClient(create_app("never")) as c:
                    yield {"factory": a, "lifespan": b, "never": c}


        @every_kind
        @pytest.mark.parametrize("times", range(3))
        def test_one_client_for_all(clients, account, how, times):
            for _ in range(times):
                clients[how].get("/")
            assert account.scheduled == account.succeeded == times


        @every_kind
        def test_with_and_without_its_lifespan(account, how):
            client = TestClient(create_app(how))
            client.get("/")
            with client:
                client.get("/")
            assert account["send_mail"].succeeded == 2


        @every_kind
        @pytest.mark.anyio
        async def test_coroutine(account, how):
            transport = httpx.ASGITransport(create_app(how))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await client.get("/")
            account.assert_all_succeeded()
            assert account[send_mail].succeeded == 1


        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """
    )
    run(suite).assert_outcomes(passed=15)


UNITTEST = """
import unittest

import pytest
from fastapi.testclient import TestClient

import afterword.testing
from shop import app

client = TestClient(app, raise_server_exceptions=False)


class BySetUp(unittest.TestCase):
    def setUp(self):
        self.account = self.enterContext(afterword.testing.account())

    def test_thanks(self):
        client.post("/orders/1")
        self.account.assert_all_succeeded()

    def test_fresh(self):
        self.assertEqual(self.account.scheduled, 0)

    def test_dropped(self):
        client.post("/orders/500")
        with self.assertRaises(AssertionError):
            self.account.assert_all_succeeded()
        self.assertEqual(self.account["send_mail"].dropped, 1)
"""


def test_unittest_by_pytest(suite: pytest.Pytester):
    """`TestCase` classes use the context manager in `setUp`, or the fixture by an autouse one."""
    suite.makepyfile(
        UNITTEST
        + """

class ByFixture(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def with_account(self, account):
        self.account = account

    def test_dropped(self):
        client.post("/orders/500")
        self.assertEqual(self.account["send_mail"].dropped, 1)


@pytest.fixture
def all_ran(account):
    yield
    account.assert_all_ran()


@pytest.mark.usefixtures("all_ran")
class ByMark(unittest.TestCase):
    def test_thanks(self):
        client.post("/orders/1")

    def test_dropped(self):
        client.post("/orders/500")
"""
    )
    result = run(suite)
    result.assert_outcomes(passed=6, errors=1)
    result.stdout.fnmatch_lines(["E * 2 of 2 background tasks never ran:"])


def test_unittest_by_itself(suite: pytest.Pytester):
    """The context manager needs no pytest."""
    suite.makepyfile(test_shop=UNITTEST.replace("import pytest\n", ""))
    command = [sys.executable, "-W", "ignore", "-m", "unittest", "-v", "test_shop"]
    done = subprocess.run(command, cwd=suite.path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr


def test_a_rule_for_the_suite_and_a_test_that_expects_otherwise(suite: pytest.Pytester):
    """Under a rule that every task has to run, a test says which one does not, and the rule holds it to that."""
    suite.makeconftest(
        """
        import pytest


        @pytest.fixture(autouse=True)
        def all_ran(account):
            yield
            account.assert_all_ran()
        """
    )
    suite.makepyfile(
        """
        from fastapi.testclient import TestClient

        from shop import app, send_mail

        client = TestClient(app, raise_server_exceptions=False)


        def test_thanks():
            client.post("/orders/1")


        def test_expected(account):
            account.expect({send_mail: "dropped"}, write_audit_row="dropped")
            client.post("/orders/500")
            assert account["send_mail"].dropped == 1


        def test_expected_afterwards(account):
            client.post("/orders/13")
            account.expect(write_audit_row="skipped")


        def test_forgotten(account):
            account.expect(send_mail="dropped")
            client.post("/orders/500")


        def test_too_much(account):
            account.expect(write_audit_row="skipped")
            client.post("/orders/1")


        def test_nobody_elses(account):
            client.post("/orders/500")
        """
    )
    result = run(suite)
    result.assert_outcomes(passed=6, errors=3)
    for complaint in (
        "1 of 2 background tasks never ran:",
        "expected to be skipped: shop.write_audit_row: 1 scheduled, 1 succeeded",
        "2 of 2 background tasks never ran:",
    ):
        result.stdout.fnmatch_lines([f"E * {complaint}"])


def test_in_several_processes_and_any_order(suite: pytest.Pytester):
    """Under pytest-xdist and pytest-randomly each test has the account of its own requests."""
    suite.makepyfile(
        """
        import pytest
        from fastapi.testclient import TestClient

        from shop import app

        client = TestClient(app)


        @pytest.mark.parametrize("times", range(8))
        def test_fresh(account, times):
            for _ in range(times):
                client.post("/orders/1")
            assert account.scheduled == account.succeeded == 2 * times
        """
    )
    run(suite, "-n", "2", "-p", "randomly").assert_outcomes(passed=8)


def test_an_account_of_their_own(suite: pytest.Pytester):
    """A suite that has a fixture `account` keeps it, and has ours by its longer name."""
    suite.makeconftest(
        """
        import pytest


        @pytest.fixture
        def account():
            return "0815"
        """
    )
    suite.makepyfile(
        """
        from fastapi.testclient import TestClient

        from shop import app


        def test_both(account, afterword_account):
            TestClient(app).post("/orders/1")
            assert account == "0815"
            assert afterword_account["send_mail"].succeeded == 1
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_who_does_not_use_it_does_not_pay(suite: pytest.Pytester):
    """A run of pytest that asks for no account imports neither Afterword, nor FastAPI, nor OpenTelemetry."""
    suite.makepyfile(
        """
        import sys


        def test_light():
            heavy = {"afterword", "fastapi", "starlette", "opentelemetry", "prometheus_client", "structlog"}
            assert not heavy & {name.partition(".")[0] for name in sys.modules}
            assert "_afterword_pytest" in sys.modules


        def test_comparing():
            assert 1 == 2
        """
    )
    result = run(suite)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E       assert 1 == 2"])


def test_under_zero_code_instrumentation(suite: pytest.Pytester):
    """Under `opentelemetry-instrument pytest` an application has its own signals, and the test its account."""
    suite.makepyfile(
        """
        from fastapi.testclient import TestClient

        from shop import app


        def test_both(account):
            client = TestClient(app)
            client.post("/orders/1")
            assert account["send_mail"].succeeded == 1
            assert "background_task_ended_total" in client.get("/metrics").text
        """
    )
    start = suite.makepyfile(
        start="""
        import sys

        import pytest

        from afterword.instrumentor import BackgroundTaskInstrumentor

        BackgroundTaskInstrumentor().instrument()
        sys.exit(pytest.main(["-p", "no:afterword", "-p", "_afterword_pytest", "-p", "no:cacheprovider"]))
        """
    )
    suite.runpython(start).assert_outcomes(passed=1)


def test_pytest_is_no_dependency():
    """`afterword.testing` can be imported where there is no pytest."""
    printed, _ = run_fresh("import sys, afterword.testing; print('pytest' in sys.modules)")
    assert printed == "False\n"


def test_pytest_finds_it(suite: pytest.Pytester):
    """An installed Afterword is found by its entry point, and switched off by its name."""
    [found] = entry_points(group="pytest11", name="afterword")
    assert found.load().__name__ == "_afterword_pytest"
    listed = suite.runpytest_subprocess("--fixtures", timeout=50)
    listed.stdout.fnmatch_lines(["account -- *", "    The account of every background task that is scheduled *"])
    off = suite.runpytest_subprocess("--fixtures", "-p", "no:afterword", timeout=50)
    off.stdout.no_fnmatch_line("account -- *")
