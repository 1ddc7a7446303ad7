"""What the environment decides: where the shop keeps its files and which mail server it uses."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


def _directory() -> Path:
    default = Path(tempfile.gettempdir()) / f"afterword-shop-{os.getuid()}"
    return Path(os.environ.get("SHOP_DIRECTORY") or default)


def _database() -> Path:
    return Path(os.environ.get("SHOP_DATABASE") or _directory() / "shop.sqlite3")


def _integer(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


@dataclass(frozen=True)
class Settings:
    """Read once, when the application is created; every worker process reads the same."""

    directory: Path = field(default_factory=_directory)
    """``SHOP_DIRECTORY``: uploads, thumbnails, pick lists and, unless said otherwise, the database."""
    database: Path = field(default_factory=_database)
    """``SHOP_DATABASE``: a SQLite file."""
    smtp_host: str = field(default_factory=lambda: os.environ.get("SHOP_SMTP_HOST") or "127.0.0.1")
    """``SHOP_SMTP_HOST``: the mail server."""
    smtp_port: int = field(default_factory=lambda: _integer("SHOP_SMTP_PORT", 8025))
    """``SHOP_SMTP_PORT``: its port."""
    smtp_timeout: int = field(default_factory=lambda: _integer("SHOP_SMTP_TIMEOUT", 10))
    """``SHOP_SMTP_TIMEOUT``: seconds until a mail is given up."""
    threads: int = field(default_factory=lambda: _integer("SHOP_THREADS", 40))
    """``SHOP_THREADS``: worker threads for ``def`` endpoints and ``def`` tasks, of each process."""
    broker: str | None = field(default_factory=lambda: os.environ.get("SHOP_BROKER") or None)
    """``SHOP_BROKER``: where Celery's workers take the heavy work; without one, the shop does it itself."""

    def prepare(self) -> None:
        """Make the directories."""
        for name in ("pictures", "picklists", "statements"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.database.parent.mkdir(parents=True, exist_ok=True)


settings = Settings()
