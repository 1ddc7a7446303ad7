"""What customers do, request after request: the same plan every time, and nothing in it is random."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, NamedTuple

from PIL import Image


class Visit(NamedTuple):
    """One request: what is sent, and the status the shop must answer with."""

    name: str
    method: str
    path: str
    status: int
    content: dict[str, Any]
    """What httpx takes: ``json``, ``files`` or ``headers``."""
    healthy: bool = True
    """Whether all of its background tasks succeed."""


@functools.cache
def _photograph(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _order(sku: str = "teapot", email: str = "ada@customer.example", **more: Any) -> dict[str, Any]:
    return {"json": {"sku": sku, "quantity": 1, "email": email, **more}}


def _upload(content: bytes) -> dict[str, Any]:
    return {"files": {"picture": ("picture.jpg", content, "image/jpeg")}}


def statements() -> tuple[Visit, ...]:
    """Return what customers want besides where Celery does the heavy work; the last two never get theirs."""
    return (
        Visit("statement", "POST", "/orders/1/statement", 202, {}),
        Visit("statement, voucher", "POST", "/orders/2/statement", 202, {}, False),
        Visit("statement, mail refused", "POST", "/orders/3/statement", 202, {}, False),
    )


@functools.cache
def visits() -> tuple[Visit, ...]:
    """Return one round of everything customers do; about one request in four goes wrong."""
    partner = {"headers": {"x-partner": "tea-and-more"}}
    address = {"json": {"email": "reader@customer.example"}}
    photograph = _photograph(1600, 1200)
    series = Visit("upload a series", "POST", "/pictures", 202, _upload(_photograph(4800, 3200)))
    good = [
        Visit("browse", "GET", "/products/teapot", 200, {}),
        Visit("order", "POST", "/orders", 201, _order(card="4242424242424242")),
        Visit("browse as a partner", "GET", "/products/clock", 200, partner),
        Visit("upload", "POST", "/pictures", 202, _upload(photograph)),
        Visit("order, slow mail", "POST", "/orders", 201, _order(email="eve@slow.example")),
        Visit("manual", "POST", "/products/teapot/manual", 202, address),
        Visit("subscribe", "POST", "/newsletter", 202, address),
        Visit("order", "POST", "/orders", 201, _order(sku="clock")),
        Visit("export", "GET", "/export.csv", 200, {}),
        Visit("upload", "POST", "/pictures", 202, _upload(photograph)),
        Visit("refund", "POST", "/orders/1/refund", 202, {}),
    ]
    bad = [
        Visit("order, mail refused", "POST", "/orders", 201, _order(email="nobody@refused.example"), False),
        Visit("order, out of stock", "POST", "/orders", 409, _order(sku="lamp"), False),
        Visit("order, not valid", "POST", "/orders", 422, {"json": {"sku": "teapot"}}, False),
        Visit("upload, torn picture", "POST", "/pictures", 202, _upload(photograph[:20_000]), False),
        Visit("upload, no picture", "POST", "/pictures", 202, _upload(b"not a picture"), False),
        Visit("manual, missing", "POST", "/products/clock/manual", 202, address, False),
        Visit("refund, voucher", "POST", "/orders/2/refund", 500, {}, False),
        Visit("invoice", "GET", "/orders/1/invoice", 200, {}, False),
        Visit("return", "POST", "/orders/1/return", 202, {}, False),
    ]
    mixed = [visit for pair in zip(good, bad, strict=False) for visit in pair]
    return (*mixed, *good[len(bad) :], *[series] * 6, *good)


def plan(*, healthy: bool = False, only: str | None = None, more: Iterable[Visit] = ()) -> Iterator[Visit]:
    """Yield visits for ever: all and ``more``, the healthy ones, or those whose name contains a text."""
    chosen = [v for v in (*more, *visits()) if (v.healthy or not healthy) and (only is None or only in v.name)]
    if not chosen:
        raise ValueError(f"no visit is called {only!r}; there are {sorted({v.name for v in visits()})}")
    return cycle(chosen)
