"""Draws a customer's monthly statement as a PDF: the heaviest work of the shop."""

from __future__ import annotations

import uuid
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import store
from .settings import settings

_PAGES = 24
_LINES = 40
_SIZE = (1654, 2339)
"""A4 at 200 dots an inch."""
_MARGIN, _HEIGHT = 160, 48


def draw(order: int) -> Path:
    """Draw the statement of whoever placed an order.

    It always has twenty-four pages, the last of them mostly empty: the tax office wants it so.
    """
    [(email, card)] = store.query("SELECT email, card FROM orders WHERE id = ?", order)
    # On purpose, "a fault in the task": an order that was paid with a voucher has no card.
    # Right: write "paid with a voucher".
    lines = [f"Statement for {email}", f"paid with the card ending in {card[-4:]}", ""]
    orders = "SELECT id, sku, quantity FROM orders WHERE email = ? ORDER BY id DESC LIMIT ?"
    for number, sku, quantity in store.query(orders, email, _PAGES * _LINES - len(lines)):
        lines.append(f"{number:>8}   {quantity:>3} x {sku}")
    first, *others = [_page(lines[page * _LINES : (page + 1) * _LINES]) for page in range(_PAGES)]
    path = settings.directory / "statements" / f"{uuid.uuid4().hex}.pdf"
    first.save(path, "PDF", save_all=True, append_images=others)
    return path


def _page(lines: list[str]) -> Image.Image:
    page = Image.new("L", _SIZE, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(36)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + number * _HEIGHT), line, "black", font)
    return page
