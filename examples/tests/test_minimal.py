"""The quick start, tested with the fixture ``account``, which comes with Afterword's installation."""

from fastapi.testclient import TestClient

from afterword.testing import Account
from examples.minimal import app, send_receipt

client = TestClient(app)


def test_a_receipt_is_sent(account: Account) -> None:
    """An order that is placed has its receipt."""
    assert client.post("/orders/7").status_code == 200
    account.assert_all_succeeded()
    assert account[send_receipt].succeeded == 1


def test_no_receipt_of_what_is_sold_out(account: Account) -> None:
    """An order that is refused drops its receipt, and says why."""
    account.expect(send_receipt="dropped")
    assert client.post("/orders/13").status_code == 409
    assert account["send_receipt"].dropped == 1
    [run] = account.runs
    assert run.reason == "request_failed"
