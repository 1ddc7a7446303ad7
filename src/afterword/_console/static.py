"""The page and its files, from the package. Their names are listed once: no path of a request reaches the disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response

from .answers import answer

PAGE: Final = "index.html"

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_MOST_FOLDERS: Final = 3


class File(NamedTuple):
    """One file."""

    body: bytes
    content_type: str
    etag: str


@cache
def all_files() -> dict[str, File]:
    """Return the files by their names, such as ``lib/dom.js``."""
    return {
        name: _read(name, found)
        for name, found in _walk(files(__name__.rpartition(".")[0]) / "static", "", _MOST_FOLDERS)
    }


def _walk(folder: Traversable, prefix: str, depth: int) -> Iterator[tuple[str, Traversable]]:
    for found in folder.iterdir():
        name = f"{prefix}{found.name}"
        if found.is_file() and name.rpartition(".")[2] in _TYPES:
            yield name, found
        elif found.is_dir() and depth:
            yield from _walk(found, f"{name}/", depth - 1)


def _read(name: str, found: Traversable) -> File:
    body = found.read_bytes()
    return File(body, _TYPES[name.rpartition(".")[2]], f'"{sha256(body).hexdigest()[:32]}"')


def static(name: str, headers: Headers) -> Response | None:
    """Return the answer for a file; ``None`` if there is none with this name."""
    file = all_files().get(name)
    if file is None:
        return None
    # to be asked for each time, so that a new version of ours is there at once; most answers are a 304
    kept = {"cache-control": "no-cache", "etag": file.etag}
    asked = headers.get("if-none-match", "")
    if file.etag in [each.strip().removeprefix("W/") for each in asked.split(",")]:
        return answer(status=304, more=kept)
    return answer(file.body, more={"content-type": file.content_type, **kept})


def page(status: int) -> Response:
    """Return the page: the same for whoever is let in and for whoever is asked for the token."""
    file = all_files()[PAGE]
    return answer(file.body, status, {"content-type": file.content_type})
