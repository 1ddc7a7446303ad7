"""Small pictures: those of a page have few colours."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def few_colours(picture: Image.Image) -> Image.Image:
    """Return a picture in few colours, a third of the size: those of large parts, and some near all the others."""
    frequent = sorted(picture.getcolors(picture.width * picture.height) or (), reverse=True)[:192]
    others = picture.quantize(64, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    parts = [part for _, colour in frequent if isinstance(colour, tuple) for part in colour]
    palette.putpalette([*parts, *others[: 3 * 64]])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def write(png: bytes, path: Path, height: int | None = None) -> str:
    """Write a screenshot, of which perhaps only the upper part; return what was written."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if height is not None:
        picture = picture.crop((0, 0, picture.width, min(height, picture.height)))
    path.parent.mkdir(parents=True, exist_ok=True)
    few_colours(picture).save(path, optimize=True)
    return f"{path}, {path.stat().st_size / 1024:.0f} KiB"
