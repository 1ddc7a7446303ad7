"""Links of the pages: they are relative in the repository, and lead elsewhere in the site and on PyPI."""

import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*([^()\s]+)\)|\b(?:src|srcset|href)=\"([^\"]+)\"")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change a page's text everywhere but in its blocks of code."""
    pieces: list[str] = []
    end = 0
    for block in _BLOCK.finditer(text):
        pieces += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*pieces, change(text[end:])])


def target(link: str, page: Path) -> tuple[Path, str] | None:
    """Return the file that a link of a page leads to, from the root, and its anchor; None leads out of it."""
    if re.match(r"[a-z]+:", link):
        return None
    name, mark, anchor = link.partition("#")
    file = (ROOT / page.parent / name).resolve() if name else ROOT / page
    return (file.relative_to(ROOT), mark + anchor) if file.is_relative_to(ROOT) else None


def rewrite(text: str, page: Path, place: Callable[[Path], str | None]) -> str:
    """Let each link of a page lead to where ``place`` says that its file is; what is nowhere keeps its words.

    Args:
        text: The page's Markdown.
        page: Its file, from the root.
        place: Gives the address of a file, from the root.
    """

    def change(match: re.Match[str]) -> str:
        link = match[1] or match[2]
        found = target(link, page)
        if found is None:
            return match[0]
        address = place(found[0])
        return match[0].replace(link, address + found[1] if address is not None else "")

    def changed(prose: str) -> str:
        return re.sub(r"(?<!!)\[([^][]+)\]\(\)", r"\1", _LINK.sub(change, prose))

    return outside_code(text, changed)
