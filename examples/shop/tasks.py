"""The work the shop does after it has answered: every function here is a background task.

None of them fails by chance. A mail fails when the server refuses its recipient, a thumbnail when the picture
is broken, a manual when there is no such file. The mistakes are made where they are added: README.md lists them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import anyio
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from afterword import TaskRun, task

from . import mail, pictures, statements, store
from .settings import settings

log = structlog.get_logger(__name__)
OPERATOR = "operator@shop.example"
MANUALS = Path(__file__).parent / "manuals"


# --- def: each takes a worker thread ------------------------------------------------------------------------


def write_audit_row(event: str, detail: str) -> None:
    """Note in the audit trail that something happened."""
    store.execute("INSERT INTO audit (event, detail) VALUES (?, ?)", event, detail)


@task(run_on_request_error=True)
def record_refusal(sku: str, reason: str) -> None:
    """Note that an order was refused; such a request always fails, and the row is wanted all the same."""
    store.execute("INSERT INTO refusals (sku, reason) VALUES (?, ?)", sku, reason)
    log.info("refusal recorded", sku=sku, reason=reason)


def count_visit(path: str) -> None:
    """Count a visit of a page."""
    statement = "INSERT INTO visits VALUES (?, 1) ON CONFLICT (path) DO UPDATE SET visits = visits + 1"
    store.execute(statement, path)


def meter_usage(partner: str) -> None:
    """Count a partner's request, for the monthly bill."""
    statement = "INSERT INTO usage VALUES (?, 1) ON CONFLICT (partner) DO UPDATE SET requests = requests + 1"
    store.execute(statement, partner)


def make_thumbnail(picture: Path) -> None:
    """Make a small version of an uploaded picture."""
    target = pictures.thumbnail(picture)
    log.info("thumbnail made", picture=target.name, size=target.stat().st_size)


def publish_picture(picture: Path) -> None:
    """Show a picture in the gallery; added after the thumbnail, so not without one."""
    store.execute("INSERT INTO gallery (picture) VALUES (?)", picture.name)


def write_statement(order: int) -> str:
    """Draw the monthly statement of an order's customer, which is heavy work, and return where it is."""
    statement = statements.draw(order)
    log.info("statement written", order=order, size=statement.stat().st_size)
    return str(statement)


def send_statement(statement: str, email: str) -> None:
    """Send a statement to the customer."""
    asyncio.run(mail.send(email, "Your statement", "Attached.", attachment=Path(statement)))


def archive_statement(order: int) -> None:
    """Note for the tax office that an order has a statement."""
    store.execute("INSERT INTO audit (event, detail) VALUES ('statement', ?)", str(order))


def deliver_statement(order: int, email: str) -> None:
    """Do all of it, where there is no Celery."""
    send_statement(write_statement(order), email)
    archive_statement(order)


# --- async def: awaited on the event loop -------------------------------------------------------------------


async def send_confirmation(order: int, email: str) -> None:
    """Tell a customer that the order has arrived."""
    await mail.send(email, f"Your order {order}", "Thank you. It leaves our warehouse today.")
    log.info("confirmation sent", order=order)


async def send_manual(sku: str, email: str) -> None:
    """Send a product's manual as an attachment."""
    await mail.send(email, f"Your {sku}'s manual", "Attached.", attachment=MANUALS / f"{sku}.txt")


async def send_welcome(email: str) -> None:
    """Welcome a new reader of the newsletter."""
    await mail.send(email, "Welcome", "You will hear from us once a month.")


async def notify_warehouse(order: int, sku: str, quantity: int) -> None:
    """Leave a pick list where the warehouse looks for it."""
    pick_list = json.dumps({"order": order, "sku": sku, "quantity": quantity})
    await anyio.Path(settings.directory / "picklists" / f"{order}.json").write_text(pick_list)
    log.info("warehouse notified", order=order, sku=sku)


# --- when something goes wrong ------------------------------------------------------------------------------


async def tell_operator(request: HTTPConnection, exc: BaseException) -> None:
    """Write to the operator when a request failed through a fault of ours (``on_request_error``)."""
    if isinstance(exc, HTTPException) and exc.status_code < 500:
        return
    await mail.send(OPERATOR, f"{request.url.path} failed", repr(exc))


def open_ticket(run: TaskRun, exc: BaseException | None) -> None:
    """Open a ticket when a task failed (``on_task_failure``)."""
    statement = "INSERT INTO tickets (task, error, trace) VALUES (?, ?, ?)"
    store.execute(statement, run.name, run.detail if exc is None else repr(exc), run.trace_id)
