"""Ordering, refunds and returns. Most of the mistakes on purpose are made here: README.md lists them."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from . import store
from .pages import visit
from .settings import settings
from .tasks import deliver_statement, notify_warehouse, record_refusal, send_confirmation, write_audit_row

if settings.broker is not None:
    from . import worker  # imports Celery, which the shop needs for nothing else

log = structlog.get_logger(__name__)
router = APIRouter(tags=["orders"])


class NewOrder(BaseModel):
    """What a customer sends."""

    sku: str
    quantity: int = Field(ge=1, le=100)
    email: str
    card: str | None = None


@router.post("/orders", status_code=201, dependencies=[Depends(visit)])
async def place_order(order: NewOrder, tasks: BackgroundTasks) -> dict[str, int]:
    """Take an order: three tasks, one after the other."""
    # On purpose, "added too early": the audit row of an order that is refused is never written.
    # Right: add it below, when the order stands, or let it run anyway, as record_refusal does.
    tasks.add_task(write_audit_row, "order", f"{order.quantity} {order.sku}")
    if not await run_in_threadpool(store.take_from_stock, order.sku, order.quantity):
        tasks.add_task(record_refusal, order.sku, "out of stock")
        raise HTTPException(409, f"{order.sku} is out of stock")
    number = await run_in_threadpool(store.add_order, order.sku, order.quantity, order.email, order.card)
    # On purpose, "in one batch": where the mail is refused, the goods are never picked.
    # Right: add the warehouse first, or declare the mail with @task(isolated=True).
    tasks.add_task(send_confirmation, number, order.email)
    tasks.add_task(notify_warehouse, number, order.sku, order.quantity)
    log.info("order placed", order=number, sku=order.sku, quantity=order.quantity)
    return {"order": number}


@router.post("/orders/{number}/refund", status_code=202)
def refund(number: int, tasks: BackgroundTasks) -> dict[str, str]:
    """Give the money back."""
    tasks.add_task(write_audit_row, "refund", str(number))
    rows = store.query("SELECT card FROM orders WHERE id = ?", number)
    if not rows:
        raise HTTPException(404, f"there is no order {number}")
    # On purpose, "a fault in the endpoint": a voucher has no card, and the audit row is lost with it.
    # Right: answer 409 where there is no card, and add the row below.
    card: str = rows[0][0]
    return {"refunded_to": f"card ending in {card[-4:]}"}


@router.post("/orders/{number}/statement", status_code=202)
def order_statement(number: int, tasks: BackgroundTasks) -> dict[str, str]:
    """Send the customer's monthly statement: heavy work, which is Celery's where the shop has a broker."""
    rows = store.query("SELECT email FROM orders WHERE id = ?", number)
    if not rows:
        raise HTTPException(404, f"there is no order {number}")
    email: str = rows[0][0]
    if settings.broker is None:
        tasks.add_task(deliver_statement, number, email)
    else:
        worker.order_statement(number, email)
    return {"status": "being written"}


@router.get("/orders/{number}/invoice", dependencies=[Depends(visit)])
def invoice(number: int) -> PlainTextResponse:
    """Show an invoice."""
    # On purpose, "a background of its own": it replaces the injected tasks, here the visit of the dependency.
    # Right: take `tasks: BackgroundTasks`, add the task to it, and return the response without a background.
    audit = BackgroundTask(write_audit_row, "invoice", str(number))
    return PlainTextResponse(f"Invoice for order {number}\n", background=audit)


@router.post("/orders/{number}/return", status_code=202)
async def announce_return(number: int) -> dict[str, str]:
    """Announce that goods come back."""
    # On purpose, "made by hand": these tasks hang on no response, so nothing ever calls them.
    # Right: take `tasks: BackgroundTasks` as a parameter, as the other endpoints do.
    tasks = BackgroundTasks()
    tasks.add_task(notify_warehouse, number, "return", 1)
    return {"status": "expected"}
