"""Ordering, refunds and returns. The usual mistakes by which background tasks never run are made here."""

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
    """Take an order: three tasks, one after the other.

    Two mistakes. The audit row is added before the stock is looked at, so for a refused order it is never written.
    And the warehouse comes after the mail: where the mail is refused, the goods are never picked.
    """
    tasks.add_task(write_audit_row, "order", f"{order.quantity} {order.sku}")
    if not await run_in_threadpool(store.take_from_stock, order.sku, order.quantity):
        tasks.add_task(record_refusal, order.sku, "out of stock")
        raise HTTPException(409, f"{order.sku} is out of stock")
    number = await run_in_threadpool(store.add_order, order.sku, order.quantity, order.email, order.card)
    tasks.add_task(send_confirmation, number, order.email)
    tasks.add_task(notify_warehouse, number, order.sku, order.quantity)
    log.info("order placed", order=number, sku=order.sku, quantity=order.quantity)
    return {"order": number}


@router.post("/orders/{number}/refund", status_code=202)
def refund(number: int, tasks: BackgroundTasks) -> dict[str, str]:
    """Give the money back. The mistake: an order that was paid with a voucher has no card."""
    tasks.add_task(write_audit_row, "refund", str(number))
    rows = store.query("SELECT card FROM orders WHERE id = ?", number)
    if not rows:
        raise HTTPException(404, f"there is no order {number}")
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
    """Show an invoice. The mistake: a response with a background of its own replaces the injected tasks."""
    audit = BackgroundTask(write_audit_row, "invoice", str(number))
    return PlainTextResponse(f"Invoice for order {number}\n", background=audit)


@router.post("/orders/{number}/return", status_code=202)
async def announce_return(number: int) -> dict[str, str]:
    """Announce that goods come back. The mistake: these tasks are made by hand and hang on no response."""
    tasks = BackgroundTasks()
    tasks.add_task(notify_warehouse, number, "return", 1)
    return {"status": "expected"}
