"""The shop's SQLite database: stock, orders, and the rows that the background tasks write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from .settings import settings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, stock INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, sku TEXT NOT NULL, quantity INTEGER NOT NULL, email TEXT NOT NULL, card TEXT
);
CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY, event TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refusals (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS visits (path TEXT PRIMARY KEY, visits INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS usage (partner TEXT PRIMARY KEY, requests INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS gallery (id INTEGER PRIMARY KEY, picture TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tickets (id INTEGER PRIMARY KEY, task TEXT NOT NULL, error TEXT, trace TEXT);
INSERT OR IGNORE INTO products VALUES ('teapot', 1000000000), ('clock', 1000000000), ('lamp', 0);
INSERT OR IGNORE INTO orders VALUES (1, 'teapot', 1, 'ada@customer.example', '4242424242424242');
INSERT OR IGNORE INTO orders VALUES (2, 'teapot', 1, 'bob@customer.example', NULL);
INSERT OR IGNORE INTO orders VALUES (3, 'clock', 1, 'clerk@refused.example', '4242424242424242');
"""


@contextmanager
def _transaction() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(settings.database, timeout=10)) as db, db:
        db.execute("PRAGMA synchronous = NORMAL")
        yield db


def prepare() -> None:
    """Create what is missing: tables, three products (the lamp is out of stock) and three old orders."""
    settings.prepare()
    with closing(sqlite3.connect(settings.database, timeout=10)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)


def execute(statement: str, *values: object) -> int:
    """Run one statement in a transaction of its own and return the last row's id."""
    with _transaction() as db:
        return db.execute(statement, values).lastrowid or 0


def query(statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with _transaction() as db:
        return db.execute(statement, values).fetchall()


def take_from_stock(sku: str, quantity: int) -> bool:
    """Take goods from the stock; false where there are not enough of them."""
    statement = "UPDATE products SET stock = stock - ? WHERE sku = ? AND stock >= ?"
    with _transaction() as db:
        return db.execute(statement, (quantity, sku, quantity)).rowcount == 1


def add_order(sku: str, quantity: int, email: str, card: str | None) -> int:
    """Keep an order and return its number."""
    statement = "INSERT INTO orders (sku, quantity, email, card) VALUES (?, ?, ?, ?)"
    return execute(statement, sku, quantity, email, card)
