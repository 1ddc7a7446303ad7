"""Keeps uploaded pictures and makes thumbnails of them."""

from __future__ import annotations

import hashlib
import io
import uuid
from pathlib import Path

from PIL import Image

from .settings import settings

_SIZE = (320, 320)


def keep(content: bytes) -> Path:
    """Write an upload to disk, under a name made of its content, and return where."""
    path = settings.directory / "pictures" / hashlib.sha256(content).hexdigest()[:20]
    _write(path, content)
    return path


def thumbnail(path: Path) -> Path:
    """Make a small JPEG of a picture; raises what Pillow says of a broken one."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail(_SIZE, Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=85)
    target = path.with_suffix(".thumbnail.jpg")
    _write(target, jpeg.getvalue())
    return target


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step: the same picture may be uploaded twice at a time."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
