"""Everything but orders: products, manuals, pictures, the newsletter, the export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Depends, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from . import pictures, store
from .tasks import count_visit, make_thumbnail, publish_picture, send_manual, send_welcome, write_audit_row

router = APIRouter(tags=["pages"])


def visit(request: Request, tasks: BackgroundTasks) -> None:
    """Dependency: count the visit once the answer is out."""
    # On purpose, "a dependency's task": a request that is refused afterwards is a visit, too, and is not counted.
    # Right: declare count_visit with @task(run_on_request_error=True).
    tasks.add_task(count_visit, request.url.path)


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the shop is open."""
    return {"status": "open"}


@router.get("/products/{sku}", dependencies=[Depends(visit)])
def product(sku: str) -> dict[str, str | int]:
    """Show a product."""
    rows = store.query("SELECT stock FROM products WHERE sku = ?", sku)
    if not rows:
        raise HTTPException(404, f"there is no {sku}")
    return {"sku": sku, "stock": rows[0][0]}


@router.post("/products/{sku}/manual", status_code=202)
async def order_manual(
    sku: str, email: Annotated[str, Body(embed=True)], tasks: BackgroundTasks
) -> dict[str, str]:
    """Send a manual by mail."""
    # On purpose, "found out too late": not every product has a manual, and the customer has been told otherwise.
    # Right: look whether there is one, and answer 404.
    tasks.add_task(send_manual, sku, email)
    return {"status": "on its way"}


@router.post("/pictures", status_code=202)
def upload_picture(picture: UploadFile, tasks: BackgroundTasks) -> dict[str, str]:
    """Take a picture for the gallery."""
    # On purpose, "input that nobody checks": whether it is a picture turns out when the thumbnail is made.
    # Right: open it here, and answer 422.
    path = pictures.keep(picture.file.read())
    tasks.add_task(make_thumbnail, path)
    tasks.add_task(publish_picture, path)
    return {"picture": path.name}


@router.post("/newsletter")
async def subscribe(email: Annotated[str, Body(embed=True)]) -> JSONResponse:
    """Subscribe a reader: the task hangs on the response."""
    return JSONResponse({"status": "subscribed"}, 202, background=BackgroundTask(send_welcome, email))


@router.get("/export.csv")
def export(tasks: BackgroundTasks) -> StreamingResponse:
    """Stream the last orders; the audit row is written after the stream."""
    tasks.add_task(write_audit_row, "export", "orders")

    def lines() -> Iterator[str]:
        yield "order,sku,quantity\n"
        for row in store.query("SELECT id, sku, quantity FROM orders ORDER BY id DESC LIMIT 50"):
            yield ",".join(map(str, row)) + "\n"

    return StreamingResponse(lines(), media_type="text/csv")
