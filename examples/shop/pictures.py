"""Keeps uploaded pictures and makes thumbnails of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from .settings import settings

_SIZE = (320, 320)


def keep(content: bytes) -> Path:
    """Write an upload to disk, under a name made of its content, and return where."""
    path = settings.directory / "pictures" / hashlib.sha256(content).hexdigest()[:20]
    path.write_bytes(content)
    return path


def thumbnail(path: Path) -> Path:
    """Make a small JPEG of a picture; raises what Pillow says of a broken one."""
    target = path.with_suffix(".thumbnail.jpg")
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail(_SIZE, Image.Resampling.LANCZOS)
        small.save(target, "JPEG", quality=85)
    return target
